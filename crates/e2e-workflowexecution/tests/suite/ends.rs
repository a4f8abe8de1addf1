//! Ends without success: failure, timeouts, cancellation.

use serde_json::{Value, json};

use crate::support::{Execution, noop, statuses, wait};

#[test]
fn a_failing_step_ends_the_workflow_and_skips_the_rest() {
    let fail = json!({
        "name": "restart", "action": "fail",
        "with": { "reason": "ImagePullBackOff", "message": "there is no image api:2" },
    });
    let execution = Execution::start(json!([noop("drain"), fail, noop("check")]), json!({}));
    let shown = execution.expect_end("failed");
    assert_eq!(statuses(&shown), ["succeeded", "failed", "skipped"]);
    let failure = json!({ "reason": "ImagePullBackOff", "message": "there is no image api:2", "step": "restart" });
    assert_eq!(shown["failure"], failure);
    assert_eq!(shown["steps"][2]["started_at"], Value::Null);
    execution.expect_failed_event("ImagePullBackOff", "there is no image api:2");
    // what has ended cannot be cancelled, and trying leaves no second end
    execution.cancel().expect_problem(409);
    execution.expect_failed_event("ImagePullBackOff", "there is no image api:2");
}

#[test]
fn an_assertion_that_does_not_hold_fails_with_both_values() {
    let steps = json!([
        { "name": "replicas", "action": "echo", "with": { "value": 2 } },
        { "name": "all-ready", "action": "assert", "with": { "step": "replicas", "equals": 3 } },
    ]);
    let execution = Execution::start(steps, json!({}));
    execution.expect_end("failed");
    execution.expect_failed_event("AssertionFailed", "the output of step `replicas` is 2, not 3");
}

#[test]
fn a_step_that_takes_too_long_ends_the_workflow() {
    let mut slow = wait("settle", 60_000);
    slow["timeout_ms"] = json!(100);
    let execution = Execution::start(json!([noop("drain"), slow, noop("check")]), json!({}));
    let shown = execution.expect_end("timed_out");
    assert_eq!(statuses(&shown), ["succeeded", "timed_out", "skipped"]);
    assert!(shown["duration_ms"].as_u64().unwrap() >= 99, "{shown}");
    execution.expect_failed_event("DeadlineExceeded", "step `settle` took longer than 100 ms");
}

#[test]
fn all_steps_together_have_a_limit() {
    let steps = json!([wait("one", 20), wait("two", 60_000), noop("three")]);
    let execution = Execution::start(steps, json!({ "timeout_ms": 250 }));
    let shown = execution.expect_end("timed_out");
    assert_eq!(statuses(&shown), ["succeeded", "timed_out", "skipped"]);
    execution.expect_failed_event("DeadlineExceeded", "the workflow took longer than 250 ms");
}

#[test]
fn a_cancelled_workflow_stops_where_it_is() {
    let execution = Execution::start(json!([noop("drain"), wait("settle", 60_000), noop("check")]), json!({}));
    execution.expect_step(1, "running");
    let shown = execution.cancel().expect_status(200).json();
    assert_eq!((&shown["phase"], statuses(&shown)), (&json!("cancelled"), vec!["succeeded", "cancelled", "skipped"]));
    assert_eq!(execution.cancel().expect_status(200).json(), shown, "the second cancellation changes nothing");
    execution.expect_failed_event("Cancelled", "cancelled by ann: solved by hand");
    assert_eq!(execution.show(), shown);
}

#[test]
fn a_workflow_that_has_completed_cannot_be_cancelled() {
    let execution = Execution::start(json!([noop("only")]), json!({}));
    execution.expect_end("completed");
    execution.cancel().expect_problem(409);
    execution.expect_events("workflowexecution.workflow.completed");
}

#[test]
fn cancellations_and_a_timeout_at_once_give_one_end() {
    let execution = Execution::start(json!([wait("settle", 60_000)]), json!({ "timeout_ms": 20 }));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| execution.cancel().status)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let shown = execution.show();
    if statuses.contains(&200) {
        assert_eq!((statuses, &shown["phase"]), (vec![200; 6], &json!("cancelled")));
        execution.expect_failed_event("Cancelled", "cancelled by ann: solved by hand");
    } else {
        assert_eq!((statuses, &shown["phase"]), (vec![409; 6], &json!("timed_out")));
        execution.expect_failed_event("DeadlineExceeded", "the workflow took longer than 20 ms");
    }
}
