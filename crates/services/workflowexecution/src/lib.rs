//! workflowexecution: runs the steps of a workflow, one after the other.
//!
//! The original hands workflows to Tekton, Jobs or Ansible; here a workflow is a list of steps with built-in actions (see
//! [`action`]), none of which reaches outside the service. What must hold: a step begins only when all before it have succeeded;
//! an execution ends once, whatever its last step, a timeout and a cancellation do at the same time; its audit events
//! are a selection, a start and exactly one end.
//!
//! State is in memory and bounded (see [`runner`]): the audit log is the record that lasts. What runs when the service stops
//! is cancelled, so that the audit log has an end for everything that it has a start for.

pub mod action;
mod api;
pub mod execution;
pub mod request;
pub mod runner;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use service_kit::audit::{AuditClient, Settings};
use service_kit::prometheus_client::registry::Registry;
use service_kit::{App, Clock};

use crate::runner::Runner;

/// The name of the service, the actor of its audit events.
pub const SERVICE: &str = "workflowexecution";

/// The largest request body in bytes: enough for a hundred steps with something in each.
const BODY_LIMIT: usize = 16 << 10;

/// How long the audit events may take at shutdown; the kit gives all hooks together 1.5 s.
const FLUSH: Duration = Duration::from_millis(1400);

/// The whole service, from the environment to the exit code.
pub fn main() -> ExitCode {
    service_kit::run(SERVICE, env!("CARGO_PKG_VERSION"), async |environment| {
        let mut registry = Registry::default();
        let audit = AuditClient::start(SERVICE, Settings::from_environment(environment)?, &mut registry)?;
        let runner = Arc::new(Runner::new(audit.clone(), Clock::system()));
        let probe = audit.clone();
        Ok(app(Arc::clone(&runner))
            .registry(registry)
            .readiness(move || {
                let probe = probe.clone();
                async move { probe.ready().await }
            })
            .on_shutdown("cancel what runs", async move { runner.cancel_all() })
            .on_shutdown("write the audit events", audit.close(FLUSH)))
    })
}

/// The routes.
pub fn app(runner: Arc<Runner>) -> App {
    App::new(api::routes(runner)).body_limit(BODY_LIMIT)
}
