//! Questions to workloads: is it ready, what is it.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::platform::Instance;

/// How long one answer may take, in seconds.
const TIMEOUT_S: u64 = 2;

/// Whether the first port of an instance takes connections.
///
/// # Errors
/// Why it does not.
pub(crate) fn open(instance: &Instance) -> Result<(), String> {
    let address = instance.endpoints.first().and_then(|(_, url)| url.split_once("://"));
    let address: SocketAddr = address.and_then(|(_, address)| address.parse().ok()).ok_or("it has no port")?;
    TcpStream::connect_timeout(&address, Duration::from_secs(TIMEOUT_S)).map(drop).map_err(|error| error.to_string())
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks the first port of an instance.
///
/// # Errors
/// Why there is no answer.
pub(crate) fn get(instance: &Instance, path: &str) -> Result<Answer, String> {
    let Some((_, url)) = instance.endpoints.first() else { return Err("it has no port".to_owned()) };
    let response = minreq::get(format!("{url}{path}")).with_timeout(TIMEOUT_S).send();
    let response = response.map_err(|error| error.to_string())?;
    let body = response.as_str().map_err(|error| error.to_string())?;
    Ok(Answer { status: response.status_code, body: body.to_owned() })
}
