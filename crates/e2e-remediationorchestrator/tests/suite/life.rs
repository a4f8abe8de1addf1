//! A life without approval and without timeouts.

use chrono::DateTime;
use serde_json::json;

use crate::support::{Remediation, request, service};

const TO_EXECUTING: [&str; 3] = ["processing", "analyzing", "executing"];

#[test]
fn a_remediation_completes_and_the_audit_log_has_every_move() {
    let remediation = Remediation::in_phase(json!({}), &TO_EXECUTING);
    let shown = remediation.report(json!({ "outcome": "succeeded" })).expect_status(200).json();
    assert_eq!((&shown["phase"], &shown["ended"]), (&json!("completed"), &json!(true)), "{shown}");
    let events = remediation.expect_events(&[
        "lifecycle.started",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "remediation.workflow_created",
        "lifecycle.completed",
    ]);
    assert_eq!((&events[0]["event_action"], &events[0]["event_outcome"]), (&json!("started"), &json!("pending")));
    assert_eq!(events[0]["namespace"], "payments");
    assert_eq!(events[0]["event_data"]["signal"]["fingerprint"], remediation.name);
    let moves = [&events[1], &events[2], &events[3], &events[5]].map(|event| {
        (event["event_data"]["from_phase"].as_str().unwrap(), event["event_data"]["to_phase"].as_str().unwrap())
    });
    assert_eq!(
        moves,
        [
            ("pending", "processing"),
            ("processing", "analyzing"),
            ("analyzing", "executing"),
            ("executing", "completed")
        ]
    );
    assert_eq!(events[4]["event_data"]["workflow_id"], "restart-deployment");
    assert_eq!(events[4]["event_data"]["target_resource"], "payments/Deployment/api");
    assert_eq!((&events[5]["event_action"], &events[5]["event_outcome"]), (&json!("completed"), &json!("success")));
    assert!(events[5]["duration_ms"].is_u64(), "{}", events[5]);
}

#[test]
fn every_move_is_kept_with_its_time_and_reason() {
    let remediation = Remediation::create(json!({}));
    let report = json!({ "phase": "processing", "reason": "WorkerFree", "message": "worker 3 took it" });
    remediation.report(report).expect_status(200);
    remediation.report(json!({ "phase": "analyzing" })).expect_status(200);
    let shown = remediation.show();
    assert_eq!(shown["correlation_id"], remediation.name);
    let history = shown["history"].as_array().unwrap();
    let moves: Vec<_> = history.iter().map(|entry| (&entry["from"], &entry["to"], &entry["reason"])).collect();
    assert_eq!(
        json!(moves),
        json!([
            [null, "pending", "Created"],
            ["pending", "processing", "WorkerFree"],
            ["processing", "analyzing", "Reported"]
        ])
    );
    assert_eq!(history[1]["message"], "worker 3 took it");
    let times: Vec<_> =
        history.iter().map(|entry| DateTime::parse_from_rfc3339(entry["at"].as_str().unwrap()).unwrap()).collect();
    assert!(times.is_sorted(), "{history:?}");
}

#[test]
fn a_failure_is_audited_once_with_phase_reason_and_message() {
    let remediation = Remediation::in_phase(json!({}), &["processing"]);
    let report = json!({ "outcome": "failed", "reason": "EnrichmentFailed", "message": "the namespace is gone" });
    let shown = remediation.report(report.clone()).expect_status(200).json();
    assert_eq!(shown["phase"], "failed");
    // the report again is no second failure
    remediation.report(report).expect_status(200);
    remediation.report(json!({ "phase": "analyzing" })).expect_problem(409);
    let events = remediation.expect_events(&["lifecycle.started", "lifecycle.transitioned", "lifecycle.failed"]);
    assert_eq!((&events[2]["event_action"], &events[2]["event_outcome"]), (&json!("failed"), &json!("failure")));
    let data = &events[2]["event_data"];
    assert_eq!(data["failure_phase"], "processing");
    assert_eq!(data["failure_reason"], "EnrichmentFailed");
    assert_eq!(data["failure_message"], "the namespace is gone");
}

#[test]
fn a_move_off_the_edges_is_refused_and_leaves_no_trace() {
    let remediation = Remediation::create(json!({}));
    for report in [
        json!({ "phase": "analyzing" }),
        json!({ "phase": "awaiting_approval" }),
        json!({ "phase": "executing" }),
        json!({ "outcome": "succeeded" }),
    ] {
        let problem = remediation.report(report.clone()).expect_problem(409);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("in phase `pending` cannot go to"), "{report}: {detail}");
    }
    remediation.decide("approved", "ann").expect_problem(409);
    let shown = remediation.show();
    assert_eq!((&shown["phase"], shown["history"].as_array().unwrap().len()), (&json!("pending"), 1));
    // the cancellation comes last, so whatever a refusal had written would stand before it
    remediation.cancel().expect_status(200);
    remediation.expect_events(&["lifecycle.started", "lifecycle.failed"]);
}

#[test]
fn a_report_or_request_that_comes_twice_counts_once() {
    let request = request(json!({}));
    let client = service();
    client.post("/api/v1/remediations", &request).expect_status(201);
    let progress = format!("/api/v1/remediations/{}/progress", request["name"].as_str().unwrap());
    for _ in 0..2 {
        client.post(&progress, &json!({ "phase": "processing" })).expect_status(200);
    }
    let again = client.post("/api/v1/remediations", &request).expect_status(200).json();
    assert_eq!(again["phase"], "processing");
    let mut other = request.clone();
    other["workflow_id"] = json!("another");
    let problem = client.post("/api/v1/remediations", &other).expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("choose a new name"), "{problem}");
    client.post(&progress, &json!({ "outcome": "failed", "reason": "Enough" })).expect_status(200);
    let remediation = again["name"].as_str().unwrap();
    let events = e2e_suite::eventually_events(remediation, 3);
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn a_cancellation_ends_it_from_any_phase() {
    let cancelled = [0, 1, 2, 3].map(|phases| {
        let remediation = Remediation::in_phase(json!({}), &TO_EXECUTING[..phases]);
        let before = remediation.show()["phase"].clone();
        let shown = remediation.cancel().expect_status(200).json();
        assert_eq!(shown["phase"], "cancelled");
        assert_eq!(remediation.cancel().expect_status(200).json(), shown, "the second cancellation changes nothing");
        remediation.report(json!({ "outcome": "succeeded" })).expect_problem(409);
        (remediation, before)
    });
    let all = [
        "lifecycle.started",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "remediation.workflow_created",
    ];
    for ((remediation, before), moves) in cancelled.iter().zip([1, 2, 3, 5]) {
        let events = remediation.expect_events(&[&all[..moves], &["lifecycle.failed"]].concat());
        let data = &events.last().unwrap()["event_data"];
        assert_eq!((&data["failure_reason"], &data["failure_phase"]), (&json!("Cancelled"), before));
        assert_eq!(data["failure_message"], "cancelled by ann: solved by hand");
    }
}

#[test]
fn reports_at_once_move_it_once() {
    let remediation = Remediation::create(json!({}));
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let report = || remediation.report(json!({ "phase": "processing" })).status;
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(report)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(answers, [200; 8]);
    remediation.cancel().expect_status(200);
    remediation.expect_events(&["lifecycle.started", "lifecycle.transitioned", "lifecycle.failed"]);
}
