use std::sync::Barrier;

use serde_json::json;

use super::*;

fn runner() -> Arc<Runner> {
    Arc::new(Runner::new(AuditClient::recording("workflowexecution", 100_000), Clock::system()))
}

/// Starts an execution of that name with these steps.
fn start(runner: &Arc<Runner>, name: &str, steps: Value, more: Value) -> Result<(Value, bool), Problem> {
    let mut body = json!({ "name": name, "remediation_request": "rr-1", "workflow": { "id": "w", "steps": steps } });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let spec: Spec = serde_json::from_value(body).unwrap();
    let actions = spec.check().unwrap();
    runner.create(spec, actions)
}

fn wait(millis: u64) -> Value {
    json!({ "name": "wait", "action": "wait", "with": { "ms": millis } })
}

/// Moves the clock, then lets the tasks run.
async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn ends(runner: &Runner) -> Vec<Value> {
    let events = runner.audit.buffered().into_iter();
    events.filter(|event| event.event_type.contains(".workflow.")).map(|event| json!(event)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_too_long_ends_the_workflow_on_the_millisecond() {
    let runner = runner();
    let steps = json!([
        { "name": "slow", "action": "wait", "with": { "ms": 201 }, "timeout_ms": 200 },
        { "name": "never", "action": "noop" },
    ]);
    // both limits come at the same time: the step is to blame
    start(&runner, "wfe", steps, json!({ "timeout_ms": 200 })).unwrap();
    advance(0).await;
    advance(199).await;
    assert_eq!(runner.get("wfe").unwrap()["phase"], "running");
    advance(1).await;
    let shown = runner.get("wfe").unwrap();
    assert_eq!((&shown["phase"], &shown["steps"][0]["status"]), (&json!("timed_out"), &json!("timed_out")));
    assert_eq!(shown["steps"][1]["status"], "skipped");
    let [end] = &ends(&runner)[..] else { panic!("{:?}", ends(&runner)) };
    assert_eq!(end["event_data"]["failure_reason"], "DeadlineExceeded");
    assert_eq!(end["event_data"]["failure_message"], "step `slow` took longer than 200 ms");
}

#[tokio::test(start_paused = true)]
async fn the_whole_has_a_limit_that_steps_share() {
    let runner = runner();
    let mut second = wait(200);
    second["name"] = json!("second");
    start(&runner, "wfe", json!([wait(200), second]), json!({ "timeout_ms": 300 })).unwrap();
    advance(0).await;
    advance(200).await;
    assert_eq!(runner.get("wfe").unwrap()["steps"][0]["status"], "succeeded");
    advance(100).await;
    let shown = runner.get("wfe").unwrap();
    assert_eq!(shown["steps"][1]["status"], "timed_out");
    assert_eq!(
        shown["failure"],
        json!({ "reason": "DeadlineExceeded", "message": "the workflow took longer than 300 ms", "step": "second" })
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_that_ends_in_time_is_not_timed_out() {
    let runner = runner();
    let mut step = wait(199);
    step["timeout_ms"] = json!(200);
    start(&runner, "wfe", json!([step]), json!({})).unwrap();
    advance(0).await;
    advance(199).await;
    assert_eq!(runner.get("wfe").unwrap()["phase"], "completed");
    advance(10_000).await;
    assert_eq!(ends(&runner).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_execution_runs_no_further() {
    let runner = runner();
    let steps = json!([wait(100), { "name": "fail", "action": "fail", "with": { "reason": "R", "message": "m" } }]);
    start(&runner, "wfe", steps, json!({})).unwrap();
    advance(0).await;
    let shown = runner.cancel("wfe", "cancelled by ann".to_owned()).unwrap();
    assert_eq!((&shown["phase"], &shown["steps"][1]["status"]), (&json!("cancelled"), &json!("skipped")));
    assert_eq!(runner.cancel("wfe", "cancelled by bob".to_owned()).unwrap(), shown);
    advance(0).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0, "the task outlives its execution");
    advance(10_000).await;
    assert_eq!(runner.get("wfe").unwrap(), shown);
    let [end] = &ends(&runner)[..] else { panic!("{:?}", ends(&runner)) };
    assert_eq!(end["event_data"]["failure_message"], "cancelled by ann");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_step_a_timeout_and_a_cancellation_at_once_give_one_end() {
    let runner = runner();
    let rounds = 100;
    for round in 0..rounds {
        let name = format!("wfe-{round}");
        // a wait of 0 to 2 ms against a limit of 1 ms, and a cancellation at about the same time
        start(&runner, &name, json!([wait(round % 3)]), json!({ "timeout_ms": 1 })).unwrap();
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            let cancel = || {
                barrier.wait();
                runner
                    .cancel(&name, "cancelled by ann".to_owned())
                    .map(drop)
                    .map_err(|problem| problem.status().as_u16())
            };
            let threads = [scope.spawn(cancel), scope.spawn(cancel)];
            let answers = threads.map(|thread| thread.join().unwrap());
            assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(409))), "{answers:?}");
            assert_eq!(answers[0], answers[1], "both cancel, or both come too late");
        });
        assert_eq!(runner.get(&name).unwrap()["ended"], true);
    }
    let resources: Vec<Value> = ends(&runner).into_iter().map(|event| event["resource_id"].clone()).collect();
    assert_eq!(resources, (0..rounds).map(|round| json!(format!("wfe-{round}"))).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn one_execution_works_on_a_target_at_a_time() {
    let runner = runner();
    let target = json!({ "target_resource": "payments/Deployment/api" });
    start(&runner, "first", json!([wait(100)]), target.clone()).unwrap();
    start(&runner, "elsewhere", json!([wait(100)]), json!({})).unwrap();
    start(&runner, "elsewhere-too", json!([wait(100)]), json!({})).unwrap();
    let problem = start(&runner, "second", json!([wait(100)]), target.clone()).unwrap_err();
    assert_eq!(problem.detail(), "execution `first` works on `payments/Deployment/api`: wait for its end");
    advance(0).await;
    advance(100).await;
    start(&runner, "second", json!([wait(100)]), target).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_same_request_twice_is_one_and_another_of_the_name_is_refused() {
    let runner = runner();
    let target = json!({ "target_resource": "payments/Deployment/api" });
    assert!(start(&runner, "wfe", json!([wait(5)]), target.clone()).unwrap().1);
    assert!(!start(&runner, "wfe", json!([wait(5)]), target.clone()).unwrap().1);
    assert_eq!(start(&runner, "wfe", json!([wait(6)]), target).unwrap_err().status(), 409);
    assert_eq!(runner.audit.buffered().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_and_what_runs_is_kept_until_the_service_stops() {
    let runner = runner();
    for number in 0..CAPACITY {
        start(&runner, &format!("wfe-{number}"), json!([wait(1000)]), json!({})).unwrap();
    }
    assert_eq!(start(&runner, "one-more", json!([wait(1000)]), json!({})).unwrap_err().status(), 503);
    for name in ["wfe-7", "wfe-3"] {
        runner.cancel(name, String::new()).unwrap();
    }
    start(&runner, "one-more", json!([wait(1000)]), json!({})).unwrap();
    assert_eq!(runner.get("wfe-7").unwrap_err().status(), 404);
    assert_eq!(runner.get("wfe-3").unwrap()["phase"], "cancelled");
    runner.cancel_all();
    assert_eq!(ends(&runner).len(), CAPACITY + 1);
}

#[tokio::test(start_paused = true)]
async fn outputs_can_be_asserted() {
    let runner = runner();
    let steps = |equals: Value| {
        json!([
            { "name": "replicas", "action": "echo", "with": { "value": { "ready": 3 } } },
            { "name": "check", "action": "assert", "with": { "step": "replicas", "equals": equals } },
        ])
    };
    start(&runner, "good", steps(json!({ "ready": 3 })), json!({})).unwrap();
    start(&runner, "bad", steps(json!({ "ready": 2 })), json!({})).unwrap();
    advance(0).await;
    assert_eq!(runner.get("good").unwrap()["phase"], "completed");
    assert_eq!(runner.get("good").unwrap()["steps"][0]["output"], json!({ "ready": 3 }));
    let failure = json!({
        "reason": "AssertionFailed", "step": "check",
        "message": "the output of step `replicas` is {\"ready\":3}, not {\"ready\":2}",
    });
    assert_eq!(runner.get("bad").unwrap()["failure"], failure);
}
