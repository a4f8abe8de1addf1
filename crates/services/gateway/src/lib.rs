//! The gateway: takes signals from AlertManager and of Kubernetes events, and makes one remediation request for each problem.
//!
//! What must hold: one firing problem has exactly one remediation request, however often and however concurrently its signal
//! arrives; each signal's fate is answered and told to the audit log; what the caller sends cannot grow the memory without bound.
//!
//! The original keeps remediation requests as Kubernetes custom resources. Here they live in memory and are read over HTTP, which
//! is enough for a system under test: a restart forgets them, and a signal that still fires then makes a new one.

mod alertmanager;
mod api;
mod audit;
mod kubernetes;
mod signal;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use service_kit::audit::{AuditClient, Settings};
use service_kit::prometheus_client::registry::Registry;
use service_kit::{App, Clock, Environment};

use api::Gateway;

/// The namespaces that are not managed unless `UNMANAGED_NAMESPACES` says otherwise: Kubernetes's own, in which a remediation
/// can do more harm than the problem, and that of the services themselves.
const UNMANAGED: &str = "kube-system,kube-public,kube-node-lease,kubernaut-system";

/// The service as the environment describes it.
///
/// # Errors
///
/// If a variable is missing or wrong, or the audit writer cannot be started.
pub fn app(environment: &Environment) -> anyhow::Result<App> {
    let settings = Settings::from_environment(environment)?;
    let unmanaged = environment.optional("UNMANAGED_NAMESPACES")?.unwrap_or_else(|| UNMANAGED.to_owned());
    let mut registry = Registry::default();
    let audit = AuditClient::start("gateway", settings, &mut registry)?;
    let gateway = Gateway::new(audit.clone(), Clock::system(), &unmanaged, &mut registry);
    Ok(App::new(api::routes(Arc::new(gateway))).registry(registry).audit(audit))
}
