//! Executions that succeed, and which of them there may be.

use e2e_suite::{eventually_events, unique};
use serde_json::{Value, json};

use crate::support::{EXECUTIONS, Execution, noop, request, service, statuses, wait};

#[test]
fn a_workflow_completes_and_the_audit_log_has_selection_start_and_end() {
    let execution = Execution::start(json!([noop("drain"), wait("settle", 20), noop("check")]), json!({}));
    let shown = execution.expect_end("completed");
    assert_eq!(statuses(&shown), ["succeeded"; 3]);
    assert_eq!(shown["failure"], Value::Null);
    let end = execution.expect_events("workflowexecution.workflow.completed");
    assert_eq!((&end["event_action"], &end["event_outcome"]), (&json!("completed"), &json!("success")));
    assert!(end["duration_ms"].as_u64().unwrap() >= 20, "{end}");
    assert_eq!(end["event_data"]["failure_reason"], Value::Null);
}

#[test]
fn steps_run_one_after_the_other() {
    let execution = Execution::start(json!([wait("first", 60), noop("second")]), json!({}));
    let shown = execution.expect_end("completed");
    let time = |step: usize, field: &str| {
        chrono::DateTime::parse_from_rfc3339(shown["steps"][step][field].as_str().unwrap()).unwrap()
    };
    assert!(time(1, "started_at") >= time(0, "ended_at"), "{shown}");
    let took = time(0, "ended_at") - time(0, "started_at");
    assert!(took.num_milliseconds() >= 59, "{took}");
}

#[test]
fn outputs_are_kept_and_can_be_asserted() {
    let replicas = json!({ "ready": 3, "wanted": 3 });
    let steps = json!([
        { "name": "replicas", "action": "echo", "with": { "value": replicas } },
        { "name": "all-ready", "action": "assert", "with": { "step": "replicas", "equals": replicas } },
    ]);
    let shown = Execution::start(steps, json!({})).expect_end("completed");
    assert_eq!(shown["steps"][0]["output"], replicas);
}

#[test]
fn a_request_that_comes_twice_runs_once() {
    let name = unique("wfe");
    let request = request(json!([noop("only")]), json!({ "name": name }));
    service().post(EXECUTIONS, &request).expect_status(201);
    let again = service().post(EXECUTIONS, &request).expect_status(200).json();
    assert_eq!(again["name"], name);
    let mut other = request.clone();
    other["workflow"]["steps"] = json!([noop("another")]);
    let problem = service().post(EXECUTIONS, &other).expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("choose a new name"), "{problem}");
    let events = eventually_events(request["remediation_request"].as_str().unwrap(), 3);
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn one_execution_works_on_a_target_at_a_time() {
    let target = json!({ "target_resource": unique("payments/Deployment/api") });
    let first = Execution::start(json!([wait("hold", 60_000)]), target.clone());
    let problem = service().post(EXECUTIONS, &request(json!([noop("try")]), target.clone())).expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().contains(&first.name), "{problem}");
    first.cancel().expect_status(200);
    // the end of the first frees the target at once
    Execution::start(json!([noop("try")]), target).expect_end("completed");
}

#[test]
fn executions_at_once_keep_to_themselves() {
    let executions: Vec<(usize, Execution)> = std::thread::scope(|scope| {
        let start = |number: usize| {
            let steps =
                json!([wait("a-moment", 10), { "name": "number", "action": "echo", "with": { "value": number } }]);
            (number, Execution::start(steps, json!({})))
        };
        let threads: Vec<_> = (0..12).map(|number| scope.spawn(move || start(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (number, execution) in executions {
        assert_eq!(execution.expect_end("completed")["steps"][1]["output"], number);
        execution.expect_events("workflowexecution.workflow.completed");
    }
}
