//! One audit event, as DataStorage's `POST /api/v1/audit/events/batch` takes it.

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// How what the event tells of ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It succeeded.
    Success,
    /// It failed.
    Failure,
    /// It goes on.
    Pending,
}

/// One audit event. The limits are DataStorage's: type 100 characters, correlation id 255.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    version: &'static str,
    /// The type, such as `gateway.signal.received`.
    pub event_type: String,
    /// When it happened.
    #[serde(serialize_with = "rfc3339")]
    pub event_timestamp: DateTime<Utc>,
    /// The category, such as `gateway`.
    pub event_category: &'static str,
    /// What was done, as in `received`.
    pub event_action: String,
    /// How it ended.
    pub event_outcome: Outcome,
    /// What the event belongs to: the name of the remediation request.
    pub correlation_id: String,
    /// The data of this type of event.
    pub event_data: Map<String, Value>,
    /// `service`.
    pub actor_type: &'static str,
    /// Which service; set by the client.
    pub actor_id: &'static str,
    /// The kind of thing that the event is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// Which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<String>,
    /// The Kubernetes namespace that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// How severe it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl Event {
    /// An event with what every event has.
    pub fn new(
        category: &'static str,
        event_type: impl Into<String>,
        action: impl Into<String>,
        outcome: Outcome,
        correlation_id: impl Into<String>,
        at: DateTime<Utc>,
    ) -> Event {
        let event_type = event_type.into();
        Event {
            version: "1.0",
            event_data: Map::from_iter([("event_type".to_owned(), Value::from(event_type.clone()))]),
            event_type,
            event_timestamp: at,
            event_category: category,
            event_action: action.into(),
            event_outcome: outcome,
            correlation_id: correlation_id.into(),
            actor_type: "service",
            actor_id: "",
            resource_type: None,
            resource_id: None,
            namespace: None,
            severity: None,
            duration_ms: None,
        }
    }

    /// The thing that the event is about.
    pub fn resource(self, kind: impl Into<String>, id: impl Into<String>) -> Event {
        Event { resource_type: Some(kind.into()), resource_id: Some(id.into()), ..self }
    }

    /// The Kubernetes namespace of that thing.
    pub fn namespace(self, namespace: impl Into<String>) -> Event {
        Event { namespace: Some(namespace.into()), ..self }
    }

    /// How severe it is.
    pub fn severity(self, severity: impl Into<String>) -> Event {
        Event { severity: Some(severity.into()), ..self }
    }

    /// How long it took.
    pub fn duration_ms(self, milliseconds: u64) -> Event {
        Event { duration_ms: Some(milliseconds), ..self }
    }

    /// Adds the members of a JSON object (from `json!`) to the data; anything else becomes the member `value`.
    pub fn data(mut self, data: Value) -> Event {
        match data {
            Value::Object(members) => self.event_data.extend(members),
            other => drop(self.event_data.insert("value".to_owned(), other)),
        }
        self
    }
}

fn rfc3339<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}
