//! What operators see: health, version, metrics, and routes that do not exist.

use serde_json::json;

use super::{BATCH, EVENTS, event};
use crate::{Client, unique};

/// Alive, ready, and which build answers: all of it without a token.
pub fn health_readiness_and_version_need_no_token(client: &Client) {
    let client = client.anonymous();
    assert_eq!(client.get("/healthz").expect_status(200).json()["status"], "healthy");
    assert_eq!(client.get("/readyz").expect_status(200).json()["status"], "ready");
    let version = client.get("/version").expect_status(200).json();
    assert_eq!(version["service"], "datastorage", "{version}");
    for member in ["version", "source_fingerprint", "revision", "instance"] {
        assert!(version[member].is_string(), "`{member}` of {version}");
    }
}

/// The counter of stored events rises by what is stored, in Prometheus' text format.
pub fn metrics_count_stored_events(client: &Client) {
    const STORED: &str = "datastorage_events_stored_total";
    let stored = || {
        let answer = client.anonymous().get("/metrics").expect_status(200);
        let text = answer.text();
        assert!(text.contains("# TYPE datastorage_events_stored"), "{text}");
        let line =
            text.lines().find(|line| line.starts_with(STORED)).unwrap_or_else(|| panic!("no {STORED} in {text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let id = unique("metrics");
    let before = stored();
    client.post(EVENTS, &event(&id)).expect_status(201);
    client.post(BATCH, &json!([event(&id), event(&id)])).expect_status(201);
    // others may store at the same time
    assert!(stored() >= before + 3.0);
}

/// An unknown route is 404, a known one with the wrong method 405, both as problems.
pub fn unknown_route_and_method_are_problems(client: &Client) {
    client.get("/api/v1/audit/nothing").expect_problem(404);
    client.get("/nothing").expect_problem(404);
    let refused = client.delete(EVENTS);
    let allowed = refused.header("allow").unwrap_or_default().to_owned();
    refused.expect_problem(405);
    assert!(allowed.contains("GET") && allowed.contains("POST"), "allow: {allowed}");
}
