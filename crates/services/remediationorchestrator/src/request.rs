//! What callers send, and what is wrong with it.
//!
//! A text that is absent is an empty text here: both are refused by the same check, which names the field, where serde would
//! name only the object around it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use service_kit::Problem;
use service_kit::rules::{MESSAGE_MAX, Millis, TEXT_MAX, name, optional, required};

use crate::Phase;

/// A remediation request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// The name, also the correlation id of its audit events: a DNS subdomain (RFC 1123), as Kubernetes asks of names.
    pub name: String,
    /// The Kubernetes namespace of the remediation; `default`.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// What it is to remedy.
    pub signal: Signal,
    /// What the workflow works on, such as `payments/Deployment/api`; may be empty.
    pub target_resource: String,
    /// The workflow to run.
    pub workflow_id: String,
    /// Whether a person has to approve before the workflow runs.
    pub approval_required: bool,
    /// How long it may take.
    pub timeouts: Timeouts,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// The signal that a remediation is for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signal {
    /// Its name, such as `HighMemoryUsage`.
    pub name: String,
    /// Its fingerprint, as the gateway gives it.
    pub fingerprint: String,
}

/// Timeouts. Each phase has one, and the whole has one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From the request to the end; one hour.
    pub global_ms: Millis,
    /// Until somebody works on it; 5 minutes.
    pub pending_ms: Millis,
    /// 5 minutes.
    pub processing_ms: Millis,
    /// 10 minutes.
    pub analyzing_ms: Millis,
    /// 15 minutes.
    pub awaiting_approval_ms: Millis,
    /// 30 minutes.
    pub executing_ms: Millis,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let minutes = Millis::minutes;
        Timeouts {
            global_ms: minutes(60),
            pending_ms: minutes(5),
            processing_ms: minutes(5),
            analyzing_ms: minutes(10),
            awaiting_approval_ms: minutes(15),
            executing_ms: minutes(30),
        }
    }
}

impl Timeouts {
    /// The timeout of a phase; none for an end.
    pub fn of(&self, phase: Phase) -> Option<Duration> {
        let millis = match phase {
            Phase::Pending => self.pending_ms,
            Phase::Processing => self.processing_ms,
            Phase::Analyzing => self.analyzing_ms,
            Phase::AwaitingApproval => self.awaiting_approval_ms,
            Phase::Executing => self.executing_ms,
            _ => return None,
        };
        Some(millis.into())
    }
}

impl Spec {
    /// Checks what the types do not say.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<(), Problem> {
        name("name", &self.name)?;
        name("namespace", &self.namespace)?;
        required("signal.name", &self.signal.name, TEXT_MAX)?;
        required("signal.fingerprint", &self.signal.fingerprint, TEXT_MAX)?;
        optional("target_resource", &self.target_resource, TEXT_MAX)?;
        required("workflow_id", &self.workflow_id, TEXT_MAX)
    }
}

/// A report about the work: exactly one of `phase` and `outcome`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// The phase that has begun. Whoever analyzes may ask for approval even if the request does not.
    pub phase: Option<Phase>,
    /// How the work ended.
    pub outcome: Option<Outcome>,
    /// Why, as one word such as `PodNotFound`; must be there when the outcome is `failed`.
    pub reason: String,
    /// The same for a person.
    pub message: String,
}

/// How the work ended.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The workflow succeeded.
    Succeeded,
    /// The work of the phase failed.
    Failed,
}

impl Report {
    /// Checks the report and says which phase it asks for.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn target(&self) -> Result<Phase, Problem> {
        optional("reason", &self.reason, TEXT_MAX)?;
        optional("message", &self.message, MESSAGE_MAX)?;
        match (self.phase, self.outcome) {
            (Some(Phase::Pending), None) => {
                Err(Problem::invalid("phase", "`pending` is the first phase: report another"))
            }
            (Some(end), None) if end.is_end() => {
                let detail = format!("`{}` is an end, which no report names: report an `outcome`", end.name());
                Err(Problem::invalid("phase", detail))
            }
            (Some(phase), None) => Ok(phase),
            (None, Some(Outcome::Succeeded)) => Ok(Phase::Completed),
            (None, Some(Outcome::Failed)) => required("reason", &self.reason, TEXT_MAX).map(|()| Phase::Failed),
            (None, None) => {
                Err(Problem::invalid("phase", "there is neither `phase` nor `outcome`: report one of them"))
            }
            (Some(_), Some(_)) => {
                Err(Problem::invalid("outcome", "there are both `phase` and `outcome`: report one of them at a time"))
            }
        }
    }
}

/// A decision about approval.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionRequest {
    /// What was decided; must be there.
    pub decision: Option<Decision>,
    /// Who decided.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The workflow may run.
    Approved,
    /// It may not.
    Rejected,
}

impl DecisionRequest {
    /// Checks the request and gives the decision.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<Decision, Problem> {
        let decision = self
            .decision
            .ok_or_else(|| Problem::invalid("decision", "there is no decision: send `approved` or `rejected`"))?;
        required("by", &self.by, TEXT_MAX)?;
        optional("reason", &self.reason, MESSAGE_MAX)?;
        Ok(decision)
    }
}

/// A request to stop a remediation.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelRequest {
    /// Who asks.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
}

impl CancelRequest {
    /// Checks the request.
    ///
    /// # Errors
    ///
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<(), Problem> {
        required("by", &self.by, TEXT_MAX)?;
        optional("reason", &self.reason, MESSAGE_MAX)
    }
}
