//! The tests, and what they share.

mod audit;
mod deduplication;
mod refusals;
mod service;
mod signals;

use chrono::{SecondsFormat, TimeDelta, Utc};
use e2e_suite::{Client, Response, Run};
use serde_json::{Value, json};

const PROMETHEUS: &str = "/api/v1/signals/prometheus";
const KUBERNETES: &str = "/api/v1/signals/kubernetes-event";
const REQUESTS: &str = "/api/v1/remediation-requests";

fn gateway() -> Client {
    Run::current().client("gateway")
}

/// The time so many seconds ago, as AlertManager writes it.
fn ago(seconds: i64) -> String {
    (Utc::now() - TimeDelta::seconds(seconds)).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A firing alert about the deployment `api` in the namespace `shop`.
fn alert(name: &str) -> Value {
    json!({
        "status": "firing",
        "labels": { "alertname": name, "namespace": "shop", "deployment": "api", "severity": "critical" },
        "annotations": { "summary": "the deployment is short of memory" },
        "startsAt": ago(1),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": "c6eadffa33fcdf37",
    })
}

/// The same alert with other values: `with(alert, &[("labels/namespace", json!("x"))])`.
fn with(mut alert: Value, changes: &[(&str, Value)]) -> Value {
    for (path, value) in changes {
        let (parent, key) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
        let members = alert.pointer_mut(&parent).and_then(Value::as_object_mut).expect("the parent is an object");
        members.insert((*key).to_owned(), value.clone());
    }
    alert
}

/// What AlertManager would send.
fn webhook(alerts: &[Value]) -> Value {
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"x\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "gateway",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": alerts,
    })
}

fn post(alerts: &[Value]) -> Response {
    gateway().post(PROMETHEUS, &webhook(alerts))
}

/// A warning about a pod of the namespace `shop`.
fn event(reason: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "type": "Warning",
        "reason": reason,
        "message": "Back-off restarting failed container",
        "involvedObject": { "kind": "Pod", "namespace": "shop", "name": "api-0" },
        "metadata": { "name": "api-0.17f", "namespace": "shop" },
        "firstTimestamp": ago(60),
        "lastTimestamp": ago(1),
        "count": 4,
    })
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

/// How many remediation requests a problem has had.
fn requests_of(fingerprint: &str) -> Value {
    gateway().get(&format!("{REQUESTS}?fingerprint={fingerprint}")).expect_status(200).json()["pagination"]["total"]
        .clone()
}
