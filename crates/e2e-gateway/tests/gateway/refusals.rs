//! Bad input, and who may not send any.

use e2e_suite::unique;
use serde_json::json;

use super::*;

#[test]
fn an_alert_that_breaks_a_rule_is_refused_with_the_field() {
    let good = alert(&unique("Bad"));
    for (changes, field) in [
        (("labels", json!({})), "alerts[0].labels.alertname"),
        (("labels/alertname", json!("")), "alerts[0].labels.alertname"),
        (("labels/alertname", json!(7)), "alerts[0].labels.alertname"),
        (("labels/namespace", json!("No_Namespace")), "alerts[0].labels.namespace"),
        (("labels/deployment", json!("x".repeat(254))), "alerts[0].labels.deployment"),
        (("labels/note", json!("x".repeat(20_000))), "alerts[0].labels"),
        (("status", json!("burning")), "alerts[0].status"),
        (("startsAt", json!("yesterday")), "alerts[0].startsAt"),
        (("startsAt", json!(ago(13 * 3600))), "alerts[0].startsAt"),
        (("startsAt", json!(ago(-3600))), "alerts[0].startsAt"),
    ] {
        let problem = post(&[with(good.clone(), &[changes])]).expect_problem(400);
        assert_eq!(problem["field"], field, "{problem}");
    }
    // none of them counted as an occurrence
    post(&[good]).expect_status(201);
}

#[test]
fn a_body_that_is_no_webhook_is_refused() {
    let good = webhook(&[alert(&unique("Body"))]);
    assert_eq!(post(&[]).expect_problem(400)["field"], "alerts");
    for (member, value) in [("version", json!("3")), ("version", json!(4)), ("alerts", json!("none"))] {
        let problem = gateway().post(PROMETHEUS, &with(good.clone(), &[(member, value)])).expect_problem(400);
        assert_eq!(problem["field"], member, "{problem}");
    }
    for body in ["", "{", "[]", "null", "\u{feff}{}"] {
        gateway().post_raw(PROMETHEUS, "application/json", body.as_bytes(), &[]).expect_problem(400);
    }
}

#[test]
fn a_kubernetes_event_that_breaks_a_rule_is_refused_with_the_field() {
    let good = event(&unique("Bad"));
    for (change, field) in [
        (("type", json!("Alarm")), "type"),
        (("reason", json!("")), "reason"),
        (("involvedObject/name", json!("")), "involvedObject.name"),
        (("involvedObject/kind", json!(null)), "involvedObject.kind"),
        (("involvedObject/namespace", json!("-")), "involvedObject.namespace"),
        (("lastTimestamp", json!("now")), "lastTimestamp"),
        (("lastTimestamp", json!(ago(13 * 3600))), "lastTimestamp"),
    ] {
        let problem = gateway().post(KUBERNETES, &with(good.clone(), &[change])).expect_problem(400);
        assert_eq!(problem["field"], field, "{problem}");
    }
}

#[test]
fn a_stale_time_of_sending_is_refused_and_a_fresh_one_accepted() {
    let old = with(alert(&unique("Sent")), &[("startsAt", json!(ago(3 * 86_400)))]);
    let body = webhook(&[old]).to_string();
    let now = Utc::now().timestamp();
    let send = |timestamp: &str| {
        gateway().post_raw(PROMETHEUS, "application/json", body.as_bytes(), &[("X-Timestamp", timestamp)])
    };
    for timestamp in [(now - 400).to_string(), (now + 400).to_string(), "soon".to_owned()] {
        assert_eq!(send(&timestamp).expect_problem(400)["field"], "X-Timestamp", "{timestamp}");
    }
    send(&now.to_string()).expect_status(201);
}

#[test]
fn too_much_at_once_is_refused() {
    let body = vec![b' '; (1 << 20) + 1];
    gateway().post_raw(PROMETHEUS, "application/json", &body, &[]).expect_problem(413);
    let alerts: Vec<_> = (0..501).map(|_| alert("Many")).collect();
    assert_eq!(post(&alerts).expect_problem(400)["field"], "alerts");
}

#[test]
fn a_body_of_another_type_is_refused() {
    let body = webhook(&[alert(&unique("Type"))]).to_string();
    for content_type in ["text/plain", ""] {
        gateway().post_raw(PROMETHEUS, content_type, body.as_bytes(), &[]).expect_problem(415);
    }
    gateway().post_raw(PROMETHEUS, "application/json; charset=utf-8", body.as_bytes(), &[]).expect_status(201);
}

#[test]
fn nobody_without_the_token_learns_anything() {
    let body = webhook(&[alert(&unique("Stranger"))]);
    for client in [gateway().anonymous(), gateway().with_token("wrong")] {
        for path in [PROMETHEUS, KUBERNETES, "/api/v1/nothing"] {
            let answer = client.post(path, &body);
            assert!(
                answer.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")),
                "{answer:?}"
            );
            answer.expect_problem(401);
        }
        client.get(REQUESTS).expect_problem(401);
    }
    // the refused signals left no trace
    gateway().post(PROMETHEUS, &body).expect_status(201);
}

#[test]
fn what_does_not_exist_is_said_so() {
    gateway().get("/api/v1/nothing").expect_problem(404);
    let answer = gateway().get(PROMETHEUS);
    assert_eq!(answer.header("allow"), Some("POST"));
    answer.expect_problem(405);
    for query in ["limit=0", "limit=501", "limit=x", "offset=-1"] {
        gateway().get(&format!("{REQUESTS}?{query}")).expect_problem(400);
    }
}
