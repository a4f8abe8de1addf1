//! A signal, whatever it came from, and what makes two signals the same problem.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use service_kit::Problem;
use sha2::{Digest as _, Sha256};

/// The most bytes that the labels and annotations of one signal may have. Kubernetes allows 256 KiB for annotations alone; an
/// alert with that much is a mistake, and every signal that makes a remediation request is kept in memory.
const TEXTS_MAX: usize = 16 << 10;

/// The longest name, in bytes: that of a Kubernetes object (a DNS subdomain, RFC 1123).
pub(crate) const NAME_MAX: usize = 253;

/// How far a sender's clock may be ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// How old an `X-Timestamp` may be: it is the time of sending.
const SENT_MAX_AGE: TimeDelta = TimeDelta::minutes(5);

/// How old the start of a problem may be when there is no `X-Timestamp`. AlertManager repeats what still fires every four hours
/// (`repeat_interval`) with the first start time; three of these may be missed.
const STARTED_MAX_AGE: TimeDelta = TimeDelta::hours(12);

/// Labels or annotations.
pub(crate) type Texts = BTreeMap<String, String>;

/// One signal.
#[derive(Clone, Debug)]
pub(crate) struct Signal {
    /// `alert` or `event`.
    pub(crate) kind: &'static str,
    /// What sent it, such as `alertmanager`.
    pub(crate) source: &'static str,
    /// The name of the alert, or the reason of the event.
    pub(crate) name: String,
    /// As the sender says, not yet classified.
    pub(crate) severity: String,
    /// The cluster that it is about, empty if the sender does not say.
    pub(crate) cluster: String,
    /// The namespace of the object, empty if it has none.
    pub(crate) namespace: String,
    /// The kind of the object that has the problem.
    pub(crate) resource_kind: String,
    /// The name of that object.
    pub(crate) resource_name: String,
    pub(crate) labels: Texts,
    pub(crate) annotations: Texts,
    /// When the problem started.
    pub(crate) started: Option<DateTime<Utc>>,
    /// What the sender calls that time.
    pub(crate) started_field: &'static str,
    /// The problem is over.
    pub(crate) resolved: bool,
}

impl Signal {
    /// Which problem this is: SHA-256 over a JSON array of the signal's name, cluster, namespace, and the kind and name of the
    /// object, in hexadecimal.
    ///
    /// Left out on purpose: severity (a problem that gets worse is the same problem), times, and all other labels. AlertManager's
    /// own fingerprint covers all labels, so it changes with each restarted pod or scraped instance. An array in JSON, because
    /// joined with a separator two different identities could read the same.
    pub(crate) fn fingerprint(&self) -> String {
        let identity =
            json!([self.name, self.cluster, self.namespace, self.resource_kind, self.resource_name]).to_string();
        hex::encode(Sha256::digest(identity))
    }

    /// Checks what every signal must keep to; `at` is where in the body it stands, as in `alerts[0].`.
    pub(crate) fn check(&self, at: &str, sent: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<(), Problem> {
        for (field, texts) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            // No label has them, and DataStorage cannot store all of them.
            if let Some(name) = texts.iter().find(|(key, value)| key.contains('\0') || value.contains('\0')) {
                return Err(Problem::invalid(format!("{at}{field}"), format!("{:?} has a NUL character", name.0)));
            }
        }
        let bytes: usize =
            self.labels.iter().chain(&self.annotations).map(|(key, value)| key.len() + value.len()).sum();
        if bytes > TEXTS_MAX {
            let detail = format!("labels and annotations have {bytes} bytes together, at most {TEXTS_MAX} are allowed");
            return Err(Problem::invalid(format!("{at}labels"), detail));
        }
        if sent.is_none() && !self.resolved {
            let detail = "is missing: send it, or the time of sending in the header X-Timestamp";
            let field = format!("{at}{}", self.started_field);
            let started = self.started.ok_or_else(|| Problem::invalid(field.as_str(), detail))?;
            fresh(&field, started, STARTED_MAX_AGE, now)?;
        }
        Ok(())
    }
}

/// Refuses an empty or overlong name, and one with control characters.
pub(crate) fn name(field: &str, value: &str) -> Result<String, Problem> {
    if value.is_empty() {
        return Err(Problem::invalid(field, format!("{field} is missing or empty")));
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
    Ok(value.to_owned())
}

/// Refuses what cannot be a namespace (a DNS label, RFC 1123). Empty is none.
pub(crate) fn namespace(field: &str, value: &str) -> Result<String, Problem> {
    let alphanumeric = |byte: Option<&u8>| byte.is_none_or(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = value.as_bytes();
    let label = bytes.iter().all(|byte| *byte == b'-' || alphanumeric(Some(byte)));
    if label && bytes.len() <= 63 && alphanumeric(bytes.first()) && alphanumeric(bytes.last()) {
        return Ok(value.to_owned());
    }
    let shown: String = value.chars().take(80).collect();
    let detail = format!("{shown:?} cannot be a namespace: at most 63 of a-z, 0-9 and hyphens inside");
    Err(Problem::invalid(field, detail))
}

/// A time of RFC 3339, as AlertManager and Kubernetes write it.
pub(crate) fn time(field: &str, value: &str) -> Result<DateTime<Utc>, Problem> {
    match DateTime::parse_from_rfc3339(value) {
        Ok(time) => Ok(time.to_utc()),
        Err(_) => {
            let shown: String = value.chars().take(40).collect();
            Err(Problem::invalid(field, format!("{shown:?} is not a time of RFC 3339 such as 2026-01-31T12:00:00Z")))
        }
    }
}

/// The time of sending in the header `X-Timestamp`, in seconds since 1970.
pub(crate) fn sent(header: Option<&[u8]>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Problem> {
    const FIELD: &str = "X-Timestamp";
    let Some(header) = header else { return Ok(None) };
    let seconds = std::str::from_utf8(header).ok().and_then(|text| text.parse().ok());
    let Some(sent) = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)) else {
        return Err(Problem::invalid(FIELD, "X-Timestamp is not a number of seconds since 1970-01-01T00:00:00Z"));
    };
    fresh(FIELD, sent, SENT_MAX_AGE, now)?;
    Ok(Some(sent))
}

fn fresh(field: &str, time: DateTime<Utc>, max_age: TimeDelta, now: DateTime<Utc>) -> Result<(), Problem> {
    if now - time > max_age {
        return Err(Problem::invalid(
            field,
            format!("{time} is stale: more than {} minutes old", max_age.num_minutes()),
        ));
    }
    if time - now > AHEAD {
        let detail = format!("{time} is more than {} minutes ahead: check the clock", AHEAD.num_minutes());
        return Err(Problem::invalid(field, detail));
    }
    Ok(())
}

/// What the audit log is told about a signal: its identity, not its labels, which may hold anything.
pub(crate) fn summary(signal: &Signal, fingerprint: &str) -> Value {
    json!({
        "signal_type": signal.kind,
        "signal_source": signal.source,
        "signal_name": signal.name,
        "severity": signal.severity,
        "cluster": signal.cluster,
        "namespace": signal.namespace,
        "resource_kind": signal.resource_kind,
        "resource_name": signal.resource_name,
        "fingerprint": fingerprint,
    })
}
