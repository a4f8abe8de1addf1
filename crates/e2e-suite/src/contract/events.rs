//! Single events: what is written is what is read.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::{Value, json};

use super::{EVENTS, column, event, page, total, with};
use crate::{Client, unique};

/// Every field reads back as it was posted; the store adds the event's id and its date.
pub fn event_reads_back_as_posted(client: &Client) {
    let id = unique("read-back");
    let parent = client.post(EVENTS, &event(&id)).expect_status(201).json()["event_id"].clone();
    let mut posted = event(&id);
    for (field, value) in [
        ("actor_type", json!("service")),
        ("actor_id", json!("gateway-7c9")),
        ("resource_type", json!("Signal")),
        ("resource_id", json!("5f2b")),
        ("namespace", json!("payments")),
        ("cluster_id", json!("prod-1")),
        ("severity", json!("critical")),
        ("duration_ms", json!(42)),
        ("parent_event_id", parent),
        (
            "event_data",
            json!({"größe": 1.5, "n": -3, "big": 9007199254740993_u64, "list": [1, null, true], "sub": {"quote\"'": "a\\b"}}),
        ),
    ] {
        posted[field] = value;
    }
    let answer = client.post(EVENTS, &posted).expect_status(201).json();
    assert!(answer["message"].is_string(), "{answer}");
    let page = page(client, &id, "&event_type=gateway.signal.received&limit=1");
    let read = &page["data"][0];
    assert_eq!(read["event_id"], answer["event_id"]);
    assert_eq!(read["event_timestamp"], answer["event_timestamp"]);
    for (field, value) in posted.as_object().unwrap() {
        if field == "event_timestamp" {
            let instant = |value: &Value| DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
            assert_eq!(instant(&read[field]), instant(value));
        } else {
            assert_eq!(&read[field], value, "field {field}");
        }
    }
    assert_eq!(read["event_date"].as_str(), read["event_timestamp"].as_str().map(|time| &time[..10]));
}

/// An event is found by the id that its POST answered, a UUID of version 7; an id of nobody is 404.
pub fn event_reads_back_by_id(client: &Client) {
    let id = unique("by-id");
    let answer = client.post(EVENTS, &event(&id)).expect_status(201).json();
    let event_id = answer["event_id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(event_id).map(|id| id.get_version_num()), Ok(7));
    let read = client.get(&format!("{EVENTS}/{event_id}")).expect_status(200).json();
    assert_eq!(read["correlation_id"], id.as_str());
    client.get(&format!("{EVENTS}/{}", uuid::Uuid::now_v7())).expect_problem(404);
    client.get(&format!("{EVENTS}/not-a-uuid")).expect_problem(404);
}

/// A correlation id that nobody used is an empty page, not an error.
pub fn correlation_id_of_nobody_has_no_events(client: &Client) {
    let page = page(client, &unique("nobody"), "");
    assert_eq!(page["data"], json!([]));
    assert_eq!(page["pagination"], json!({"limit": 100, "offset": 0, "total": 0, "has_more": false}));
}

/// Writers at the same time get an id each, and all their events are there afterwards.
pub fn concurrent_writers_lose_nothing(client: &Client) {
    let id = unique("writers");
    let ids: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (client, id) = (client.clone(), &id);
                scope.spawn(move || {
                    let post = |n: usize| {
                        let event = with(event(id), "resource_id", format!("{writer}/{n}"));
                        let answer = client.post(EVENTS, &event).expect_status(201).json();
                        answer["event_id"].as_str().unwrap().to_owned()
                    };
                    (0..5).map(post).collect::<Vec<_>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(total(client, &id), 40);
    let page = page(client, &id, "");
    let read: BTreeSet<&str> = column(&page, "event_id").into_iter().collect();
    assert_eq!(read, ids.iter().map(String::as_str).collect());
    assert_eq!(column(&page, "resource_id").into_iter().collect::<BTreeSet<_>>().len(), 40);
}
