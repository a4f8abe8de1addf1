//! The audit client against a DataStorage that misbehaves in one way at a time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{TimeZone as _, Utc};
use serde_json::{Value, json};
use service_kit::Secret;
use service_kit::audit::{AuditClient, Event, Outcome, Settings};
use service_kit::prometheus_client::encoding::text::encode;
use service_kit::prometheus_client::registry::Registry;

/// Answers by the number of the request, counted from 0, and its events.
type Behaviour = fn(usize, &[Value]) -> StatusCode;

#[derive(Clone)]
struct Fake {
    behaviour: Behaviour,
    requests: Arc<Mutex<Vec<Sent>>>,
}

/// The idempotency key of a request, and its events.
type Sent = (String, Vec<Value>);

impl Fake {
    async fn start(behaviour: Behaviour) -> (Fake, String) {
        let fake = Fake { behaviour, requests: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/api/v1/audit/events/batch", post(Fake::batch))
            .route("/readyz", get(async || StatusCode::OK))
            .with_state(fake.clone());
        drop(tokio::spawn(axum::serve(listener, router).into_future()));
        (fake, url)
    }

    async fn batch(State(fake): State<Fake>, headers: HeaderMap, Json(events): Json<Vec<Value>>) -> StatusCode {
        assert_eq!(headers["authorization"], "Bearer ds-token");
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        let mut requests = fake.requests.lock().unwrap();
        let answer = (fake.behaviour)(requests.len(), &events);
        requests.push((key, events));
        answer
    }

    fn requests(&self) -> Vec<Sent> {
        self.requests.lock().unwrap().clone()
    }
}

fn settings(url: &str) -> Settings {
    Settings {
        // far away: what does not fill a batch is sent by `close`, so that no test depends on the speed of the machine
        flush_interval: Duration::from_secs(3600),
        backoff: Duration::from_millis(2),
        max_retries: 3,
        ..Settings::new(url, Secret::new("ds-token"))
    }
}

fn event(number: usize) -> Event {
    let at = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap();
    Event::new("gateway", "gateway.signal.received", "received", Outcome::Success, format!("rr-{number}"), at)
        .resource("Signal", "f1")
        .data(json!({ "number": number }))
}

/// Records `count` events, closes the client, and returns what the metrics then say.
async fn record_and_close(settings: Settings, count: usize) -> Registry {
    let mut registry = Registry::default();
    let client = AuditClient::start("gateway", settings, &mut registry).unwrap();
    for number in 0..count {
        client.record(event(number));
    }
    client.close(Duration::from_secs(20)).await;
    registry
}

fn metric(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

fn numbers(requests: &[Sent]) -> Vec<u64> {
    requests
        .iter()
        .flat_map(|(_, events)| events)
        .map(|event| event["event_data"]["number"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn events_arrive_in_batches_in_order_with_what_datastorage_requires() {
    let (fake, url) = Fake::start(|_, _| StatusCode::CREATED).await;
    let registry = record_and_close(settings(&url), 120).await;
    let requests = fake.requests();
    assert_eq!(requests.iter().map(|(_, events)| events.len()).collect::<Vec<_>>(), [50, 50, 20]);
    assert_eq!(numbers(&requests), (0..120).collect::<Vec<_>>());
    assert_eq!(metric(&registry, "audit_events_sent_total"), 120);
    assert_eq!(metric(&registry, "audit_events_buffered"), 0);
    let second = &requests[0].1[1];
    let expected = json!({
        "version": "1.0", "event_type": "gateway.signal.received", "event_category": "gateway", "event_action": "received",
        "event_outcome": "success", "correlation_id": "rr-1", "actor_type": "service", "actor_id": "gateway",
        "resource_type": "Signal", "resource_id": "f1",
        // a microsecond after the first one, so that a reader sees them in the order in which they were recorded
        "event_timestamp": "2026-01-02T03:04:05.000001Z",
        "event_data": { "event_type": "gateway.signal.received", "number": 1 },
    });
    assert_eq!(second, &expected);
}

#[tokio::test]
async fn a_failing_datastorage_is_asked_again_with_the_same_key() {
    let (fake, url) = Fake::start(|number, _| match number {
        0 => StatusCode::SERVICE_UNAVAILABLE,
        1 => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::CREATED,
    })
    .await;
    let registry = record_and_close(settings(&url), 3).await;
    let requests = fake.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|(key, events)| *key == requests[0].0 && events.len() == 3), "{requests:?}");
    assert_eq!((metric(&registry, "audit_retries_total"), metric(&registry, "audit_events_sent_total")), (2, 3));
    assert_eq!(metric(&registry, "audit_events_lost_total"), 0);
}

#[tokio::test]
async fn two_batches_have_two_keys() {
    let (fake, url) = Fake::start(|_, _| StatusCode::CREATED).await;
    drop(record_and_close(Settings { batch_size: 1, ..settings(&url) }, 2).await);
    let requests = fake.requests();
    assert_ne!(requests[0].0, requests[1].0);
}

#[tokio::test]
async fn after_the_last_retry_the_batch_is_lost_and_counted() {
    let (fake, url) = Fake::start(|_, _| StatusCode::INTERNAL_SERVER_ERROR).await;
    let registry = record_and_close(settings(&url), 3).await;
    assert_eq!(fake.requests().len(), 4, "one try and three retries");
    assert_eq!(metric(&registry, "audit_events_lost_total"), 3);
    assert_eq!(metric(&registry, "audit_events_sent_total"), 0);
}

#[tokio::test]
async fn a_refusal_is_not_retried() {
    let (fake, url) = Fake::start(|_, _| StatusCode::UNAUTHORIZED).await;
    let registry = record_and_close(settings(&url), 3).await;
    assert_eq!((fake.requests().len(), metric(&registry, "audit_events_lost_total")), (1, 3));
}

#[tokio::test]
async fn a_bad_event_is_lost_alone() {
    let (fake, url) = Fake::start(|_, events| {
        let bad = events.iter().any(|event| event["correlation_id"] == "rr-2");
        if bad { StatusCode::BAD_REQUEST } else { StatusCode::CREATED }
    })
    .await;
    let registry = record_and_close(settings(&url), 7).await;
    assert_eq!((metric(&registry, "audit_events_lost_total"), metric(&registry, "audit_events_sent_total")), (1, 6));
    let stored =
        fake.requests().into_iter().filter(|(_, events)| events.iter().all(|event| event["correlation_id"] != "rr-2"));
    assert_eq!(numbers(&stored.collect::<Vec<_>>()), [0, 1, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_full_buffer_loses_the_newest_and_never_blocks() {
    // nobody listens on port 1, so nothing leaves the buffer
    let mut registry = Registry::default();
    let settings = Settings { capacity: 5, backoff: Duration::from_secs(60), ..settings("http://127.0.0.1:1") };
    let client = AuditClient::start("gateway", settings, &mut registry).unwrap();
    for number in 0..12 {
        client.record(event(number));
    }
    assert_eq!(metric(&registry, "audit_events_lost_total"), 7);
    assert_eq!(metric(&registry, "audit_events_buffered"), 5);
    client.close(Duration::from_millis(1)).await;
    assert_eq!(metric(&registry, "audit_events_lost_total"), 12, "what is left at shutdown is lost and counted");
    assert_eq!(metric(&registry, "audit_events_buffered"), 0);
}

#[tokio::test]
async fn closing_ends_a_back_off_and_sends_what_is_left() {
    let (fake, url) =
        Fake::start(|number, _| if number == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::CREATED }).await;
    let mut registry = Registry::default();
    let (flush_interval, far) = (Duration::from_millis(5), Duration::from_secs(600));
    let settings = Settings { flush_interval, backoff: far, max_backoff: far, ..settings(&url) };
    let client = AuditClient::start("gateway", settings, &mut registry).unwrap();
    client.record(event(0));
    // the first try has failed once the request is there; the writer then pauses for ten minutes
    let first_try = async {
        while fake.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), first_try).await.unwrap();
    client.record(event(1));
    client.close(Duration::from_secs(20)).await;
    assert_eq!(metric(&registry, "audit_events_sent_total"), 2);
}

#[tokio::test]
async fn readiness_is_datastorage_s() {
    let mut registry = Registry::default();
    let (_fake, url) = Fake::start(|_, _| StatusCode::CREATED).await;
    let up = AuditClient::start("gateway", settings(&url), &mut registry).unwrap();
    assert_eq!(up.ready().await, Ok(()));
    let down = AuditClient::start("gateway", settings("http://127.0.0.1:1"), &mut registry).unwrap();
    assert_eq!(down.ready().await, Err("datastorage_unreachable".to_owned()));
}

#[test]
fn where_datastorage_is_must_be_said() {
    use service_kit::Environment;
    let message =
        |variables: &[(&str, &str)]| Settings::from_environment(&Environment::of(variables)).unwrap_err().to_string();
    let what = "set it to the address of DataStorage, such as http://127.0.0.1:8080";
    assert_eq!(message(&[]), format!("the variable DATASTORAGE_URL is missing or empty: {what}"));
    assert_eq!(
        message(&[("DATASTORAGE_URL", "https://x"), ("DATASTORAGE_TOKEN", "t")]),
        format!("the variable DATASTORAGE_URL is not an address: {what}")
    );
    assert!(message(&[("DATASTORAGE_URL", "http://x:1")]).contains("DATASTORAGE_TOKEN"));
}
