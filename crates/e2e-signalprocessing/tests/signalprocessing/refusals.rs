//! Bad input, and who may not send any.

use e2e_suite::unique;
use serde_json::json;

use super::*;

#[test]
fn a_signal_that_breaks_a_rule_is_refused_with_the_field() {
    let request = unique("rr");
    for (change, field) in [
        (("remediationRequestName", json!("")), "remediationRequestName"),
        (("remediationRequestName", json!("Not A Name")), "remediationRequestName"),
        (("remediationRequestName", json!("a".repeat(251))), "remediationRequestName"),
        (("signal/name", json!("")), "signal.name"),
        (("signal/name", json!("x".repeat(254))), "signal.name"),
        (("signal/severity", json!(1)), "signal.severity"),
        (("signal/targetResource/kind", json!("")), "signal.targetResource.kind"),
        (("signal/targetResource/name", json!("a\u{0}b")), "signal.targetResource.name"),
        (("signal/labels", json!({ "a": 1 })), "signal.labels.a"),
        (("signal/labels", json!({ "a": "x".repeat(20_000) })), "signal.labels"),
        (("context", json!({ "owner": { "kind": "", "name": "a" } })), "context.owner.kind"),
        (("contxt", json!({})), "contxt"),
    ] {
        let problem = submit(&with(submission(&request), &[change])).expect_problem(400);
        assert_eq!(problem["field"], field, "{problem}");
    }
    submit(&submission(&request)).expect_status(201);
}

#[test]
fn a_body_that_is_no_submission_is_refused() {
    for body in ["", "{", "[]", "null", "{} {}"] {
        service().post_raw(SIGNALS, "application/json", body.as_bytes(), &[]).expect_problem(400);
    }
    let problem = submit(&json!({ "remediationRequestName": unique("rr") })).expect_problem(400);
    assert!(text(&problem, "detail").contains("missing field `signal`"), "{problem}");
}

#[test]
fn too_much_at_once_is_refused() {
    service().post_raw(SIGNALS, "application/json", &vec![b' '; (1 << 20) + 1], &[]).expect_problem(413);
}

#[test]
fn a_body_of_another_type_is_refused() {
    let body = submission(&unique("rr")).to_string();
    for content_type in ["text/plain", ""] {
        service().post_raw(SIGNALS, content_type, body.as_bytes(), &[]).expect_problem(415);
    }
}

#[test]
fn nobody_without_the_token_learns_anything() {
    let request = unique("rr");
    for client in [service().anonymous(), service().with_token("wrong")] {
        let answer = client.post(SIGNALS, &submission(&request));
        let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
        answer.expect_problem(401);
        assert!(challenge.starts_with("Bearer"), "{challenge}");
        client.get(&format!("{SIGNALS}/sp-{request}")).expect_problem(401);
        client.get("/api/v1/nothing").expect_problem(401);
    }
    service().get(&format!("{SIGNALS}/sp-{request}")).expect_problem(404);
}

#[test]
fn what_does_not_exist_is_said_so() {
    service().get("/api/v1/nothing").expect_problem(404);
    let answer = service().get(SIGNALS);
    assert_eq!(answer.header("allow"), Some("POST"));
    answer.expect_problem(405);
}
