//! Batches: all or nothing, 1 to 500 events.

use serde_json::{Value, json};

use super::{BATCH, EVENTS, column, event, page, total, with};
use crate::{Client, unique};

/// A batch is answered 201 with one id an event, in the order of the batch.
pub fn batch_is_stored_and_answers_ids_in_order(client: &Client) {
    let id = unique("batch");
    let batch: Vec<Value> = (0..3).map(|n| with(event(&id), "resource_id", format!("r{n}"))).collect();
    let answer = client.post(BATCH, &Value::Array(batch)).expect_status(201).json();
    assert!(answer["message"].is_string(), "{answer}");
    let ids = answer["event_ids"].as_array().unwrap_or_else(|| panic!("no `event_ids` in {answer}"));
    for (n, event_id) in ids.iter().enumerate() {
        let read = client.get(&format!("{EVENTS}/{}", event_id.as_str().unwrap())).expect_status(200).json();
        assert_eq!(read["resource_id"], format!("r{n}"));
    }
    assert_eq!((ids.len(), total(client, &id)), (3, 3));
}

/// One invalid event refuses the batch, names its index and field, and none of the batch is stored.
pub fn batch_with_one_invalid_event_stores_nothing(client: &Client) {
    let id = unique("all-or-nothing");
    let bad = with(event(&id), "event_outcome", "maybe");
    let missing_parent = with(event(&id), "parent_event_id", uuid::Uuid::now_v7().to_string());
    for (bad, field) in [(bad, "event_outcome"), (missing_parent, "parent_event_id"), (json!("text"), "")] {
        let problem = client.post(BATCH, &json!([event(&id), event(&id), bad, event(&id)])).expect_problem(400);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("event at index 2: "), "{problem}");
        assert!(field.is_empty() || problem["field"] == field, "{problem}");
    }
    assert_eq!(total(client, &id), 0, "events of a refused batch");
}

/// 500 events are stored, 501 or none are refused.
pub fn batch_takes_one_to_five_hundred_events(client: &Client) {
    let id = unique("limits");
    let mut batch = vec![event(&id); 501];
    client.post(BATCH, &json!([])).expect_problem(400);
    client.post(BATCH, &json!(batch)).expect_problem(400);
    assert_eq!(total(client, &id), 0, "events of a refused batch");
    batch.pop();
    let answer = client.post(BATCH, &json!(batch)).expect_status(201).json();
    assert_eq!(answer["event_ids"].as_array().map(Vec::len), Some(500));
    assert_eq!(total(client, &id), 500);
}

/// A single event sent as a batch is refused, and so is a batch sent as a single event.
pub fn batch_that_is_no_array_is_refused(client: &Client) {
    let id = unique("shape");
    client.post(BATCH, &event(&id)).expect_problem(400);
    client.post(EVENTS, &json!([event(&id)])).expect_problem(400);
    assert_eq!(total(client, &id), 0);
}

/// A client that chooses event ids may refer to an event earlier in the same batch, and to no later one.
pub fn parent_may_come_earlier_in_the_batch(client: &Client) {
    let id = unique("family");
    let chosen = uuid::Uuid::now_v7().to_string();
    let parent = with(event(&id), "event_id", chosen.as_str());
    let child = with(event(&id), "parent_event_id", chosen.as_str());
    let problem = client.post(BATCH, &json!([child, parent])).expect_problem(400);
    assert_eq!(problem["field"], "parent_event_id", "{problem}");
    client.post(BATCH, &json!([parent, child])).expect_status(201);
    let page = page(client, &id, "");
    assert_eq!(column(&page, "parent_event_id").iter().filter(|parent| **parent == chosen).count(), 1, "{page}");
    assert!(column(&page, "event_id").contains(&chosen.as_str()), "{page}");
}

/// An id that is stored already refuses the whole batch with 409, and uses up no idempotency key.
pub fn batch_with_a_taken_id_stores_nothing(client: &Client) {
    let id = unique("taken");
    let taken = client.post(EVENTS, &event(&id)).expect_status(201).json()["event_id"].clone();
    let batch = json!([event(&id), with(event(&id), "event_id", taken), event(&id)]);
    let key = unique("key");
    let post = |batch: &Value| {
        client.post_raw(BATCH, "application/json", batch.to_string().as_bytes(), &[("Idempotency-Key", &key)])
    };
    let problem = post(&batch).expect_problem(409);
    assert!(problem["detail"].as_str().unwrap().starts_with("event at index 1: "), "{problem}");
    assert_eq!(total(client, &id), 1);
    post(&json!([event(&id)])).expect_status(201);
    assert_eq!(total(client, &id), 2);
}
