//! Waiting with a limit, names that no other test uses, and the audit events of a correlation id.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Client, Run};

/// The pause between two looks: short at first since most things are true at once, longer later so that many waiting tests leave
/// the processor to the services.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// How long [`eventually_events`] waits. The services' audit clients flush within a second.
const EVENTS_LIMIT: Duration = Duration::from_secs(10);

/// The largest page that DataStorage gives.
const PAGE: usize = 1000;

/// Asks until the answer is `Ok`, at most for `limit`, and returns what it then was.
///
/// # Panics
///
/// When the limit is reached, with `what` and the last answer.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        let last = match ask() {
            Ok(value) => return value,
            Err(last) => last,
        };
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            panic!("{what}: not within {limit:?}; last answer: {last}");
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "a suite knows nothing of the tool, which ends the whole process"
        )]
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A name that no other test has: the prefix, a hyphen and 32 random hexadecimal digits.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// All audit events of a correlation id in the run's DataStorage, oldest first: in the order in which they happened, which is
/// what a test asserts. (DataStorage itself answers newest first.)
///
/// # Panics
///
/// If DataStorage cannot be asked.
pub fn audit_events(correlation_id: &str) -> Vec<Value> {
    events_of(&Run::current().client("datastorage"), correlation_id)
}

/// Waits until DataStorage has at least `count` audit events of the correlation id, at most for ten seconds, and returns all that
/// it then has, oldest first.
///
/// # Panics
///
/// When they have not come in time, with the types of those that have.
pub fn eventually_events(correlation_id: &str, count: usize) -> Vec<Value> {
    let datastorage = Run::current().client("datastorage");
    eventually(&format!("{count} audit events of {correlation_id}"), EVENTS_LIMIT, || {
        let events = events_of(&datastorage, correlation_id);
        if events.len() >= count { Ok(events) } else { Err(format!("{} events {:?}", events.len(), types(&events))) }
    })
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_type"].as_str().unwrap_or("?")).collect()
}

fn events_of(datastorage: &Client, correlation_id: &str) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let path = format!(
            "/api/v1/audit/events?correlation_id={}&limit={PAGE}&offset={}",
            query_value(correlation_id),
            events.len()
        );
        let page = datastorage.get(&path).expect_status(200).json();
        let Some(data) = page["data"].as_array() else { panic!("GET {path}: no `data` in {page}") };
        events.extend(data.iter().cloned());
        if data.is_empty() || page["pagination"]["has_more"] != true {
            events.reverse();
            return events;
        }
    }
}

/// Percent-encodes a value for the query of an address: all but the unreserved characters of RFC 3986, section 2.3.
pub(crate) fn query_value(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes whatever is written to it");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eventually_returns_the_first_good_answer() {
        let mut calls = 0;
        let value = eventually("three calls", Duration::from_secs(5), || {
            calls += 1;
            if calls == 3 { Ok(calls) } else { Err(format!("{calls} calls")) }
        });
        assert_eq!(value, 3);
    }

    #[test]
    fn eventually_ends_at_its_limit_with_the_last_answer() {
        let panic = std::panic::catch_unwind(|| {
            eventually("the moon", Duration::from_millis(10), || Err::<(), _>("still cheese".to_owned()))
        })
        .unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "the moon: not within 10ms; last answer: still cheese");
    }

    #[test]
    fn a_query_value_survives_every_character() {
        assert_eq!(query_value("a b+c&d=é/%"), "a%20b%2Bc%26d%3D%C3%A9%2F%25");
    }
}
