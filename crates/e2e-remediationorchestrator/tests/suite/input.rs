//! Bad input, callers without a token, and what the service tells of itself.

use std::time::Duration;

use e2e_suite::eventually;
use serde_json::{Value, json};

use crate::support::{Remediation, request, service};

const REMEDIATIONS: &str = "/api/v1/remediations";

#[test]
fn bad_requests_name_the_field() {
    for (more, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "name": "Not_A_Name" }), "name"),
        (json!({ "name": "n".repeat(254) }), "name"),
        (json!({ "signal": { "name": "HighMemoryUsage" } }), "signal.fingerprint"),
        (json!({ "workflow_id": "" }), "workflow_id"),
        (json!({ "workflow_id": 7 }), "workflow_id"),
        (json!({ "timeouts": { "global_ms": 0 } }), "timeouts.global_ms"),
        (json!({ "timeouts": { "executing_ms": "1h" } }), "timeouts.executing_ms"),
        (json!({ "aproval_required": true }), "aproval_required"),
    ] {
        let problem = service().post(REMEDIATIONS, &request(more.clone())).expect_problem(400);
        assert_eq!(problem["field"], field, "{more}: {problem}");
    }
}

#[test]
fn bad_reports_decisions_and_cancellations_name_the_field_and_change_nothing() {
    let remediation = Remediation::create(json!({}));
    for (route, body, field) in [
        ("progress", json!({}), "phase"),
        ("progress", json!({ "phase": "sleeping" }), "phase"),
        ("progress", json!({ "phase": "completed" }), "phase"),
        ("progress", json!({ "phase": "processing", "outcome": "failed" }), "outcome"),
        ("progress", json!({ "outcome": "failed", "message": "no reason" }), "reason"),
        ("approval", json!({ "decision": "maybe", "by": "ann" }), "decision"),
        ("approval", json!({ "decision": "approved" }), "by"),
        ("cancel", json!({}), "by"),
    ] {
        let path = format!("{REMEDIATIONS}/{}/{route}", remediation.name);
        let problem = service().post(&path, &body).expect_problem(400);
        assert_eq!(problem["field"], field, "{route} {body}: {problem}");
    }
    assert_eq!(remediation.show()["phase"], "pending");
}

#[test]
fn what_is_not_json_is_refused() {
    let post = |kind: &str, body: &[u8]| service().post_raw(REMEDIATIONS, kind, body, &[]);
    post("application/json", b"{\"name\":").expect_problem(400);
    post("application/json", b"[]").expect_problem(400);
    post("application/json", b"\xff").expect_problem(400);
    post("text/plain", b"{}").expect_problem(415);
    let mut large = request(json!({ "target_resource": "x".repeat(1 << 20) })).to_string();
    large.push(' ');
    post("application/json", large.as_bytes()).expect_problem(413);
}

#[test]
fn nothing_is_answered_without_the_token() {
    let remediation = Remediation::create(json!({}));
    for client in [service().anonymous(), service().with_token("not-the-token")] {
        client.post(REMEDIATIONS, &json!({ "name": "" })).expect_problem(401);
        client.get(&format!("{REMEDIATIONS}/{}", remediation.name)).expect_problem(401);
        let cancel = format!("{REMEDIATIONS}/{}/cancel", remediation.name);
        client.post(&cancel, &json!({ "by": "mallory" })).expect_problem(401);
    }
    assert_eq!(remediation.show()["phase"], "pending");
}

#[test]
fn an_unknown_remediation_is_not_found() {
    let nobody = format!("{REMEDIATIONS}/{}", e2e_suite::unique("nobody"));
    service().get(&nobody).expect_problem(404);
    service().post(&format!("{nobody}/progress"), &json!({ "phase": "processing" })).expect_problem(404);
    service().post(&format!("{nobody}/approval"), &json!({ "decision": "approved", "by": "ann" })).expect_problem(404);
    service().post(&format!("{nobody}/cancel"), &json!({ "by": "ann" })).expect_problem(404);
}

#[test]
fn the_service_tells_who_it_is_and_how_it_is() {
    let client = service().anonymous();
    assert_eq!(client.get("/healthz").expect_status(200).json()["status"], "healthy");
    assert_eq!(client.get("/readyz").expect_status(200).json()["status"], "ready");
    let version = client.get("/version").expect_status(200).json();
    assert_eq!(version["service"], "remediationorchestrator");
    assert_ne!(version["instance"], Value::from(""));
    Remediation::create(json!({})).expect_events(&["lifecycle.started"]);
    eventually("the metric of sent audit events", Duration::from_secs(5), || {
        let metrics = client.get("/metrics").expect_status(200).text();
        let sent = metrics.lines().find_map(|line| line.strip_prefix("audit_events_sent_total "));
        match sent.and_then(|count| count.parse::<u64>().ok()) {
            Some(1..) => Ok(()),
            _ => Err(metrics),
        }
    });
    assert!(client.get("/metrics").text().lines().any(|line| line == "audit_events_lost_total 0"));
}
