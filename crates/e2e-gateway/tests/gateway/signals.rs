//! What becomes of a signal, apart from duplicates and refusals.

use e2e_suite::{eventually_events, unique};
use serde_json::json;

use super::*;

#[test]
fn a_remediation_request_can_be_read() {
    let name = unique("Read");
    let answer = post(&[alert(&name)]).expect_status(201);
    let created = answer.json();
    let path = format!("{REQUESTS}/{}", text(&created, "remediationRequestName"));
    assert_eq!(answer.header("location"), Some(path.as_str()));
    let request = gateway().get(&path).expect_status(200).json();
    assert_eq!(text(&request, "kind"), "RemediationRequest");
    assert_eq!(request["metadata"]["name"], created["remediationRequestName"]);
    let spec = &request["spec"];
    assert_eq!(text(spec, "signalFingerprint"), text(&created, "fingerprint"));
    assert_eq!((text(spec, "signalName"), text(spec, "severity")), (name.as_str(), "critical"));
    assert_eq!(spec["targetResource"], json!({ "kind": "Deployment", "name": "api", "namespace": "shop" }));
    assert_eq!(spec["signalAnnotations"]["summary"], "the deployment is short of memory");
    gateway().get(&format!("{REQUESTS}/{}", unique("rr"))).expect_problem(404);
}

#[test]
fn several_alerts_are_answered_one_by_one() {
    let (one, two) = (unique("Several"), unique("Several"));
    let answer = post(&[
        alert(&one),
        alert(&one),
        with(alert(&two), &[("labels/namespace", json!("kube-system"))]),
        with(alert(&two), &[("startsAt", json!(ago(90_000)))]),
        alert(&two),
    ])
    .expect_status(207)
    .json();
    let results = answer["results"].as_array().expect("there are results");
    let fates: Vec<_> = results.iter().map(|result| (text(result, "status"), result["statusCode"].clone())).collect();
    let expected = [("created", 201), ("duplicate", 202), ("rejected", 200), ("invalid", 400), ("created", 201)];
    assert_eq!(fates, expected.map(|(word, code)| (word, json!(code))));
    assert_eq!(text(&results[3], "field"), "alerts[3].startsAt");
    assert_eq!(text(&results[1], "remediationRequestName"), text(&results[0], "remediationRequestName"));
    for (result, count) in [(&results[0], 3), (&results[4], 2)] {
        eventually_events(text(result, "remediationRequestName"), count);
    }
}

#[test]
fn a_namespace_that_is_not_managed_is_rejected() {
    let name = unique("Unmanaged");
    let foreign = with(alert(&name), &[("labels/namespace", json!("kube-system"))]);
    let answer = post(&[foreign]).expect_status(200).json();
    assert_eq!(text(&answer, "status"), "rejected");
    assert!(text(&answer, "message").contains("kube-system"), "{answer}");
    assert!(answer.get("remediationRequestName").is_none(), "{answer}");
    post(&[alert(&name)]).expect_status(201);
}

#[test]
fn everyday_events_are_rejected() {
    let pulled = with(event("Pulled"), &[("type", json!("Normal"))]);
    let answer = gateway().post(KUBERNETES, &pulled).expect_status(200).json();
    assert_eq!(text(&answer, "status"), "rejected");
}

#[test]
fn a_resolved_alert_of_an_unknown_problem_changes_nothing() {
    let answer = post(&[with(alert(&unique("Unknown")), &[("status", json!("resolved"))])]).expect_status(200).json();
    assert_eq!(text(&answer, "status"), "resolved");
    assert_eq!(requests_of(text(&answer, "fingerprint")), 0);
}
