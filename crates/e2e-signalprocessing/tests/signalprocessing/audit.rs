//! What DataStorage knows of a processed signal.

use e2e_suite::{audit_events, eventually_events, unique};
use serde_json::json;

use super::*;

const BOTH: [&str; 2] = ["signalprocessing.classification.decision", "signalprocessing.signal.processed"];

#[test]
fn a_processed_signal_has_its_two_events() {
    let request = unique("rr");
    let result = submit(&submission(&request)).expect_status(201).json();
    let events = eventually_events(&request, 2);
    assert_eq!(types(&events), BOTH);
    for event in &events {
        for (member, expected) in [
            ("event_category", "signalprocessing"),
            ("event_outcome", "success"),
            ("actor_type", "service"),
            ("actor_id", "signalprocessing"),
            ("resource_type", "SignalProcessing"),
            ("resource_id", text(&result, "name")),
            ("correlation_id", request.as_str()),
            ("namespace", "shop-prod"),
            ("severity", "critical"),
        ] {
            assert_eq!(event[member], expected, "{member} of {event}");
        }
    }
}

#[test]
fn the_decision_event_names_the_values_and_their_rules() {
    let request = unique("rr");
    submit(&submission(&request)).expect_status(201);
    let events = eventually_events(&request, 2);
    let decision = &events[0];
    assert_eq!(text(decision, "event_action"), "classified");
    for (member, expected) in [
        ("environment", "production"),
        ("environment_rule", "production by namespace"),
        ("severity", "critical"),
        ("severity_rule", "sender says critical"),
        ("sender_severity", "critical"),
        ("priority", "P0"),
        ("priority_rule", "critical in production"),
        ("signal_name", "HighMemory"),
    ] {
        assert_eq!(decision["event_data"][member], expected, "{member} of {decision}");
    }
}

#[test]
fn the_processed_event_tells_what_was_added() {
    let request = unique("rr");
    submit(&submission(&request)).expect_status(201);
    let events = eventually_events(&request, 2);
    let processed = &events[1];
    assert_eq!(text(processed, "event_action"), "processed");
    assert!(processed["duration_ms"].is_u64(), "{processed}");
    let data = &processed["event_data"];
    assert_eq!((text(data, "phase"), text(data, "owner_source")), ("Completed", "derived"));
    assert_eq!(data["owner"], json!({ "kind": "Deployment", "name": "api" }));
    assert_eq!(data["degraded"], true);
}

#[test]
fn a_signal_that_is_sent_again_is_told_once() {
    let (request, later) = (unique("rr"), unique("rr"));
    let first = submit(&submission(&request)).expect_status(201).json();
    for _ in 0..3 {
        assert_eq!(submit(&submission(&request)).expect_status(200).json(), first);
    }
    // Events leave in order: when those of a later signal are there, no more of the first can be on their way.
    submit(&submission(&later)).expect_status(201);
    eventually_events(&later, 2);
    assert_eq!(types(&audit_events(&request)), BOTH);
}

#[test]
fn a_refused_signal_leaves_no_trace() {
    let (request, later) = (unique("rr"), unique("rr"));
    submit(&with(submission(&request), &[("signal/name", json!(""))])).expect_problem(400);
    submit(&submission(&later)).expect_status(201);
    eventually_events(&later, 2);
    assert_eq!(audit_events(&request), Vec::<Value>::new());
    service().get(&format!("{SIGNALS}/sp-{request}")).expect_problem(404);
}

#[test]
fn many_signals_at_once_are_told_completely() {
    const SENDERS: usize = 4;
    let service = service();
    let requests: Vec<Vec<String>> = std::thread::scope(|scope| {
        let send = || {
            let requests: Vec<String> = (0..10).map(|_| unique("rr")).collect();
            for request in &requests {
                service.post(SIGNALS, &submission(request)).expect_status(201);
            }
            requests
        };
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().expect("every sender gets its answers")).collect()
    });
    for request in requests.iter().flatten() {
        assert_eq!(types(&eventually_events(request, 2)), BOTH);
    }
}
