//! Deadlines. Those that are to come are short; the others keep their defaults of minutes.

use std::time::Duration;

use chrono::DateTime;
use e2e_suite::eventually;
use serde_json::{Value, json};

use crate::support::Remediation;

const SHORT_MS: i64 = 120;

/// Waits for the timeout without asking the service for the remediation in question, which must not depend on being looked at.
fn expect_timeout(remediation: &Remediation, types: &[&str]) -> Value {
    let events = remediation.expect_events(types);
    let shown = remediation.show();
    assert_eq!((&shown["phase"], &shown["ended"]), (&json!("timed_out"), &json!(true)), "{shown}");
    remediation.report(json!({ "phase": "processing" })).expect_problem(409);
    let end = events.last().unwrap().clone();
    assert_eq!((&end["event_action"], &end["event_outcome"]), (&json!("failed"), &json!("failure")));
    end
}

#[test]
fn a_phase_that_takes_too_long_times_out() {
    let remediation = Remediation::in_phase(json!({ "timeouts": { "processing_ms": SHORT_MS } }), &["processing"]);
    let end = expect_timeout(&remediation, &["lifecycle.started", "lifecycle.transitioned", "lifecycle.failed"]);
    assert_eq!(end["event_data"]["failure_reason"], "PhaseTimeout");
    assert_eq!(end["event_data"]["failure_phase"], "processing");
    assert_eq!(end["event_data"]["failure_message"], format!("phase `processing` took longer than {SHORT_MS} ms"));
    let history = remediation.show()["history"].clone();
    let at = |index: usize| DateTime::parse_from_rfc3339(history[index]["at"].as_str().unwrap()).unwrap();
    let took = at(2) - at(1);
    // not early; how late depends on the machine
    assert!(took.num_milliseconds() >= SHORT_MS - 1, "{took}");
}

#[test]
fn the_whole_has_a_limit_whatever_the_phase() {
    let remediation = Remediation::in_phase(json!({ "timeouts": { "global_ms": 300 } }), &["processing", "analyzing"]);
    let types = ["lifecycle.started", "lifecycle.transitioned", "lifecycle.transitioned", "lifecycle.failed"];
    let end = expect_timeout(&remediation, &types);
    assert_eq!(end["event_data"]["failure_reason"], "GlobalTimeout");
    assert_eq!(end["event_data"]["failure_phase"], "analyzing");
}

#[test]
fn approval_that_nobody_gives_expires() {
    let body = json!({ "approval_required": true, "timeouts": { "awaiting_approval_ms": SHORT_MS } });
    let remediation = Remediation::in_phase(body, &["processing", "analyzing", "awaiting_approval"]);
    let types = [
        "lifecycle.started",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "approval.requested",
        "approval.rejected",
        "lifecycle.failed",
    ];
    let end = expect_timeout(&remediation, &types);
    assert_eq!(end["event_data"]["failure_phase"], "awaiting_approval");
    remediation.decide("approved", "ann").expect_problem(409);
    let expired = &remediation.expect_events(&types)[5];
    assert_eq!((&expired["event_action"], &expired["event_outcome"]), (&json!("expired"), &json!("failure")));
}

#[test]
fn a_request_that_nobody_takes_up_times_out() {
    let remediation = Remediation::create(json!({ "timeouts": { "pending_ms": SHORT_MS } }));
    let end = expect_timeout(&remediation, &["lifecycle.started", "lifecycle.failed"]);
    assert_eq!(end["event_data"]["failure_phase"], "pending");
}

#[test]
fn a_phase_that_ended_in_time_has_no_deadline_any_more() {
    let short = json!({ "timeouts": { "pending_ms": 300 } });
    let remediation = Remediation::in_phase(short.clone(), &["processing"]);
    // a second one, begun after the first, shows when the first's deadline for the pending phase has passed
    let other = Remediation::create(short);
    eventually("the other times out", Duration::from_secs(5), || {
        let phase = other.show()["phase"].clone();
        if phase == "timed_out" { Ok(()) } else { Err(format!("phase {phase}")) }
    });
    assert_eq!(remediation.show()["phase"], "processing");
}
