//! One problem, one remediation request.

use e2e_suite::{eventually_events, unique};
use serde_json::json;

use super::*;

#[test]
fn a_repeated_signal_is_a_duplicate_of_the_same_request() {
    let name = unique("Repeated");
    let first = post(&[alert(&name)]).expect_status(201).json();
    assert_eq!((text(&first, "status"), &first["duplicate"]), ("created", &json!(false)));
    // what changes from one notification to the next does not make another problem
    let worse =
        with(alert(&name), &[("labels/severity", json!("page")), ("labels/pod", json!("api-7d9f8b6c5d-x2k4z"))]);
    let second = post(&[worse]).expect_status(202).json();
    assert_eq!((text(&second, "status"), &second["duplicate"]), ("duplicate", &json!(true)));
    for member in ["fingerprint", "remediationRequestName", "remediationRequestNamespace"] {
        assert_eq!(text(&second, member), text(&first, member));
    }
    assert_eq!(requests_of(text(&first, "fingerprint")), 1);
}

#[test]
fn another_object_is_another_problem() {
    let name = unique("Objects");
    let first = post(&[alert(&name)]).expect_status(201).json();
    for change in [("labels/deployment", "web"), ("labels/namespace", "shop-2"), ("labels/cluster", "eu-1")] {
        let other = post(&[with(alert(&name), &[(change.0, json!(change.1))])]).expect_status(201).json();
        assert_ne!(text(&other, "fingerprint"), text(&first, "fingerprint"), "{change:?}");
        assert_ne!(text(&other, "remediationRequestName"), text(&first, "remediationRequestName"), "{change:?}");
    }
}

#[test]
fn identical_signals_at_the_same_time_make_one_request() {
    const SENDERS: usize = 12;
    let body = webhook(&[alert(&unique("Race"))]);
    let gateway = gateway();
    let barrier = std::sync::Barrier::new(SENDERS);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let send = || {
            barrier.wait();
            gateway.post(PROMETHEUS, &body)
        };
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().expect("every sender gets an answer")).collect()
    });
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(202)), (1, SENDERS - 1));
    let name = answers[0].json()["remediationRequestName"].clone();
    assert!(answers.iter().all(|answer| answer.json()["remediationRequestName"] == name), "{answers:?}");

    let events = eventually_events(name.as_str().expect("a name"), SENDERS + 1);
    let types = types(&events);
    assert_eq!(types[..2], ["gateway.signal.received", "gateway.crd.created"]);
    assert!(types[2..].iter().all(|kind| *kind == "gateway.signal.deduplicated"), "{types:?}");
    assert_eq!(types.len(), SENDERS + 1);
}

#[test]
fn a_problem_that_was_resolved_and_comes_back_is_a_new_one() {
    let name = unique("Back");
    let first = post(&[alert(&name)]).expect_status(201).json();
    let resolved = with(alert(&name), &[("status", json!("resolved")), ("endsAt", json!(ago(0)))]);
    let over = post(&[resolved]).expect_status(200).json();
    assert_eq!((text(&over, "status"), text(&over, "fingerprint")), ("resolved", text(&first, "fingerprint")));

    let path = format!("{REQUESTS}/{}", text(&first, "remediationRequestName"));
    assert_eq!(gateway().get(&path).expect_status(200).json()["status"]["signal"], "resolved");
    let second = post(&[alert(&name)]).expect_status(201).json();
    assert_ne!(text(&second, "remediationRequestName"), text(&first, "remediationRequestName"));
    assert_eq!(requests_of(text(&first, "fingerprint")), 2);

    let events = eventually_events(text(&first, "remediationRequestName"), 3);
    assert_eq!(types(&events)[2..], ["gateway.signal.resolved"]);
}

#[test]
fn a_kubernetes_event_that_repeats_is_a_duplicate() {
    let event = event(&unique("FailedMount"));
    let first = gateway().post(KUBERNETES, &event).expect_status(201).json();
    let second = gateway().post(KUBERNETES, &event).expect_status(202).json();
    assert_eq!(text(&second, "remediationRequestName"), text(&first, "remediationRequestName"));
    let events = eventually_events(text(&first, "remediationRequestName"), 3);
    assert_eq!(types(&events)[2..], ["gateway.signal.deduplicated"]);
}
