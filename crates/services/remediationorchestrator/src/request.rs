//! What callers send, and what is wrong with it.
//!
//! A text that is absent is an empty text here: both are refused by the same check, which names the field, where serde would
//! name only the object around it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use service_kit::Problem;

use crate::Phase;

/// The longest text other than a message, in characters; a Kubernetes name has at most as many.
const TEXT_MAX: usize = 253;

/// The longest message, in characters.
const MESSAGE_MAX: usize = 1024;

/// The longest timeout: a day. What takes longer is nobody's remediation any more.
const TIMEOUT_MAX_MS: u64 = 24 * 60 * 60 * 1000;

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

/// A timeout in milliseconds, from 1 to a day.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "u64")]
pub struct Millis(u64);

impl TryFrom<u64> for Millis {
    type Error = String;

    fn try_from(value: u64) -> Result<Millis, String> {
        if (1..=TIMEOUT_MAX_MS).contains(&value) {
            Ok(Millis(value))
        } else {
            Err(format!("{value} is no timeout: give 1 to {TIMEOUT_MAX_MS} milliseconds"))
        }
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Duration {
        Duration::from_millis(millis.0)
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        let minutes = |minutes: u64| Millis(minutes * 60 * 1000);
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
        required("signal.name", &self.signal.name)?;
        required("signal.fingerprint", &self.signal.fingerprint)?;
        optional("target_resource", &self.target_resource, TEXT_MAX)?;
        required("workflow_id", &self.workflow_id)
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
            (None, Some(Outcome::Failed)) => required("reason", &self.reason).map(|()| Phase::Failed),
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
        required("by", &self.by)?;
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
        required("by", &self.by)?;
        optional("reason", &self.reason, MESSAGE_MAX)
    }
}

fn required(field: &str, value: &str) -> Result<(), Problem> {
    if value.is_empty() {
        return Err(Problem::invalid(field, format!("`{field}` is missing or empty")));
    }
    optional(field, value, TEXT_MAX)
}

fn optional(field: &str, value: &str, max: usize) -> Result<(), Problem> {
    let length = value.chars().count();
    if length > max {
        return Err(Problem::invalid(field, format!("`{field}` has {length} characters: at most {max} are allowed")));
    }
    if value.chars().any(char::is_control) {
        return Err(Problem::invalid(field, format!("`{field}` has a control character: remove it")));
    }
    Ok(())
}

fn name(field: &str, value: &str) -> Result<(), Problem> {
    required(field, value)?;
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inside = |byte: u8| good(byte) || byte == b'-';
    // An RFC 1123 subdomain: labels of letters, digits and inner hyphens, joined by dots.
    let label = |label: &str| match label.as_bytes() {
        [first, .., last] => good(*first) && good(*last) && label.bytes().all(inside),
        [only] => good(*only),
        [] => false,
    };
    if value.split('.').all(label) {
        return Ok(());
    }
    let rule = "use lower-case letters, digits, `-` and `.`, with a letter or digit first and last";
    Err(Problem::invalid(field, format!("`{value}` is not a name: {rule}")))
}
