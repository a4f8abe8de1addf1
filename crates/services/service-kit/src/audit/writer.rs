//! The thread that sends batches to DataStorage.

use std::time::Duration;

use super::queue::Queue;
use super::{Event, Settings};

/// What became of one request.
enum Answer {
    Stored,
    /// Worth another try: DataStorage is away, overloaded, or failed.
    Retry(String),
    /// The same request will be refused again.
    Refused(u16, String),
}

/// Sends until the queue is closed and empty.
pub(super) fn run(queue: &Queue, settings: &Settings) {
    while let Some(batch) = queue.take(settings.batch_size, settings.flush_interval) {
        deliver(queue, settings, &batch);
    }
    queue.end();
}

fn deliver(queue: &Queue, settings: &Settings, batch: &[Event]) {
    match send_until_settled(queue, settings, batch) {
        Ok(()) => queue.settle(batch.len(), true),
        // DataStorage takes a batch whole or not at all: one bad event must not take its neighbours with it.
        Err((400 | 413, _)) if batch.len() > 1 => {
            let (left, right) = batch.split_at(batch.len() / 2);
            deliver(queue, settings, left);
            deliver(queue, settings, right);
        }
        Err((_, reason)) => {
            queue.settle(batch.len(), false);
            let first = batch.first().map_or("?", |event| &event.event_type);
            crate::log!("audit: lost {} events, the first of type {first}: {reason}", batch.len());
        }
    }
}

/// Sends one batch, again and again if need be. The error has the status (0 for none) and the reason.
fn send_until_settled(queue: &Queue, settings: &Settings, batch: &[Event]) -> Result<(), (u16, String)> {
    let body = serde_json::to_vec(batch).map_err(|error| (0, format!("cannot write them as JSON: {error}")))?;
    // The key stays the same for every try: a try whose answer was lost may have been stored.
    let key = uuid::Uuid::new_v4();
    let mut pause = settings.backoff;
    let mut tries = 0;
    loop {
        tries += 1;
        let reason = match send(settings, &body, &key.to_string()) {
            Answer::Stored => return Ok(()),
            Answer::Refused(status, reason) => return Err((status, reason)),
            Answer::Retry(reason) => reason,
        };
        if tries > settings.max_retries || !queue.pause(pause + jitter(pause)) {
            return Err((0, format!("gave up after {tries} tries: {reason}")));
        }
        queue.metrics().retries.inc();
        pause = (pause * 2).min(settings.max_backoff);
    }
}

/// Up to half of `pause` at random, so that services that lost DataStorage together do not return together. The random bits are
/// those of a version 4 UUID, which is at hand.
fn jitter(pause: Duration) -> Duration {
    let random = uuid::Uuid::new_v4().as_u128() as u8;
    pause / 2 * u32::from(random) / u32::from(u8::MAX)
}

fn send(settings: &Settings, body: &[u8], key: &str) -> Answer {
    let sent = minreq::post(format!("{}/api/v1/audit/events/batch", settings.url))
        .with_header("Authorization", format!("Bearer {}", settings.token.expose()))
        .with_header("Content-Type", "application/json")
        .with_header("Idempotency-Key", key)
        .with_body(body)
        .with_follow_redirects(false)
        .with_timeout(settings.timeout.as_secs().max(1))
        .send();
    match sent {
        Ok(response) if (200..300).contains(&response.status_code) => Answer::Stored,
        Ok(response) => {
            let text = String::from_utf8_lossy(response.as_bytes()).chars().take(300).collect::<String>();
            let reason = format!("DataStorage answered {}: {text}", response.status_code);
            // 408 and 429 are about the moment, not about the request.
            if response.status_code >= 500 || [408, 429].contains(&response.status_code) {
                Answer::Retry(reason)
            } else {
                Answer::Refused(response.status_code, reason)
            }
        }
        Err(error) => Answer::Retry(format!("DataStorage cannot be reached: {error}")),
    }
}
