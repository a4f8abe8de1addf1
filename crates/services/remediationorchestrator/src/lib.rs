//! remediationorchestrator: the life of a remediation, from the signal to its end.
//!
//! The original keeps remediations as Kubernetes resources and follows child resources; here a remediation is an HTTP resource
//! and whoever does the work reports its progress. What must hold: a remediation moves along the edges of [`Phase`] and no
//! others; every move is kept with its time and reason and written to the audit log; a deadline that has passed beats every
//! report, decision or cancellation that comes later; saying the same thing twice changes nothing.
//!
//! State is in memory and bounded (see [`orchestrator`]): the audit log is the record that lasts. What is open when the service
//! stops is cancelled, so that the audit log has an end for everything that it has a start for.

mod api;
pub mod orchestrator;
pub mod phase;
pub mod remediation;
pub mod request;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use service_kit::audit::{AuditClient, Settings};
use service_kit::prometheus_client::registry::Registry;
use service_kit::{App, Clock};

use crate::orchestrator::Orchestrator;
pub use crate::phase::Phase;

/// The name of the service, the actor of its audit events.
pub const SERVICE: &str = "remediationorchestrator";

/// The largest request body in bytes; a request with every text at its limit needs less.
const BODY_LIMIT: usize = 64 << 10;

/// How long the audit events may take at shutdown; the kit gives all hooks together 1.5 s.
const FLUSH: Duration = Duration::from_millis(1400);

/// The whole service, from the environment to the exit code.
pub fn main() -> ExitCode {
    service_kit::run(SERVICE, env!("CARGO_PKG_VERSION"), async |environment| {
        let mut registry = Registry::default();
        let audit = AuditClient::start(SERVICE, Settings::from_environment(environment)?, &mut registry)?;
        let orchestrator = Arc::new(Orchestrator::new(audit.clone(), Clock::system()));
        let probe = audit.clone();
        Ok(app(Arc::clone(&orchestrator))
            .registry(registry)
            .readiness(move || {
                let probe = probe.clone();
                async move { probe.ready().await }
            })
            .on_shutdown("cancel open remediations", async move { orchestrator.cancel_all() })
            .on_shutdown("write the audit events", audit.close(FLUSH)))
    })
}

/// The routes, with the watch over deadlines started; needs a tokio runtime.
pub fn app(orchestrator: Arc<Orchestrator>) -> App {
    tokio::spawn(Arc::clone(&orchestrator).watch_deadlines());
    App::new(api::routes(orchestrator)).body_limit(BODY_LIMIT)
}
