use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::json;
use service_kit::audit::AuditClient;
use service_kit::{Clock, Config, Environment};
use tower::ServiceExt as _;

use super::*;

async fn post(router: &Router, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(format!("/api/v1/executions{path}"))
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
    let config = Config::from_environment("workflowexecution", "0.0.0", &environment).unwrap();
    let audit = AuditClient::recording("workflowexecution", 100);
    crate::app(Arc::new(Runner::new(audit, Clock::system()))).into_router(&config)
}

#[tokio::test]
async fn bad_input_names_the_field() {
    let router = router();
    let step = |action: &str, with: Value| json!([{ "name": "a", "action": action, "with": with }]);
    let many: Vec<Value> = (0..101).map(|n| json!({ "name": n.to_string(), "action": "noop" })).collect();
    let twice = json!([{ "name": "a", "action": "noop" }, { "name": "a", "action": "noop" }]);
    for (pointer, value, field) in [
        ("/name", json!("Upper"), "name"),
        ("/name", json!(7), "name"),
        ("/remediation_request", json!(""), "remediation_request"),
        ("/remediation_request", json!("a_b"), "remediation_request"),
        ("/namespace", json!("a b"), "namespace"),
        ("/target_resource", json!("t".repeat(254)), "target_resource"),
        ("/timeout_ms", json!(0), "timeout_ms"),
        ("/timeout_ms", json!(86_400_001), "timeout_ms"),
        ("/timeout", json!(1), "timeout"),
        ("/workflow", json!([]), "workflow.id"),
        ("/workflow/id", json!(""), "workflow.id"),
        ("/workflow/version", json!("v\u{0}"), "workflow.version"),
        ("/workflow/steps", json!([]), "workflow.steps"),
        ("/workflow/steps", json!(many), "workflow.steps"),
        ("/workflow/steps", json!([{ "action": "noop" }]), "workflow.steps[0].name"),
        ("/workflow/steps", twice, "workflow.steps[1].name"),
        ("/workflow/steps", json!([{ "name": "a" }]), "workflow.steps[0].action"),
        ("/workflow/steps", step("shell", json!({})), "workflow.steps[0].action"),
        ("/workflow/steps", step("noop", json!([])), "workflow.steps[0].with"),
        ("/workflow/steps", step("noop", json!({ "ms": 1 })), "workflow.steps[0].with.ms"),
        ("/workflow/steps", step("echo", json!({})), "workflow.steps[0].with.value"),
        ("/workflow/steps", step("wait", json!({})), "workflow.steps[0].with.ms"),
        ("/workflow/steps", step("wait", json!({ "ms": "1" })), "workflow.steps[0].with.ms"),
        ("/workflow/steps", step("wait", json!({ "ms": -1 })), "workflow.steps[0].with.ms"),
        ("/workflow/steps", step("wait", json!({ "ms": 86_400_001 })), "workflow.steps[0].with.ms"),
        ("/workflow/steps", step("fail", json!({ "reason": "R" })), "workflow.steps[0].with.message"),
        ("/workflow/steps", step("fail", json!({ "reason": "", "message": "m" })), "workflow.steps[0].with.reason"),
        ("/workflow/steps", step("assert", json!({ "step": "a", "equals": 1 })), "workflow.steps[0].with.step"),
        ("/workflow/steps/0/timeout_ms", json!(-1), "workflow.steps[0].timeout_ms"),
    ] {
        let mut body = json!({
            "name": "wfe-1", "remediation_request": "rr-1",
            "workflow": { "id": "restart", "steps": [{ "name": "a", "action": "noop" }] },
        });
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[member] = value;
        let (status, problem) = post(&router, "", &body).await;
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{body}: {problem}");
    }
}

#[tokio::test]
async fn a_request_without_a_name_gets_one_each_time() {
    let router = router();
    let body = json!({
        "remediation_request": "rr-1", "workflow": { "id": "restart", "steps": [{ "name": "a", "action": "noop" }] },
    });
    let (first, second) = (post(&router, "", &body).await, post(&router, "", &body).await);
    assert_eq!((first.0, second.0), (201, 201));
    assert_ne!(first.1["name"], second.1["name"]);
}

#[tokio::test]
async fn cancelling_asks_who_and_whom() {
    let router = router();
    assert_eq!(post(&router, "/nobody/cancel", &json!({ "by": "ann" })).await.0, 404);
    let (status, problem) = post(&router, "/nobody/cancel", &json!({ "reason": "why" })).await;
    assert_eq!((status, &problem["field"]), (400, &json!("by")));
}
