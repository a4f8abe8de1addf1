//! What callers send, and what is wrong with it.
//!
//! A text that is absent is an empty text here: both are refused by the same check, which names the field, where serde would
//! name only the object around it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use service_kit::Problem;
use service_kit::rules::{MESSAGE_MAX, Millis, TEXT_MAX, name, optional, required};

use crate::action::Action;

/// How many steps a workflow may have.
pub const STEPS_MAX: usize = 100;

/// A request to run a workflow.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// The name of the execution: a DNS subdomain (RFC 1123), as Kubernetes asks of names. A random one if empty.
    pub name: String,
    /// The Kubernetes namespace; `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The remediation request that it is for, the correlation id of its audit events.
    pub remediation_request: String,
    /// What the workflow works on, such as `payments/Deployment/api`. Only one execution at a time may work on it; if it is
    /// empty, any number may.
    pub target_resource: String,
    /// What to run.
    pub workflow: Workflow,
    /// How long all steps together may take; 30 minutes.
    pub timeout_ms: Option<Millis>,
}

/// A workflow.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Workflow {
    /// Its id in the catalogue.
    pub id: String,
    /// Its version; may be empty.
    pub version: String,
    /// Its steps, 1 to [`STEPS_MAX`].
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Its name, of which the workflow has only one.
    pub name: String,
    /// What it does, see [`crate::action`].
    pub action: String,
    /// The parameters of the action.
    pub with: Map<String, Value>,
    /// How long it may take; no limit but that of the whole by default.
    pub timeout_ms: Option<Millis>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl Spec {
    /// Checks what the types do not say, and gives the actions of the steps.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<Vec<Action>, Problem> {
        if !self.name.is_empty() {
            name("name", &self.name)?;
        }
        name("namespace", &self.namespace)?;
        name("remediation_request", &self.remediation_request)?;
        optional("target_resource", &self.target_resource, TEXT_MAX)?;
        let Workflow { id, version, steps } = &self.workflow;
        required("workflow.id", id, TEXT_MAX)?;
        optional("workflow.version", version, TEXT_MAX)?;
        if !(1..=STEPS_MAX).contains(&steps.len()) {
            let detail = format!("the workflow has {} steps: give 1 to {STEPS_MAX}", steps.len());
            return Err(Problem::invalid("workflow.steps", detail));
        }
        let mut actions = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let at = format!("workflow.steps[{index}]");
            let earlier = &steps[..index];
            required(&format!("{at}.name"), &step.name, TEXT_MAX)?;
            if earlier.iter().any(|known| known.name == step.name) {
                let detail = format!("an earlier step has the name `{}`: choose another", step.name);
                return Err(Problem::invalid(format!("{at}.name"), detail));
            }
            actions.push(Action::of(step, &at, earlier)?);
        }
        Ok(actions)
    }

    /// How long all steps together may take.
    pub fn timeout(&self) -> Duration {
        self.timeout_ms.map_or(Duration::from_secs(30 * 60), Duration::from)
    }
}

/// A request to stop an execution.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelRequest {
    /// Who asks.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

impl CancelRequest {
    /// Checks the request and says it in one sentence.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn message(&self) -> Result<String, Problem> {
        let CancelRequest { by, reason } = self;
        required("by", by, TEXT_MAX)?;
        optional("reason", reason, MESSAGE_MAX)?;
        Ok(if reason.is_empty() { format!("cancelled by {by}") } else { format!("cancelled by {by}: {reason}") })
    }
}
