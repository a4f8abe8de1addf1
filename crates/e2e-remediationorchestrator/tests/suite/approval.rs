//! Approval by a person.

use serde_json::{Value, json};

use crate::support::Remediation;

fn awaiting() -> Remediation {
    let phases = ["processing", "analyzing", "awaiting_approval"];
    Remediation::in_phase(json!({ "approval_required": true }), &phases)
}

#[test]
fn an_approved_remediation_executes() {
    let remediation = awaiting();
    let shown = remediation.decide("approved", "ann").expect_status(200).json();
    assert_eq!(shown["phase"], "executing");
    assert_eq!((&shown["approval"]["decision"], &shown["approval"]["by"]), (&json!("approved"), &json!("ann")));
    remediation.report(json!({ "outcome": "succeeded" })).expect_status(200);
    let events = remediation.expect_events(&[
        "lifecycle.started",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "approval.requested",
        "approval.approved",
        "lifecycle.transitioned",
        "remediation.workflow_created",
        "lifecycle.completed",
    ]);
    assert_eq!((&events[4]["event_outcome"], &events[5]["event_outcome"]), (&json!("pending"), &json!("success")));
    assert_eq!(events[5]["event_action"], "approved");
    assert_eq!(events[5]["event_data"]["decided_by"], "ann");
    assert_eq!(events[5]["event_data"]["reason"], "it is Friday");
}

#[test]
fn a_rejected_remediation_ends_and_nothing_executes() {
    let remediation = awaiting();
    let shown = remediation.decide("rejected", "ann").expect_status(200).json();
    assert_eq!((&shown["phase"], &shown["ended"]), (&json!("rejected"), &json!(true)));
    remediation.report(json!({ "phase": "executing" })).expect_problem(409);
    let events = remediation.expect_events(&[
        "lifecycle.started",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "lifecycle.transitioned",
        "approval.requested",
        "approval.rejected",
        "lifecycle.failed",
    ]);
    assert_eq!((&events[5]["event_action"], &events[5]["event_outcome"]), (&json!("rejected"), &json!("failure")));
    assert_eq!(events[6]["event_data"]["failure_reason"], "Rejected");
    assert_eq!(events[6]["event_data"]["failure_message"], "rejected by ann: it is Friday");
}

#[test]
fn nothing_executes_without_the_approval_that_it_needs() {
    let remediation = Remediation::in_phase(json!({ "approval_required": true }), &["processing", "analyzing"]);
    let refused = |phase: &str| {
        let problem = remediation.report(json!({ "phase": "executing" })).expect_problem(409);
        let expected =
            format!("remediation `{}` in phase `{phase}` needs approval before it executes", remediation.name);
        assert_eq!(problem["detail"], Value::from(expected));
    };
    refused("analyzing");
    remediation.report(json!({ "phase": "awaiting_approval" })).expect_status(200);
    refused("awaiting_approval");
    assert_eq!(remediation.show()["phase"], "awaiting_approval");
}

#[test]
fn whoever_analyzes_may_ask_for_approval_too() {
    let phases = ["processing", "analyzing", "awaiting_approval"];
    let remediation = Remediation::in_phase(json!({ "approval_required": false }), &phases);
    remediation.report(json!({ "phase": "executing" })).expect_problem(409);
    assert_eq!(remediation.decide("approved", "bob").expect_status(200).json()["phase"], "executing");
}

#[test]
fn a_decision_stands() {
    let remediation = awaiting();
    remediation.decide("approved", "ann").expect_status(200);
    remediation.decide("approved", "ann").expect_status(200);
    remediation.decide("approved", "bob").expect_problem(409);
    remediation.decide("rejected", "ann").expect_problem(409);
    assert_eq!(remediation.show()["phase"], "executing");
    remediation.cancel().expect_status(200);
    let events = e2e_suite::eventually_events(&remediation.name, 9);
    let decisions: Vec<&Value> = events
        .iter()
        .filter(|event| event["event_type"].as_str().unwrap().starts_with("orchestrator.approval."))
        .map(|event| &event["event_action"])
        .collect();
    assert_eq!(decisions, ["approval_requested", "approved"]);
}

#[test]
fn of_decisions_at_once_one_counts() {
    let remediation = awaiting();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let decide = |decision: &'static str, by: &'static str| {
            let remediation = &remediation;
            scope.spawn(move || remediation.decide(decision, by).status)
        };
        let threads = [decide("approved", "ann"), decide("rejected", "bob"), decide("approved", "cid")];
        threads.map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 2, "{statuses:?}");
    let expected = if statuses[1] == 200 { "rejected" } else { "executing" };
    assert_eq!(remediation.show()["phase"], expected);
}
