//! Signal processing: takes the signal of a remediation request, adds what can be known about it, and classifies it.
//!
//! What must hold: every decision names the rule that made it, so that a person can change it; a rule file with a mistake is
//! refused at start, not at the first signal; the same remediation request is processed once.
//!
//! The original watches a custom resource and asks the Kubernetes API about namespace and owner. Here the caller gives what it
//! knows, and the rest is derived from names; results live in memory and are read over HTTP.

mod api;
mod audit;
mod enrich;
mod input;
mod rules;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use service_kit::audit::{AuditClient, Settings};
use service_kit::prometheus_client::registry::Registry;
use service_kit::{App, Clock, Environment, log};

use api::Processor;
use rules::Rules;

/// Where the rule table is unless `RULES_FILE` says otherwise.
const RULES_FILE: &str = "/etc/signalprocessing/rules.toml";

/// The service as the environment describes it.
///
/// # Errors
///
/// If a variable is missing or wrong, the rule file has a mistake, or the audit writer cannot be started.
pub fn app(environment: &Environment) -> anyhow::Result<App> {
    let settings = Settings::from_environment(environment)?;
    let file = environment.optional("RULES_FILE")?.map_or_else(|| PathBuf::from(RULES_FILE), PathBuf::from);
    let rules = Rules::read(&file)?;
    log!("signalprocessing: {} rules from {}", rules.len(), file.display());
    let mut registry = Registry::default();
    let audit = AuditClient::start("signalprocessing", settings, &mut registry)?;
    let processor = Processor::new(rules, audit.clone(), Clock::system(), &mut registry);
    Ok(App::new(api::routes(Arc::new(processor))).registry(registry).audit(audit))
}
