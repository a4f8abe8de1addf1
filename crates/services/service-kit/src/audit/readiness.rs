//! Whether DataStorage is there and ready, asked at most twice a second.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// How long an answer holds. A refusal holds shorter, since somebody is probably waiting for the service to become ready.
const HOLDS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(50));
/// How long an answer is waited for. A packet that is lost, as they are for a moment when a cluster changes its ways, is sent
/// again after a second: whoever asks again sooner has the answer sooner.
const LIMIT: Duration = Duration::from_millis(250);

const UNREACHABLE: &str = "datastorage_unreachable";

type Readiness = Result<(), String>;

/// Asks, and remembers the answer. One asks at a time; the others wait for its answer.
pub(super) struct Probe {
    url: Option<String>,
    last: Mutex<Option<(Instant, Readiness)>>,
}

impl Probe {
    pub(super) fn new(datastorage: &str) -> Probe {
        Probe { url: Some(format!("{datastorage}/readyz")), last: Mutex::default() }
    }

    pub(super) fn always_ready() -> Probe {
        Probe { url: None, last: Mutex::default() }
    }

    pub(super) async fn ready(&self) -> Readiness {
        let Some(url) = &self.url else { return Ok(()) };
        let mut last = self.last.lock().await;
        if let Some((at, readiness)) = &*last
            && at.elapsed() < if readiness.is_ok() { HOLDS.0 } else { HOLDS.1 }
        {
            return readiness.clone();
        }
        let url = url.clone();
        let asked = tokio::time::timeout(LIMIT, tokio::task::spawn_blocking(move || ask(&url))).await;
        let readiness = match asked {
            Ok(Ok(readiness)) => readiness,
            Ok(Err(error)) => Err(format!("the probe of DataStorage failed: {error}")),
            Err(_) => Err(UNREACHABLE.to_owned()),
        };
        *last = Some((Instant::now(), readiness.clone()));
        readiness
    }
}

fn ask(url: &str) -> Readiness {
    match minreq::get(url).with_follow_redirects(false).with_timeout(1).send() {
        Ok(response) if response.status_code == 200 => Ok(()),
        Ok(response) => Err(format!("datastorage_not_ready (status {})", response.status_code)),
        Err(_) => Err(UNREACHABLE.to_owned()),
    }
}
