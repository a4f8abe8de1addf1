//! Bad events are refused with 400 and the name of the field, and leave nothing behind.

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{BATCH, EVENTS, ago, event, total, with};
use crate::{Client, unique};

/// Each required field, when it is missing, null or empty.
pub fn missing_field_is_named(client: &Client) {
    let id = unique("required");
    for field in [
        "version",
        "event_type",
        "event_timestamp",
        "event_category",
        "event_action",
        "event_outcome",
        "correlation_id",
        "event_data",
    ] {
        let mut missing = event(&id);
        missing.as_object_mut().unwrap().remove(field);
        for event in [missing, with(event(&id), field, Value::Null), with(event(&id), field, "")] {
            refused(client, &event, field);
        }
    }
    assert_eq!(total(client, &id), 0);
}

/// Fields with a value of the wrong kind or outside the list of values, and fields that do not exist.
pub fn field_of_wrong_kind_or_value_is_named(client: &Client) {
    let id = unique("kinds");
    for (field, value) in [
        ("version", json!(1)),
        ("event_type", json!(["a"])),
        ("event_type", json!("nul\u{0}")),
        ("event_timestamp", json!(1700000000)),
        ("event_timestamp", json!("2020-01-01 at noon")),
        ("event_category", json!("cooking")),
        ("event_outcome", json!("maybe")),
        ("event_data", json!("text")),
        ("event_data", json!([])),
        ("event_data", json!({"a": ["\u{0}"]})),
        ("severity", json!(3)),
        ("duration_ms", json!(-1)),
        ("duration_ms", json!(1.5)),
        ("duration_ms", json!(u64::MAX)),
        ("parent_event_id", json!("not-a-uuid")),
        ("event_id", json!("not-a-uuid")),
        ("correlation_ID", json!("x")),
    ] {
        refused(client, &with(event(&id), field, value), field);
    }
    assert_eq!(total(client, &id), 0);
}

/// Lengths are those of the contract, in characters and not in bytes.
pub fn lengths_are_counted_in_characters(client: &Client) {
    let id = unique("lengths");
    refused(client, &with(event(&id), "event_type", "é".repeat(101)), "event_type");
    client.post(EVENTS, &with(event(&id), "event_type", "é".repeat(100))).expect_status(201);
    let long = format!("{id}{}", "é".repeat(255 - id.len()));
    refused(client, &event(&format!("{long}é")), "correlation_id");
    client.post(EVENTS, &event(&long)).expect_status(201);
    assert_eq!((total(client, &id), total(client, &long)), (1, 1));
}

/// A timestamp may be up to 60 minutes ahead and up to 7 days old.
pub fn timestamp_window_holds_both_ways(client: &Client) {
    let id = unique("window");
    let (ahead, old) = (TimeDelta::minutes(60), TimeDelta::days(7));
    let margin = TimeDelta::minutes(2);
    for bad in [ago(-(ahead + margin)), ago(old + margin)] {
        refused(client, &with(event(&id), "event_timestamp", bad), "event_timestamp");
    }
    for good in [ago(-(ahead - margin)), ago(old - margin)] {
        client.post(EVENTS, &with(event(&id), "event_timestamp", good)).expect_status(201);
    }
    assert_eq!(total(client, &id), 2);
}

/// A parent that is not stored is refused; one that is stored is accepted.
pub fn parent_must_exist(client: &Client) {
    let id = unique("parent");
    let nobody = uuid::Uuid::now_v7().to_string();
    let problem = refused(client, &with(event(&id), "parent_event_id", nobody.as_str()), "parent_event_id");
    assert!(problem["detail"].as_str().unwrap().contains(&nobody), "{problem}");
    let parent = client.post(EVENTS, &event(&id)).expect_status(201).json()["event_id"].clone();
    client.post(EVENTS, &with(event(&id), "parent_event_id", parent)).expect_status(201);
    assert_eq!(total(client, &id), 2);
}

/// A body that is not JSON is 400, a content type that is not JSON 415.
pub fn body_must_be_json(client: &Client) {
    let body = event(&unique("json")).to_string();
    for path in [EVENTS, BATCH] {
        for broken in [&body.as_bytes()[..body.len() - 1], b"", b"\xff", b"null", b"1 2"] {
            client.post_raw(path, "application/json", broken, &[]).expect_problem(400);
        }
        for content_type in ["text/plain", ""] {
            client.post_raw(path, content_type, body.as_bytes(), &[]).expect_problem(415);
        }
    }
    client.post_raw(EVENTS, "application/json; charset=utf-8", body.as_bytes(), &[]).expect_status(201);
}

#[track_caller]
fn refused(client: &Client, event: &Value, field: &str) -> Value {
    let problem = client.post(EVENTS, event).expect_problem(400);
    assert_eq!(problem["field"], field, "{problem} for {event}");
    problem
}
