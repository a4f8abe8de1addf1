//! What DataStorage knows of a signal.

use e2e_suite::{eventually_events, unique};
use serde_json::json;

use super::*;

#[test]
fn a_new_signal_has_exactly_two_events() {
    let name = unique("New");
    let created = post(&[alert(&name)]).expect_status(201).json();
    // The events of the repetition are behind those of the first signal: when they are there, no other can be on its way.
    post(&[alert(&name)]).expect_status(202);
    let events = eventually_events(text(&created, "remediationRequestName"), 3);
    assert_eq!(types(&events), ["gateway.signal.received", "gateway.crd.created", "gateway.signal.deduplicated"]);
}

#[test]
fn the_received_event_tells_the_signal() {
    let name = unique("Told");
    let created = post(&[alert(&name)]).expect_status(201).json();
    let request = text(&created, "remediationRequestName");
    let events = eventually_events(request, 2);
    let received = &events[0];
    for (member, expected) in [
        ("event_category", "gateway"),
        ("event_action", "received"),
        ("event_outcome", "success"),
        ("actor_type", "service"),
        ("actor_id", "gateway"),
        ("resource_type", "Signal"),
        ("resource_id", text(&created, "fingerprint")),
        ("correlation_id", request),
        ("namespace", "shop"),
        ("severity", "critical"),
    ] {
        assert_eq!(received[member], expected, "{member} of {received}");
    }
    let data = &received["event_data"];
    for (member, expected) in [
        ("event_type", "gateway.signal.received"),
        ("deduplication_status", "new"),
        ("signal_type", "alert"),
        ("signal_name", name.as_str()),
        ("resource_kind", "Deployment"),
        ("resource_name", "api"),
    ] {
        assert_eq!(data[member], expected, "{member} of {data}");
    }
}

#[test]
fn the_created_event_tells_the_remediation_request() {
    let created = post(&[alert(&unique("Made"))]).expect_status(201).json();
    let request = text(&created, "remediationRequestName");
    let events = eventually_events(request, 2);
    let made = &events[1];
    assert_eq!((text(made, "event_action"), text(made, "resource_type")), ("created", "RemediationRequest"));
    assert_eq!(text(made, "resource_id"), request);
    let reference = format!("{}/{request}", text(&created, "remediationRequestNamespace"));
    assert_eq!(made["event_data"]["remediation_request"], reference);
}

#[test]
fn a_repetition_is_told_with_its_number() {
    let name = unique("Again");
    let created = post(&[alert(&name)]).expect_status(201).json();
    for _ in 0..3 {
        post(&[alert(&name)]).expect_status(202);
    }
    let events = eventually_events(text(&created, "remediationRequestName"), 5);
    let counts: Vec<_> = events[2..].iter().map(|event| &event["event_data"]["occurrence_count"]).collect();
    assert_eq!(counts, [&json!(2), &json!(3), &json!(4)]);
    assert!(events[2..].iter().all(|event| event["event_data"]["deduplication_status"] == "duplicate"), "{events:?}");
}

#[test]
fn a_burst_of_problems_is_told_completely() {
    let alerts: Vec<_> = (0..60).map(|_| alert(&unique("Burst"))).collect();
    let answer = post(&alerts).expect_status(207).json();
    assert_eq!(answer["summary"], json!({ "created": 60 }));
    for result in answer["results"].as_array().expect("there are results") {
        let events = eventually_events(text(result, "remediationRequestName"), 2);
        assert_eq!(types(&events), ["gateway.signal.received", "gateway.crd.created"]);
    }
}

#[test]
fn a_kubernetes_event_is_told_like_an_alert() {
    let reason = unique("BackOff");
    let created = gateway().post(KUBERNETES, &event(&reason)).expect_status(201).json();
    let events = eventually_events(text(&created, "remediationRequestName"), 2);
    assert_eq!(types(&events), ["gateway.signal.received", "gateway.crd.created"]);
    let data = &events[0]["event_data"];
    assert_eq!((text(data, "signal_type"), text(data, "signal_name")), ("event", reason.as_str()));
    assert_eq!((text(data, "resource_kind"), text(data, "resource_name")), ("Pod", "api-0"));
}
