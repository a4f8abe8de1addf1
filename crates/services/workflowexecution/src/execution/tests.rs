use chrono::{TimeDelta, TimeZone as _};

use super::*;
use crate::request::Step;

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap()
}

fn execution() -> (Execution, [Event; 2]) {
    let step = |name: &str| Step { name: name.to_owned(), action: "noop".to_owned(), ..Step::default() };
    let workflow =
        Workflow { id: "restart".to_owned(), version: "2".to_owned(), steps: ["a", "b", "c"].map(step).into() };
    let spec = Spec {
        name: "wfe-1".to_owned(),
        remediation_request: "rr-1".to_owned(),
        target_resource: "payments/Deployment/api".to_owned(),
        workflow,
        ..Spec::default()
    };
    Execution::new(spec, start())
}

fn statuses(execution: &Execution) -> [Status; 3] {
    [0, 1, 2].map(|step| execution.steps[step].status)
}

fn stops() -> [(Stop, Phase, Status, &'static str); 3] {
    let failure = Failure { reason: "PodNotFound".to_owned(), message: "there is no pod api-0".to_owned() };
    [
        (Stop::Failed(failure), Phase::Failed, Status::Failed, "PodNotFound"),
        (Stop::TimedOut("too long".to_owned()), Phase::TimedOut, Status::TimedOut, "DeadlineExceeded"),
        (Stop::Cancelled("by ann".to_owned()), Phase::Cancelled, Status::Cancelled, "Cancelled"),
    ]
}

#[test]
fn a_workflow_completes_with_its_last_step() {
    let (mut execution, events) = execution();
    let kinds = events.each_ref().map(|event| event.event_type.as_str());
    assert_eq!(kinds, ["workflowexecution.selection.completed", "workflowexecution.execution.started"]);
    for step in 0..3 {
        assert!(execution.begin(step, start()));
        assert_eq!(execution.steps[step].status, Status::Running);
        let end = execution.succeed(json!(step), start() + TimeDelta::milliseconds(70));
        assert_eq!(end.is_some(), step == 2, "step {step}");
        assert_eq!(execution.steps[step].output, Some(json!(step)));
        if let Some(event) = end {
            assert_eq!(event.event_type, "workflowexecution.workflow.completed");
            assert_eq!((event.event_outcome, event.duration_ms), (Outcome::Success, Some(70)));
            assert_eq!(event.event_data["phase"], "completed");
        }
    }
    assert_eq!((execution.phase(), statuses(&execution)), (Phase::Completed, [Status::Succeeded; 3]));
}

#[test]
fn every_stop_at_every_step_ends_that_step_and_skips_the_rest() {
    for step in 0..3 {
        for (stop, phase, status, reason) in stops() {
            let mut execution = execution().0;
            for before in 0..step {
                execution.begin(before, start());
                assert_eq!(execution.succeed(Value::Null, start()), None);
            }
            execution.begin(step, start());
            let event = execution.stop(stop.clone(), start()).unwrap();
            let expected = [0, 1, 2].map(|index| match index {
                index if index < step => Status::Succeeded,
                index if index == step => status,
                _ => Status::Skipped,
            });
            assert_eq!((execution.phase(), statuses(&execution)), (phase, expected), "{stop:?} in step {step}");
            let what = (event.event_type.as_str(), event.event_action.as_str(), event.event_outcome);
            assert_eq!(what, ("workflowexecution.workflow.failed", "failed", Outcome::Failure));
            assert_eq!((event.event_category, event.correlation_id.as_str()), ("workflowexecution", "rr-1"));
            assert_eq!(event.event_data["failure_reason"], reason);
            assert_ne!(event.event_data["failure_message"], "");
            assert_eq!(event.event_data["failed_step"], ["a", "b", "c"][step]);
            assert_eq!(event.event_data["phase"], json!(phase));
        }
    }
}

#[test]
fn a_stop_between_two_steps_blames_none() {
    let mut execution = execution().0;
    execution.begin(0, start());
    execution.succeed(Value::Null, start());
    let event = execution.stop(Stop::Cancelled("by ann".to_owned()), start()).unwrap();
    assert_eq!(statuses(&execution), [Status::Succeeded, Status::Skipped, Status::Skipped]);
    assert_eq!(event.event_data["failed_step"], Value::Null);
}

#[test]
fn after_each_end_nothing_changes() {
    let completed = || {
        let mut execution = execution().0;
        (0..3).for_each(|step| {
            execution.begin(step, start());
            drop(execution.succeed(Value::Null, start()));
        });
        execution
    };
    let stopped = stops().into_iter().map(|(stop, ..)| {
        let mut execution = execution().0;
        execution.begin(0, start());
        execution.stop(stop, start());
        execution
    });
    for mut ended in stopped.chain([completed()]) {
        let before = ended.to_json();
        let later = start() + TimeDelta::seconds(1);
        assert!(!ended.begin(1, later), "{before}");
        assert_eq!(ended.succeed(Value::Null, later), None, "{before}");
        for (stop, ..) in stops() {
            assert_eq!(ended.stop(stop, later), None, "{before}");
        }
        assert_eq!(ended.to_json(), before);
    }
}
