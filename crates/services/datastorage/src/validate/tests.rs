//! The rules, against a clock that stands still: the exact edges that tests over HTTP cannot hit.

use serde_json::json;

use super::*;
use crate::event::instant;

fn now() -> DateTime<Utc> {
    parse_instant("2026-03-01T12:00:00Z").unwrap()
}

fn valid() -> Value {
    json!({
        "version": "1.0", "event_type": "gateway.signal.received", "event_timestamp": instant(now()),
        "event_category": "gateway", "event_action": "received", "event_outcome": "success", "correlation_id": "rr-1",
        "event_data": {},
    })
}

fn check(field: &str, value: impl Into<Value>) -> Result<Event, Invalid> {
    let mut event = valid();
    event[field] = value.into();
    super::event(event, now())
}

fn detail(result: Result<Event, Invalid>) -> String {
    result.unwrap_err().detail
}

#[test]
fn timestamp_edges_are_inclusive() {
    let at = |offset: TimeDelta| check("event_timestamp", instant(now() + offset));
    let tick = TimeDelta::microseconds(1);
    assert!(at(AHEAD).is_ok() && at(-OLD).is_ok());
    assert_eq!(detail(at(AHEAD + tick)), "event_timestamp is more than 60 minutes ahead: check the clock");
    assert_eq!(detail(at(-OLD - tick)), "event_timestamp is more than 7 days old");
    // far beyond what a difference of times can hold elsewhere
    assert!(
        check("event_timestamp", "9999-12-31T23:59:59Z").is_err()
            && check("event_timestamp", "0000-01-01T00:00:00Z").is_err()
    );
}

#[test]
fn each_text_has_its_limit_in_characters() {
    for (field, max) in [
        ("version", 255),
        ("event_type", 100),
        ("event_action", 255),
        ("correlation_id", 255),
        ("actor_type", 255),
        ("actor_id", 255),
        ("resource_type", 255),
        ("resource_id", 255),
        ("namespace", 255),
        ("cluster_id", 255),
        ("severity", 255),
    ] {
        assert!(check(field, "ü".repeat(max)).is_ok(), "{field}");
        assert_eq!(
            detail(check(field, "ü".repeat(max + 1))),
            format!("{field} has {} characters, at most {max} are allowed", max + 1)
        );
    }
}

#[test]
fn optional_fields_may_be_null_or_empty() {
    assert_eq!(check("namespace", Value::Null).unwrap().namespace, None);
    assert_eq!(check("namespace", "").unwrap().namespace.as_deref(), Some(""));
    assert_eq!(check("duration_ms", 0).unwrap().duration_ms, Some(0));
    assert_eq!(check("duration_ms", i64::MAX).unwrap().duration_ms, Some(i64::MAX));
}

#[test]
fn categories_of_the_four_services_are_known_and_others_are_listed() {
    for category in ["gateway", "signalprocessing", "orchestration", "workflowexecution", "approval"] {
        assert!(check("event_category", category).is_ok(), "{category}");
    }
    let message = detail(check("event_category", "x".repeat(1000)));
    assert!(message.starts_with("event_category must be one of gateway, signalprocessing,"), "{message}");
    assert!(message.len() < 300, "input is cut: {message}");
}

#[test]
fn messages_say_what_came_instead() {
    assert_eq!(detail(check("event_action", 1)), "event_action must be a string, not a number");
    assert_eq!(detail(check("event_data", json!([]))), "event_data must be a JSON object, not an array");
    assert_eq!(detail(check("parent_event_id", "7")), r#"parent_event_id must be a UUID, not "7""#);
    assert_eq!(detail(check("parent", "7")), r#""parent" is not a field of an event: correct or remove it"#);
    assert_eq!(detail(super::event(json!([]), now())), "an event must be a JSON object, not an array");
}

#[test]
fn a_chosen_id_must_be_of_version_7() {
    let chosen = Uuid::now_v7();
    assert_eq!(check("event_id", chosen.to_string()).unwrap().event_id, chosen);
    assert!(detail(check("event_id", Uuid::nil().to_string())).contains("version 7"));
    let batch = super::batch(json!([valid(), valid()]), now()).unwrap();
    assert!(batch[0].event_id < batch[1].event_id, "made ids keep the order");
}

#[test]
fn a_batch_names_the_index() {
    let mut bad = valid();
    bad["event_outcome"] = json!(null);
    let invalid = super::batch(json!([valid(), bad]), now()).unwrap_err();
    assert_eq!(invalid, Invalid::new("event_outcome", "event at index 1: event_outcome is required"));
    let mut twin = valid();
    twin["event_id"] = json!(Uuid::now_v7().to_string());
    let invalid = super::batch(json!([twin, twin]), now()).unwrap_err();
    assert_eq!(invalid.field.as_deref(), Some("event_id"));
    assert!(invalid.detail.starts_with("event at index 1: "), "{}", invalid.detail);
}
