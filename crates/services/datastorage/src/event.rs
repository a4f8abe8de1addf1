//! An audit event as it is stored and as it reads back.
//!
//! One type serves both directions, so that a field cannot be accepted and then forgotten. Times have the precision of
//! microseconds, the coarser of the two databases, from the moment that they are read: an event is the same in either.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// The values of `event_category`: the four services, approval, and those of earlier versions of the contract that clients
/// still send.
pub const CATEGORIES: [&str; 9] = [
    "gateway",
    "signalprocessing",
    "orchestration",
    "workflowexecution",
    "approval",
    "notification",
    "analysis",
    "workflow",
    "execution",
];

/// The values of `event_outcome`.
pub const OUTCOMES: [&str; 3] = ["success", "failure", "pending"];

/// A valid audit event. The names are those of the API and of the columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id, a UUID of version 7, whose order is the order in which events were taken in.
    pub event_id: Uuid,
    /// When it happened, in whole microseconds.
    pub event_timestamp: DateTime<Utc>,
    /// The version of the event's shape, chosen by its writer.
    pub version: String,
    /// What happened, such as `gateway.signal.received`.
    pub event_type: String,
    /// Who it belongs to: one of [`CATEGORIES`].
    pub event_category: String,
    /// The action, such as `received`.
    pub event_action: String,
    /// One of [`OUTCOMES`].
    pub event_outcome: String,
    /// What ties the events of one case together.
    pub correlation_id: String,
    /// The details, a JSON object as text.
    pub event_data: String,
    /// What kind of actor did it.
    pub actor_type: Option<String>,
    /// Which one.
    pub actor_id: Option<String>,
    /// What kind of thing it was done to.
    pub resource_type: Option<String>,
    /// Which one.
    pub resource_id: Option<String>,
    /// The namespace that the thing is in.
    pub namespace: Option<String>,
    /// The cluster that it is in.
    pub cluster_id: Option<String>,
    /// How bad it is, in the writer's words.
    pub severity: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<i64>,
    /// The stored event that led to this one.
    pub parent_event_id: Option<Uuid>,
}

impl Event {
    /// The event as the API shows it: with its date in UTC, without the fields that it does not have.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("event_id", json!(self.event_id.to_string()));
        put("event_timestamp", json!(instant(self.event_timestamp)));
        put("event_date", json!(self.event_timestamp.format("%F").to_string()));
        for (name, value) in [
            ("version", &self.version),
            ("event_type", &self.event_type),
            ("event_category", &self.event_category),
            ("event_action", &self.event_action),
            ("event_outcome", &self.event_outcome),
            ("correlation_id", &self.correlation_id),
        ] {
            put(name, json!(value));
        }
        // what is stored was written by this program; if someone changed it by hand, showing the text helps more than failing
        put("event_data", serde_json::from_str(&self.event_data).unwrap_or_else(|_| json!(self.event_data)));
        for (name, value) in [
            ("actor_type", &self.actor_type),
            ("actor_id", &self.actor_id),
            ("resource_type", &self.resource_type),
            ("resource_id", &self.resource_id),
            ("namespace", &self.namespace),
            ("cluster_id", &self.cluster_id),
            ("severity", &self.severity),
        ] {
            if let Some(value) = value {
                put(name, json!(value));
            }
        }
        if let Some(duration) = self.duration_ms {
            put("duration_ms", json!(duration));
        }
        if let Some(parent) = self.parent_event_id {
            put("parent_event_id", json!(parent.to_string()));
        }
        Value::Object(object)
    }
}

/// A time as the API shows it: RFC 3339 in UTC with microseconds.
pub fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Reads an RFC 3339 time, cut to microseconds.
pub fn parse_instant(text: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    DateTime::from_timestamp_micros(time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_cut_to_microseconds_in_utc() {
        let time = parse_instant("2026-01-01T01:30:00.123456789+02:00").unwrap();
        assert_eq!(instant(time), "2025-12-31T23:30:00.123456Z");
        assert_eq!(parse_instant("2026-01-01 noon"), None);
    }
}
