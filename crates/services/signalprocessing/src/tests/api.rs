//! Submissions and results.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use service_kit::Config;
use tower::ServiceExt as _;

use super::*;

struct Fixture {
    router: axum::Router,
    audit: AuditClient,
}

impl Fixture {
    fn new() -> Fixture {
        let audit = AuditClient::recording("signalprocessing", 100);
        let rules = crate::rules::Rules::parse(SHIPPED).unwrap();
        let processor = Processor::new(rules, audit.clone(), Clock::system(), &mut Registry::default());
        let environment = Environment::of(&[("API_TOKEN", "t")]);
        let config = Config::from_environment("signalprocessing", "0.0.0", &environment).unwrap();
        Fixture { router: App::new(crate::api::routes(Arc::new(processor))).into_router(&config), audit }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("authorization", "Bearer t")
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
    }

    async fn post(&self, body: &Value) -> (StatusCode, Value) {
        self.send("POST", "/signals", body).await
    }
}

fn with(pointer: &str, value: Value) -> Value {
    let mut submission = submission();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    submission.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
    submission
}

#[tokio::test]
async fn a_signal_is_processed_told_to_the_audit_log_and_can_be_read() {
    let fixture = Fixture::new();
    let (status, result) = fixture.post(&submission()).await;
    assert_eq!((status, &result["name"]), (StatusCode::CREATED, &json!("sp-rr-1")), "{result}");
    assert_eq!(result["status"]["decision"]["priority"]["value"], "P0");
    assert_eq!(result["status"]["context"]["owner"], json!({ "kind": "Deployment", "name": "api" }));
    assert_eq!(result["status"]["context"]["application"], "shop");
    assert_eq!(fixture.send("GET", "/signals/sp-rr-1", &Value::Null).await, (StatusCode::OK, result));
    assert_eq!(fixture.send("GET", "/signals/sp-rr-2", &Value::Null).await.0, StatusCode::NOT_FOUND);

    let events = fixture.audit.buffered();
    let types: Vec<_> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["signalprocessing.classification.decision", "signalprocessing.signal.processed"]);
    for event in &events {
        assert_eq!((event.correlation_id.as_str(), event.resource_id.as_deref()), ("rr-1", Some("sp-rr-1")));
    }
    assert_eq!(events[0].event_data["environment_rule"], "production by namespace");
}

#[tokio::test]
async fn the_same_request_is_processed_once_and_another_signal_for_it_is_a_conflict() {
    let fixture = Fixture::new();
    let (_, first) = fixture.post(&submission()).await;
    assert_eq!(fixture.post(&submission()).await, (StatusCode::OK, first));
    let other = with("/signal/severity", json!("low"));
    assert_eq!(fixture.post(&other).await.0, StatusCode::CONFLICT);
    assert_eq!(fixture.audit.buffered().len(), 2);
}

#[tokio::test]
async fn what_the_caller_knows_beats_what_is_derived() {
    let fixture = Fixture::new();
    let mut given = with(
        "/context",
        json!({
            "namespaceLabels": { "environment": "staging" },
            "owner": { "kind": "Rollout", "name": "api-rollout" },
        }),
    );
    given["signal"]["labels"]["environment"] = "production".into();
    let (_, result) = fixture.post(&given).await;
    let context = &result["status"]["context"];
    assert_eq!((&context["owner"]["kind"], &context["ownerSource"]), (&json!("Rollout"), &json!("given")));
    assert_eq!(context["degraded"], false);
    assert_eq!(result["status"]["decision"]["environment"]["rule"], "staging by label");
}

#[tokio::test]
async fn the_owner_is_derived_from_a_pod_s_name_only_when_the_name_has_the_form() {
    for (pod, owner) in [
        ("api-7d9f8b6c5d-x2k4z", json!({ "kind": "Deployment", "name": "api" })),
        ("my-api-84d9c7b6f-zz2k4", json!({ "kind": "Deployment", "name": "my-api" })),
        ("db-0", json!({ "kind": "StatefulSet", "name": "db" })),
        ("api-release-final", Value::Null),
        ("api", Value::Null),
        ("-0", Value::Null),
    ] {
        let (_, result) = Fixture::new().post(&with("/signal/targetResource/name", json!(pod))).await;
        assert_eq!(result["status"]["context"]["owner"], owner, "{pod}");
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field() {
    let fixture = Fixture::new();
    for (body, field) in [
        (with("/remediationRequestName", json!("Not A Name")), "remediationRequestName"),
        (with("/remediationRequestName", json!("")), "remediationRequestName"),
        (with("/remediationRequestName", json!("a".repeat(251))), "remediationRequestName"),
        (with("/signal/name", json!("")), "signal.name"),
        (with("/signal/severity", json!(1)), "signal.severity"),
        (with("/signal/targetResource/kind", json!("")), "signal.targetResource.kind"),
        (with("/signal/targetResource/name", json!("a\0b")), "signal.targetResource.name"),
        (with("/signal/labels", json!({ "a": "x".repeat(17 << 10) })), "signal.labels"),
        (with("/contxt", json!({})), "contxt"),
    ] {
        let (status, problem) = fixture.post(&body).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{problem}");
    }
    let (status, problem) = fixture.post(&json!({ "remediationRequestName": "rr-1" })).await;
    assert_eq!(
        (status, &problem["detail"]),
        (StatusCode::BAD_REQUEST, &json!("missing field `signal` at line 1 column 33"))
    );
    assert!(fixture.audit.buffered().is_empty());
}
