use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::json;
use service_kit::audit::AuditClient;
use service_kit::{Clock, Config, Environment};
use tower::ServiceExt as _;

use super::*;

async fn post(router: &Router, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(format!("/api/v1/remediations{path}"))
        .header("authorization", "Bearer t0p")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), usize::MAX).await.unwrap()).unwrap())
}

fn router() -> Router {
    let environment = Environment::of(&[("API_TOKEN", "t0p")]);
    let config = Config::from_environment("remediationorchestrator", "0.0.0", &environment).unwrap();
    let audit = AuditClient::recording("remediationorchestrator", 100);
    crate::app(Arc::new(Orchestrator::new(audit, Clock::system()))).into_router(&config)
}

fn valid() -> Value {
    json!({ "name": "rr-1", "signal": { "name": "HighMemory", "fingerprint": "ab12" }, "workflow_id": "restart" })
}

#[tokio::test]
async fn bad_input_names_the_field() {
    let router = router();
    for (pointer, value, field) in [
        ("/name", json!(""), "name"),
        ("/name", json!(null), "name"),
        ("/name", json!(7), "name"),
        ("/name", json!("Upper"), "name"),
        ("/name", json!("-x"), "name"),
        ("/name", json!("a..b"), "name"),
        ("/name", json!("a/b"), "name"),
        ("/name", json!("n".repeat(254)), "name"),
        ("/namespace", json!("a b"), "namespace"),
        ("/signal", json!("x"), "signal"),
        ("/signal/name", json!(""), "signal.name"),
        ("/signal/fingerprint", json!("a\nb"), "signal.fingerprint"),
        ("/signal/severity", json!("high"), "signal.severity"),
        ("/workflow_id", json!([]), "workflow_id"),
        ("/target_resource", json!("t".repeat(254)), "target_resource"),
        ("/approval_required", json!("yes"), "approval_required"),
        ("/timeouts", json!({ "global_ms": 0 }), "timeouts.global_ms"),
        ("/timeouts", json!({ "executing_ms": 86_400_001 }), "timeouts.executing_ms"),
        ("/timeouts", json!({ "pending_ms": -1 }), "timeouts.pending_ms"),
        ("/timeouts", json!({ "pending": 1 }), "timeouts.pending"),
        ("/aproval_required", json!(true), "aproval_required"),
    ] {
        let mut body = valid();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[member] = value;
        let (status, problem) = post(&router, "", &body).await;
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{body}: {problem}");
    }
    for missing in ["name", "workflow_id"] {
        let mut body = valid();
        body.as_object_mut().unwrap().remove(missing);
        let (status, problem) = post(&router, "", &body).await;
        assert_eq!((status, &problem["field"]), (400, &json!(missing)), "{problem}");
    }
    assert_eq!(post(&router, "", &valid()).await.0, 201);
    for (route, body, field) in [
        ("progress", json!({}), "phase"),
        ("progress", json!({ "phase": "sleeping" }), "phase"),
        ("progress", json!({ "phase": "pending" }), "phase"),
        ("progress", json!({ "phase": "completed" }), "phase"),
        ("progress", json!({ "phase": "processing", "outcome": "failed" }), "outcome"),
        ("progress", json!({ "outcome": "maybe" }), "outcome"),
        ("progress", json!({ "outcome": "failed" }), "reason"),
        ("progress", json!({ "phase": "processing", "message": "m".repeat(1025) }), "message"),
        ("approval", json!({ "by": "ann" }), "decision"),
        ("approval", json!({ "decision": "perhaps", "by": "ann" }), "decision"),
        ("approval", json!({ "decision": "approved" }), "by"),
        ("cancel", json!({ "reason": "changed my mind" }), "by"),
        ("cancel", json!({ "by": "ann", "force": true }), "force"),
    ] {
        let (status, problem) = post(&router, &format!("/rr-1/{route}"), &body).await;
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{route} {body}: {problem}");
    }
}

#[tokio::test]
async fn a_namespace_is_not_needed_and_a_name_may_be_as_long_as_kubernetes_allows() {
    let mut body = valid();
    body["name"] = json!("n".repeat(253));
    let (status, shown) = post(&router(), "", &body).await;
    assert_eq!((status, &shown["namespace"]), (201, &json!("default")));
}

#[tokio::test]
async fn an_unknown_remediation_is_not_found_on_every_route() {
    let router = router();
    for (route, body) in [
        ("progress", json!({ "phase": "processing" })),
        ("approval", json!({ "decision": "approved", "by": "ann" })),
        ("cancel", json!({ "by": "ann" })),
    ] {
        assert_eq!(post(&router, &format!("/nobody/{route}"), &body).await.0, 404, "{route}");
    }
    assert_eq!(post(&router, "/%ff/cancel", &json!({ "by": "ann" })).await.0, 400);
}
