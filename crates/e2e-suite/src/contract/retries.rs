//! `Idempotency-Key`: a client that got no answer may ask again.

use serde_json::{Value, json};

use super::{BATCH, EVENTS, event, total, with};
use crate::{Client, Response, unique};

/// An event posted twice under one key is stored once, and both answers are the same.
pub fn retried_event_is_stored_once(client: &Client) {
    let id = unique("retry");
    let (event, key) = (event(&id), unique("key"));
    let first = post(client, EVENTS, &event, &key).expect_status(201);
    let again = post(client, EVENTS, &event, &key).expect_status(201);
    assert_eq!(first.json(), again.json());
    assert_eq!(total(client, &id), 1);
    // another key is another request
    post(client, EVENTS, &event, &unique("key")).expect_status(201);
    assert_eq!(total(client, &id), 2);
}

/// The same for a batch, also when both requests are under way at once.
pub fn retried_batch_is_stored_once(client: &Client) {
    let id = unique("retry-batch");
    let (batch, key) = (json!([event(&id), event(&id)]), unique("key"));
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let requests: Vec<_> = (0..4).map(|_| scope.spawn(|| post(client, BATCH, &batch, &key))).collect();
        requests.into_iter().map(|request| request.join().unwrap().expect_status(201).json()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(total(client, &id), 2);
}

/// A key that comes back with another body, or on the other route, is 422 and stores nothing. A refused request uses up no key.
pub fn reused_key_with_another_body_is_refused(client: &Client) {
    let id = unique("reuse");
    let (event, key) = (event(&id), unique("key"));
    post(client, EVENTS, &with(event.clone(), "event_outcome", "maybe"), &key).expect_problem(400);
    post(client, EVENTS, &event, &key).expect_status(201);
    let other = with(event.clone(), "resource_id", "other");
    post(client, EVENTS, &other, &key).expect_problem(422);
    post(client, BATCH, &json!([event]), &key).expect_problem(422);
    assert_eq!(total(client, &id), 1);
    for bad in ["".to_owned(), "k".repeat(256)] {
        let problem = post(client, EVENTS, &event, &bad).expect_problem(400);
        assert_eq!(problem["field"], "Idempotency-Key", "{problem}");
    }
    assert_eq!(total(client, &id), 1);
}

fn post(client: &Client, path: &str, body: &Value, key: &str) -> Response {
    client.post_raw(path, "application/json", body.to_string().as_bytes(), &[("Idempotency-Key", key)])
}
