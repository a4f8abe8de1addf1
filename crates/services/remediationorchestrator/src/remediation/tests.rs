use chrono::TimeZone as _;

use super::*;
use crate::phase::tests::ALL;
use crate::request::Timeouts;

const MINUTE: Duration = Duration::from_secs(60);

fn start() -> Now {
    Now { wall: Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap(), instant: Instant::now() }
}

fn later(now: Now, by: Duration) -> Now {
    Now { wall: now.wall + by, instant: now.instant + by }
}

fn spec() -> Spec {
    Spec {
        name: "rr-1".to_owned(),
        namespace: "payments".to_owned(),
        workflow_id: "restart".to_owned(),
        ..Spec::default()
    }
}

/// A remediation that got to `phase` in no time.
fn at(phase: Phase, now: Now) -> Remediation {
    let mut remediation = Remediation::new(spec(), now).0;
    let before = match phase {
        Phase::Pending => return remediation,
        Phase::Processing | Phase::Failed | Phase::TimedOut | Phase::Cancelled => Phase::Pending,
        Phase::Analyzing => Phase::Processing,
        Phase::AwaitingApproval | Phase::Executing => Phase::Analyzing,
        Phase::Completed => Phase::Executing,
        Phase::Rejected => Phase::AwaitingApproval,
    };
    if before != Phase::Pending {
        remediation = at(before, now);
    }
    remediation.step(phase, Why::default(), now).unwrap();
    remediation
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

type Apply = fn(&mut Remediation, Now) -> Change;

/// What becomes of each phase by each change: `.` is refused, `=` changes nothing, a letter is the phase that follows.
#[test]
fn every_change_in_every_phase() {
    let changes: [(&str, Apply); 10] = [
        ("processing", |remediation, now| remediation.report(Phase::Processing, Why::default(), now)),
        ("analyzing", |remediation, now| remediation.report(Phase::Analyzing, Why::default(), now)),
        ("awaiting", |remediation, now| remediation.report(Phase::AwaitingApproval, Why::default(), now)),
        ("executing", |remediation, now| remediation.report(Phase::Executing, Why::default(), now)),
        ("completed", |remediation, now| remediation.report(Phase::Completed, Why::default(), now)),
        ("failed", |remediation, now| remediation.report(Phase::Failed, Why::default(), now)),
        ("approve", |remediation, now| remediation.decide(Decision::Approved, "ann", "", now)),
        ("reject", |remediation, now| remediation.decide(Decision::Rejected, "ann", "", now)),
        ("cancel", |remediation, now| remediation.cancel(Why::default(), now)),
        ("expire", |remediation, now| Ok(remediation.expire(later(now, 60 * MINUTE)))),
    ];
    let expected = [
        "P....F..CT", // pending
        "=A...F..CT", // processing
        ".=WE.F..CT", // analyzing
        "..=...ERCT", // awaiting_approval
        "...=DF..CT", // executing
        "....=.....", // completed
        ".....=....", // failed
        "..........", // timed_out
        "........=.", // cancelled
        "..........", // rejected
    ];
    let now = start();
    for (from, row) in ALL.into_iter().zip(expected) {
        for ((change, apply), mark) in changes.iter().zip(row.chars()) {
            let mut remediation = at(from, now);
            let before = remediation.to_json();
            let changed = apply(&mut remediation, now);
            let context = format!("{change} in {}: {changed:?}", from.name());
            let to = match mark {
                'P' => Phase::Processing,
                'A' => Phase::Analyzing,
                'W' => Phase::AwaitingApproval,
                'E' => Phase::Executing,
                'D' => Phase::Completed,
                'F' => Phase::Failed,
                'T' => Phase::TimedOut,
                'C' => Phase::Cancelled,
                'R' => Phase::Rejected,
                _ => {
                    // a deadline that has come is not a request, so nobody is refused
                    let refused = mark == '.' && *change != "expire";
                    assert_eq!(changed.is_err(), refused, "{context}");
                    assert!(changed.unwrap_or_default().is_empty(), "{change} in {}", from.name());
                    assert_eq!(remediation.to_json(), before, "{change} in {}", from.name());
                    continue;
                }
            };
            assert_eq!(remediation.phase(), to, "{context}");
            let events = changed.unwrap();
            let ends = ["orchestrator.lifecycle.completed", "orchestrator.lifecycle.failed"];
            let count = events.iter().filter(|event| ends.contains(&event.event_type.as_str())).count();
            assert_eq!(count, usize::from(to.is_end()), "ends in {:?} of {change}", kinds(&events));
            let last = remediation.history.last().unwrap();
            assert_eq!((last.from, last.to), (Some(from), to), "{change}");
        }
    }
}

#[test]
fn what_needs_approval_executes_after_it_only() {
    let now = start();
    let mut remediation = Remediation::new(Spec { approval_required: true, ..spec() }, now).0;
    remediation.report(Phase::Processing, Why::default(), now).unwrap();
    remediation.report(Phase::Analyzing, Why::default(), now).unwrap();
    let refused = remediation.report(Phase::Executing, Why::default(), now).unwrap_err();
    assert_eq!(refused.0, "remediation `rr-1` in phase `analyzing` needs approval before it executes");
    let events = remediation.report(Phase::AwaitingApproval, Why::default(), now).unwrap();
    assert_eq!(kinds(&events), ["orchestrator.lifecycle.transitioned", "orchestrator.approval.requested"]);
    let events = remediation.decide(Decision::Approved, "ann", "looks safe", now).unwrap();
    let expected =
        ["orchestrator.approval.approved", "orchestrator.lifecycle.transitioned", "remediation.workflow_created"];
    assert_eq!(kinds(&events), expected);
    assert_eq!(events[0].event_data["decided_by"], "ann");
    assert_eq!(remediation.history.last().unwrap().why, Why::new("Approved", "approved by ann: looks safe"));
}

#[test]
fn a_decision_stands() {
    let now = start();
    let mut remediation = at(Phase::AwaitingApproval, now);
    remediation.decide(Decision::Approved, "ann", "", now).unwrap();
    assert_eq!(remediation.decide(Decision::Approved, "ann", "again", now).unwrap(), []);
    remediation.decide(Decision::Rejected, "ann", "", now).unwrap_err();
    remediation.decide(Decision::Approved, "bob", "", now).unwrap_err();
    assert_eq!(remediation.approval.as_ref().unwrap().by, "ann");
}

#[test]
fn an_end_says_from_where_why_and_after_how_long() {
    let now = start();
    let mut remediation = at(Phase::Executing, now);
    let why = Why::new("PodNotFound", "there is no pod api-0");
    let [event] = <[Event; 1]>::try_from(
        remediation.report(Phase::Failed, why, later(now, Duration::from_millis(1500))).unwrap(),
    )
    .unwrap();
    let what = (event.event_type.as_str(), event.event_category, event.event_action.as_str(), event.event_outcome);
    assert_eq!(what, ("orchestrator.lifecycle.failed", "orchestration", "failed", Outcome::Failure));
    assert_eq!((event.correlation_id.as_str(), event.duration_ms), ("rr-1", Some(1500)));
    assert_eq!(
        (event.resource_type.as_deref(), event.resource_id.as_deref()),
        (Some("RemediationRequest"), Some("rr-1"))
    );
    assert_eq!(event.event_data["failure_phase"], "executing");
    assert_eq!(event.event_data["failure_reason"], "PodNotFound");
    assert_eq!(event.event_data["failure_message"], "there is no pod api-0");
}

#[test]
fn each_phase_has_its_own_time_and_the_whole_has_one() {
    let now = start();
    let millis = |millis: u64| millis.try_into().unwrap();
    let timeouts = Timeouts {
        global_ms: millis(1000),
        processing_ms: millis(300),
        analyzing_ms: millis(900),
        ..Timeouts::default()
    };
    let mut remediation = Remediation::new(Spec { timeouts, ..spec() }, now).0;
    let after = |ms| later(now, Duration::from_millis(ms));
    assert_eq!(remediation.deadline(), Some(after(1000).instant), "the pending phase has five minutes");
    remediation.report(Phase::Processing, Why::default(), after(500)).unwrap();
    assert_eq!(remediation.deadline(), Some(after(800).instant));
    assert_eq!(remediation.expire(after(799)), []);
    let mut other = remediation.clone();
    let events = remediation.expire(after(800));
    assert_eq!(events[0].event_data["failure_reason"], "PhaseTimeout");
    assert_eq!(events[0].event_data["failure_message"], "phase `processing` took longer than 300 ms");
    assert_eq!(remediation.deadline(), None);
    other.report(Phase::Analyzing, Why::default(), after(799)).unwrap();
    let events = other.expire(after(1000));
    assert_eq!(events[0].event_data["failure_reason"], "GlobalTimeout");
    assert_eq!((other.phase(), events.len()), (Phase::TimedOut, 1));
}

#[test]
fn approval_that_nobody_gives_expires() {
    let now = start();
    let mut remediation = at(Phase::AwaitingApproval, now);
    let events = remediation.expire(later(now, 15 * MINUTE));
    assert_eq!(kinds(&events), ["orchestrator.approval.rejected", "orchestrator.lifecycle.failed"]);
    assert_eq!(events[0].event_action, "expired");
    assert_eq!(remediation.phase(), Phase::TimedOut);
}
