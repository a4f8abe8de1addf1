//! What a caller sends, and the rules that it must keep.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use service_kit::Problem;

/// Labels or annotations.
pub(crate) type Texts = BTreeMap<String, String>;

/// The longest name, in bytes: that of a Kubernetes object (a DNS subdomain, RFC 1123).
const NAME_MAX: usize = 253;

/// The longest name of a remediation request: the name of its result has three bytes more.
const REQUEST_MAX: usize = NAME_MAX - 3;

/// The most bytes that all labels and annotations of one request may have, as in the gateway.
const TEXTS_MAX: usize = 16 << 10;

/// A signal to be processed. Unknown members are refused: a misspelt `context` would be a silent loss of information.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Submission {
    pub(crate) remediation_request_name: String,
    pub(crate) signal: Signal,
    #[serde(default)]
    pub(crate) context: Given,
}

/// The signal.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Signal {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) fingerprint: String,
    #[serde(default)]
    pub(crate) severity: String,
    pub(crate) target_resource: Object,
    #[serde(default)]
    pub(crate) labels: Texts,
    #[serde(default)]
    pub(crate) annotations: Texts,
}

/// A Kubernetes object.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Object {
    pub(crate) kind: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) namespace: String,
}

/// What the caller knows beyond the signal.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Given {
    pub(crate) namespace_labels: Option<Texts>,
    pub(crate) owner: Option<Owner>,
}

/// The workload that a pod belongs to.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owner {
    pub(crate) kind: String,
    pub(crate) name: String,
}

impl Submission {
    /// Checks what the types cannot.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        request_name(&self.remediation_request_name)?;
        let signal = &self.signal;
        let target = &signal.target_resource;
        text("signal.name", &signal.name, 1)?;
        text("signal.fingerprint", &signal.fingerprint, 0)?;
        text("signal.severity", &signal.severity, 0)?;
        text("signal.targetResource.kind", &target.kind, 1)?;
        text("signal.targetResource.name", &target.name, 1)?;
        text("signal.targetResource.namespace", &target.namespace, 0)?;
        if let Some(owner) = &self.context.owner {
            text("context.owner.kind", &owner.kind, 1)?;
            text("context.owner.name", &owner.name, 1)?;
        }
        let texts = [&signal.labels, &signal.annotations].into_iter().chain(&self.context.namespace_labels);
        let bytes: usize = texts.flatten().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > TEXTS_MAX {
            let detail = format!("labels and annotations have {bytes} bytes together, at most {TEXTS_MAX} are allowed");
            return Err(Problem::invalid("signal.labels", detail));
        }
        Ok(())
    }
}

fn request_name(name: &str) -> Result<(), Problem> {
    const FIELD: &str = "remediationRequestName";
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [name.bytes().next(), name.bytes().last()];
    if name.len() <= REQUEST_MAX
        && name.bytes().all(|byte| inner(byte) || b"-.".contains(&byte))
        && ends.iter().all(|byte| byte.is_some_and(inner))
    {
        return Ok(());
    }
    let detail = format!("not a Kubernetes name: 1 to {REQUEST_MAX} of a-z, 0-9, and hyphens and dots inside");
    Err(Problem::invalid(FIELD, detail))
}

fn text(field: &str, value: &str, min: usize) -> Result<(), Problem> {
    if value.len() < min {
        return Err(Problem::invalid(field, format!("{field} is empty")));
    }
    if value.len() > NAME_MAX {
        return Err(Problem::invalid(
            field,
            format!("{field} has {} bytes, at most {NAME_MAX} are allowed", value.len()),
        ));
    }
    if value.contains(char::is_control) {
        return Err(Problem::invalid(field, format!("{field} has a control character: {value:?}")));
    }
    Ok(())
}
