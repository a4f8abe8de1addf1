//! Bad input, callers without a token, and what the service tells of itself.

use std::time::Duration;

use e2e_suite::{eventually, unique};
use serde_json::{Value, json};

use crate::support::{EXECUTIONS, Execution, noop, request, service, wait};

#[test]
fn bad_requests_name_the_field() {
    let steps = || json!([noop("only")]);
    let step = |action: &str, with: Value| json!([{ "name": "only", "action": action, "with": with }]);
    for (steps, more, field) in [
        (steps(), json!({ "remediation_request": "" }), "remediation_request"),
        (steps(), json!({ "remediation_request": "Not_A_Name" }), "remediation_request"),
        (steps(), json!({ "name": "a b" }), "name"),
        (steps(), json!({ "timeout_ms": 0 }), "timeout_ms"),
        (steps(), json!({ "timeout": 5 }), "timeout"),
        (steps(), json!({ "workflow": { "steps": [noop("only")] } }), "workflow.id"),
        (json!([]), json!({}), "workflow.steps"),
        (json!(vec![noop("only"); 101]), json!({}), "workflow.steps"),
        (json!([noop("twice"), noop("twice")]), json!({}), "workflow.steps[1].name"),
        (step("shell", json!({ "command": "id" })), json!({}), "workflow.steps[0].action"),
        (step("wait", json!({ "ms": "soon" })), json!({}), "workflow.steps[0].with.ms"),
        (step("noop", json!({ "ms": 1 })), json!({}), "workflow.steps[0].with.ms"),
        (step("fail", json!({ "reason": "R" })), json!({}), "workflow.steps[0].with.message"),
        (step("assert", json!({ "step": "later", "equals": 1 })), json!({}), "workflow.steps[0].with.step"),
    ] {
        let body = request(steps, more);
        let problem = service().post(EXECUTIONS, &body).expect_problem(400);
        assert_eq!(problem["field"], field, "{body}: {problem}");
    }
}

#[test]
fn what_is_refused_neither_runs_nor_is_audited() {
    let remediation = unique("rr");
    let more = json!({ "remediation_request": remediation });
    let bad = request(json!([noop("first"), { "name": "second", "action": "shell" }]), more.clone());
    service().post(EXECUTIONS, &bad).expect_problem(400);
    // a good request comes after it, so whatever the bad one had written would stand before
    Execution::start(json!([noop("only")]), more).expect_events("workflowexecution.workflow.completed");
}

#[test]
fn what_is_not_json_is_refused() {
    let post = |kind: &str, body: &[u8]| service().post_raw(EXECUTIONS, kind, body, &[]);
    post("application/json", b"{\"workflow\":").expect_problem(400);
    post("application/json", b"[]").expect_problem(400);
    post("text/plain", b"{}").expect_problem(415);
    let large =
        request(json!([{ "name": "e", "action": "echo", "with": { "value": "x".repeat(1 << 20) } }]), json!({}));
    post("application/json", large.to_string().as_bytes()).expect_problem(413);
}

#[test]
fn a_bad_cancellation_names_the_field_and_stops_nothing() {
    let execution = Execution::start(json!([wait("settle", 60_000)]), json!({}));
    let cancel = format!("{EXECUTIONS}/{}/cancel", execution.name);
    assert_eq!(service().post(&cancel, &json!({ "reason": "why" })).expect_problem(400)["field"], "by");
    assert_eq!(service().post(&cancel, &json!({ "by": "ann", "force": true })).expect_problem(400)["field"], "force");
    assert_eq!(execution.show()["phase"], "running");
    execution.cancel().expect_status(200);
}

#[test]
fn nothing_is_answered_without_the_token() {
    let execution = Execution::start(json!([wait("settle", 60_000)]), json!({}));
    for client in [service().anonymous(), service().with_token("not-the-token")] {
        client.post(EXECUTIONS, &json!({})).expect_problem(401);
        client.get(&format!("{EXECUTIONS}/{}", execution.name)).expect_problem(401);
        let cancel = format!("{EXECUTIONS}/{}/cancel", execution.name);
        client.post(&cancel, &json!({ "by": "mallory" })).expect_problem(401);
    }
    assert_eq!(execution.show()["phase"], "running");
    execution.cancel().expect_status(200);
}

#[test]
fn an_unknown_execution_is_not_found() {
    let nobody = format!("{EXECUTIONS}/{}", unique("nobody"));
    service().get(&nobody).expect_problem(404);
    service().post(&format!("{nobody}/cancel"), &json!({ "by": "ann" })).expect_problem(404);
}

#[test]
fn the_service_tells_who_it_is_and_how_it_is() {
    let client = service().anonymous();
    assert_eq!(client.get("/healthz").expect_status(200).json()["status"], "healthy");
    assert_eq!(client.get("/readyz").expect_status(200).json()["status"], "ready");
    assert_eq!(client.get("/version").expect_status(200).json()["service"], "workflowexecution");
    Execution::start(json!([noop("only")]), json!({})).expect_events("workflowexecution.workflow.completed");
    eventually("the metric of sent audit events", Duration::from_secs(5), || {
        let metrics = client.get("/metrics").expect_status(200).text();
        let sent = metrics.lines().find_map(|line| line.strip_prefix("audit_events_sent_total "));
        match sent.and_then(|count| count.parse::<u64>().ok()) {
            Some(3..) => Ok(()),
            _ => Err(metrics),
        }
    });
    assert!(client.get("/metrics").text().lines().any(|line| line == "audit_events_lost_total 0"));
}
