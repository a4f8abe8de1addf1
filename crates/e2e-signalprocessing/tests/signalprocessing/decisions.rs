//! What is decided, and from what.

use e2e_suite::{eventually_events, unique};
use serde_json::json;

use super::*;

/// Submits the usual signal with changes and returns the decision.
fn decide(changes: &[(&str, Value)]) -> Value {
    let result = submit(&with(submission(&unique("rr")), changes)).expect_status(201).json();
    result["status"]["decision"].clone()
}

fn values(decision: &Value) -> [&str; 3] {
    ["environment", "severity", "priority"].map(|table| text(&decision[table], "value"))
}

#[test]
fn a_result_can_be_read() {
    let request = unique("rr");
    let answer = submit(&submission(&request)).expect_status(201);
    let result = answer.json();
    let path = format!("{SIGNALS}/{}", text(&result, "name"));
    assert_eq!(answer.header("location"), Some(path.as_str()));
    assert_eq!(text(&result, "remediationRequestName"), request);
    assert_eq!(text(&result["status"], "phase"), "Completed");
    assert_eq!(values(&result["status"]["decision"]), ["production", "critical", "P0"]);
    assert_eq!(service().get(&path).expect_status(200).json(), result);
    service().get(&format!("{SIGNALS}/{}", unique("sp"))).expect_problem(404);
}

#[test]
fn namespace_and_severity_make_the_priority() {
    for (namespace, severity, expected) in [
        ("prod-eu", "error", ["production", "high", "P1"]),
        ("shop-prod", "warning", ["production", "medium", "P2"]),
        ("staging", "page", ["staging", "critical", "P1"]),
        ("shop-dev", "critical", ["development", "critical", "P2"]),
        ("shop-dev", "info", ["development", "low", "P3"]),
    ] {
        let changes = [("signal/targetResource/namespace", json!(namespace)), ("signal/severity", json!(severity))];
        assert_eq!(values(&decide(&changes)), expected, "{namespace} {severity}");
    }
}

#[test]
fn a_namespace_that_no_rule_knows_gets_the_default() {
    let decision =
        decide(&[("signal/targetResource/namespace", json!("elsewhere")), ("signal/severity", json!("odd"))]);
    assert_eq!(values(&decision), ["unknown", "unknown", "P3"]);
    for table in ["environment", "severity", "priority"] {
        assert_eq!(text(&decision[table], "rule"), "default");
    }
}

#[test]
fn a_label_of_the_namespace_beats_its_name_and_the_signal_s_label() {
    let context = json!({ "namespaceLabels": { "environment": "staging" } });
    let labels = json!({ "environment": "development" });
    let decision = decide(&[("context", context), ("signal/labels", labels.clone())]);
    assert_eq!(text(&decision["environment"], "rule"), "staging by label");
    let decision = decide(&[("signal/labels", labels)]);
    assert_eq!(text(&decision["environment"], "rule"), "development by label");
}

#[test]
fn a_lost_node_is_critical_whatever_the_sender_says() {
    let node = json!({ "kind": "Node", "name": "worker-1" });
    let changes = [
        ("signal/targetResource", node),
        ("signal/name", json!("KubeNodeNotReady")),
        ("signal/severity", json!("warning")),
    ];
    let decision = decide(&changes);
    assert_eq!((text(&decision["severity"], "value"), text(&decision["severity"], "rule")), ("critical", "node lost"));
    assert_eq!(text(&decision["priority"], "value"), "P1");
}

#[test]
fn the_owner_is_the_given_one_else_derived_from_the_pod() {
    let context = |changes: &[(&str, Value)]| {
        let result = submit(&with(submission(&unique("rr")), changes)).expect_status(201).json();
        result["status"]["context"].clone()
    };
    let derived = context(&[]);
    assert_eq!(derived["owner"], json!({ "kind": "Deployment", "name": "api" }));
    assert_eq!((text(&derived, "ownerSource"), text(&derived, "application")), ("derived", "shop"));

    let owner = json!({ "kind": "Rollout", "name": "api-rollout" });
    let given = context(&[("context", json!({ "owner": owner.clone(), "namespaceLabels": {} }))]);
    assert_eq!((&given["owner"], text(&given, "ownerSource"), &given["degraded"]), (&owner, "given", &json!(false)));

    let set = context(&[("signal/targetResource/name", json!("db-0"))]);
    assert_eq!(set["owner"], json!({ "kind": "StatefulSet", "name": "db" }));
}

#[test]
fn a_remediation_request_is_processed_once_even_when_sent_at_the_same_time() {
    const SENDERS: usize = 8;
    let request = unique("rr");
    let body = submission(&request);
    let service = service();
    let barrier = std::sync::Barrier::new(SENDERS);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let send = || {
            barrier.wait();
            service.post(SIGNALS, &body)
        };
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().expect("every sender gets an answer")).collect()
    });
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(200)), (1, SENDERS - 1));
    assert!(answers.iter().all(|answer| answer.json() == answers[0].json()), "{answers:?}");
    eventually_events(&request, 2);
}

#[test]
fn another_signal_for_a_processed_request_is_a_conflict() {
    let request = unique("rr");
    submit(&submission(&request)).expect_status(201);
    submit(&with(submission(&request), &[("signal/severity", json!("low"))])).expect_problem(409);
    // and the first decision stands
    let result = service().get(&format!("{SIGNALS}/sp-{request}")).expect_status(200).json();
    assert_eq!(values(&result["status"]["decision"]), ["production", "critical", "P0"]);
}
