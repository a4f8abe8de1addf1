//! What callers and the audit log see, without a socket.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, SecondsFormat, TimeDelta, TimeZone as _, Utc};
use serde_json::{Value, json};
use service_kit::audit::Event;
use service_kit::{Config, ManualClock};
use tower::ServiceExt as _;

use super::*;
use crate::store::Store;

mod fingerprint;
mod signals;

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap()
}

/// A gateway whose clock and audit log are in the test's hands.
struct Fixture {
    router: axum::Router,
    audit: AuditClient,
    clock: ManualClock,
}

impl Fixture {
    fn new() -> Fixture {
        let (clock, manual) = Clock::manual(start());
        let audit = AuditClient::recording("gateway", 100);
        let gateway = Gateway::new(audit.clone(), clock, UNMANAGED, &mut Registry::default());
        let environment = Environment::of(&[("API_TOKEN", "t")]);
        let config = Config::from_environment("gateway", "0.0.0", &environment).unwrap();
        Fixture { router: App::new(api::routes(Arc::new(gateway))).into_router(&config), audit, clock: manual }
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
        for (name, value) in [("authorization", "Bearer t"), ("content-type", "application/json")].iter().chain(headers)
        {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (head.status, head.headers, serde_json::from_slice(&body).unwrap())
    }

    async fn post(&self, alerts: &[Value]) -> (StatusCode, Value) {
        let (status, _, answer) = self.send("POST", "/signals/prometheus", &[], &webhook(alerts)).await;
        (status, answer)
    }

    async fn post_event(&self, event: &Value) -> (StatusCode, Value) {
        let (status, _, answer) = self.send("POST", "/signals/kubernetes-event", &[], event).await;
        (status, answer)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, _, answer) = self.send("GET", path, &[], &Value::Null).await;
        (status, answer)
    }

    /// Types of the audit events so far, each with whether it belongs to that remediation request.
    fn events(&self) -> Vec<(String, String)> {
        self.audit.buffered().into_iter().map(|event: Event| (event.event_type, event.correlation_id)).collect()
    }
}

fn webhook(alerts: &[Value]) -> Value {
    json!({ "version": "4", "status": "firing", "receiver": "gateway", "alerts": alerts })
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn alert(labels: Value) -> Value {
    let mut all =
        json!({ "alertname": "HighMemory", "namespace": "shop", "deployment": "api", "severity": "critical" });
    all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
    json!({ "status": "firing", "labels": all, "annotations": { "summary": "s" }, "startsAt": rfc3339(start()) })
}

fn resolved(mut alert: Value) -> Value {
    alert["status"] = "resolved".into();
    alert
}

fn event() -> Value {
    json!({
        "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container",
        "involvedObject": { "kind": "Pod", "name": "api-0", "namespace": "shop" },
        "lastTimestamp": rfc3339(start()),
    })
}
