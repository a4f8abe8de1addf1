use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::Phase;
use crate::request::{Decision, Timeouts};

fn orchestrator() -> Arc<Orchestrator> {
    Arc::new(Orchestrator::new(AuditClient::recording("remediationorchestrator", 100_000), Clock::system()))
}

fn spec(name: &str) -> Spec {
    Spec { name: name.to_owned(), namespace: "default".to_owned(), ..Spec::default() }
}

fn pending_for(name: &str, millis: u64) -> Spec {
    Spec { timeouts: Timeouts { pending_ms: millis.try_into().unwrap(), ..Timeouts::default() }, ..spec(name) }
}

/// The phase as it was left, without the look at the deadline that `get` takes.
fn phase(orchestrator: &Orchestrator, name: &str) -> Phase {
    orchestrator.lock().remediations[name].phase()
}

fn report(orchestrator: &Orchestrator, name: &str, to: Phase) -> Result<Value, Problem> {
    orchestrator.change(name, |remediation, now| remediation.report(to, Why::default(), now))
}

/// Moves the clock, then lets the watch over deadlines run.
async fn advance(millis: u64) {
    tokio::time::advance(Duration::from_millis(millis)).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_met_to_the_millisecond_in_any_order() {
    let orchestrator = orchestrator();
    let watch = tokio::spawn(Arc::clone(&orchestrator).watch_deadlines());
    // each later request has an earlier deadline, so that the sleeping watch must be woken
    for (name, millis) in [("slow", 5000), ("middle", 300), ("fast", 200)] {
        orchestrator.create(pending_for(name, millis)).unwrap();
        advance(0).await;
    }
    advance(199).await;
    assert_eq!(phase(&orchestrator, "fast"), Phase::Pending);
    advance(1).await;
    assert_eq!(phase(&orchestrator, "fast"), Phase::TimedOut);
    assert_eq!(phase(&orchestrator, "middle"), Phase::Pending);
    // a move to the next phase takes the old deadline away
    report(&orchestrator, "middle", Phase::Processing).unwrap();
    advance(200).await;
    assert_eq!(phase(&orchestrator, "middle"), Phase::Processing);
    advance(4600).await;
    assert_eq!(phase(&orchestrator, "slow"), Phase::TimedOut);
    let kinds: Vec<String> = orchestrator.audit.buffered().into_iter().map(|event| event.event_type).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "orchestrator.lifecycle.failed").count(), 2, "{kinds:?}");
    watch.abort();
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_beats_a_report_even_before_the_watch_looks() {
    let orchestrator = orchestrator();
    orchestrator.create(pending_for("late", 300)).unwrap();
    advance(300).await;
    let problem = report(&orchestrator, "late", Phase::Processing).unwrap_err();
    assert_eq!(problem.status(), 409);
    assert_eq!(problem.detail(), "remediation `late` in phase `timed_out` cannot go to `processing`: it has ended");
    let lock = orchestrator.lock();
    assert!(lock.deadlines.is_empty() && lock.ended == ["late"]);
}

#[tokio::test]
async fn the_same_request_twice_is_one_and_another_of_the_name_is_refused() {
    let orchestrator = orchestrator();
    assert!(orchestrator.create(spec("twice")).unwrap().1);
    report(&orchestrator, "twice", Phase::Processing).unwrap();
    let (shown, new) = orchestrator.create(spec("twice")).unwrap();
    assert_eq!((&shown["phase"], new), (&Value::from("processing"), false));
    assert_eq!(orchestrator.audit.buffered().len(), 2);
    let other = Spec { workflow_id: "other".to_owned(), ..spec("twice") };
    assert_eq!(orchestrator.create(other).unwrap_err().status(), 409);
}

#[tokio::test]
async fn approval_and_cancellation_at_once_leave_one_history() {
    for round in 0..50 {
        let orchestrator = orchestrator();
        orchestrator.create(spec("race")).unwrap();
        for phase in [Phase::Processing, Phase::Analyzing, Phase::AwaitingApproval] {
            report(&orchestrator, "race", phase).unwrap();
        }
        let barrier = Barrier::new(3);
        let runtime = tokio::runtime::Handle::current();
        let statuses = std::thread::scope(|scope| {
            let run = |change: fn(&mut Remediation, Now) -> Change| {
                let (barrier, orchestrator, runtime) = (&barrier, &orchestrator, runtime.clone());
                scope.spawn(move || {
                    let _runtime = runtime.enter();
                    barrier.wait();
                    orchestrator.change("race", change).map(drop).map_err(|problem| problem.status().as_u16())
                })
            };
            let threads = [
                run(|remediation, now| remediation.decide(Decision::Approved, "ann", "", now)),
                run(|remediation, now| remediation.decide(Decision::Rejected, "bob", "", now)),
                run(|remediation, now| remediation.cancel(Why::default(), now)),
            ];
            threads.map(|thread| thread.join().unwrap())
        });
        let events = orchestrator.audit.buffered();
        let count = |kind: &str| events.iter().filter(|event| event.event_type == kind).count();
        let decisions = count("orchestrator.approval.approved") + count("orchestrator.approval.rejected");
        let decided = statuses[..2].iter().filter(|status| status.is_ok()).count();
        assert_eq!(decisions, decided, "round {round}: {statuses:?}");
        assert_eq!(count("orchestrator.lifecycle.failed"), 1, "round {round}: {statuses:?}");
        let end = if statuses[1].is_ok() { Phase::Rejected } else { Phase::Cancelled };
        assert_eq!(phase(&orchestrator, "race"), end, "round {round}: {statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, Ok(()) | Err(409))), "round {round}: {statuses:?}");
    }
}

#[tokio::test]
async fn memory_is_bounded_and_the_open_are_kept() {
    let orchestrator = orchestrator();
    for number in 0..CAPACITY {
        orchestrator.create(spec(&format!("rr-{number}"))).unwrap();
    }
    assert_eq!(orchestrator.create(spec("one-more")).unwrap_err().status(), 503);
    for name in ["rr-7", "rr-3"] {
        orchestrator.change(name, |remediation, now| remediation.cancel(Why::default(), now)).unwrap();
    }
    orchestrator.create(spec("one-more")).unwrap();
    assert_eq!(orchestrator.get("rr-7").unwrap_err().status(), 404);
    assert_eq!(orchestrator.get("rr-3").unwrap()["phase"], "cancelled");
}

#[tokio::test]
async fn what_is_open_when_the_service_stops_gets_an_end() {
    let orchestrator = orchestrator();
    for name in ["open", "ended"] {
        orchestrator.create(spec(name)).unwrap();
    }
    report(&orchestrator, "ended", Phase::Failed).unwrap();
    orchestrator.cancel_all();
    let events = orchestrator.audit.buffered();
    let last = events.last().unwrap();
    assert_eq!((events.len(), last.correlation_id.as_str()), (4, "open"));
    assert_eq!(last.event_data["failure_reason"], "ServiceStopped");
}
