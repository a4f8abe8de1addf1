//! The tests, and what they share.

mod audit;
mod decisions;
mod refusals;
mod service;

use e2e_suite::{Client, Response, Run};
use serde_json::{Value, json};

const SIGNALS: &str = "/api/v1/signals";

fn service() -> Client {
    Run::current().client("signalprocessing")
}

/// A critical signal about a pod in a production namespace.
fn submission(remediation_request: &str) -> Value {
    json!({
        "remediationRequestName": remediation_request,
        "signal": {
            "name": "HighMemory",
            "fingerprint": "c6eadffa33fcdf37",
            "severity": "critical",
            "targetResource": { "kind": "Pod", "name": "api-7d9f8b6c5d-x2k4z", "namespace": "shop-prod" },
            "labels": { "app": "shop" },
        },
    })
}

/// The same submission with other values: `with(submission, &[("signal/severity", json!("low"))])`.
fn with(mut submission: Value, changes: &[(&str, Value)]) -> Value {
    for (path, value) in changes {
        let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
        let members = submission.pointer_mut(&parent).and_then(Value::as_object_mut).expect("the parent is an object");
        members.insert((*key).to_owned(), value.clone());
    }
    submission
}

fn submit(submission: &Value) -> Response {
    service().post(SIGNALS, submission)
}

/// A text member of an answer.
#[track_caller]
fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap_or_else(|| panic!("no text `{member}` in {answer}"))
}

/// The types of audit events, in order.
fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| text(event, "event_type")).collect()
}
