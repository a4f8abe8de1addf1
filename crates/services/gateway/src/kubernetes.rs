//! A Kubernetes event (`core/v1` or `events.k8s.io/v1`, whose members differ only in names that are read here too).

use std::collections::BTreeMap;

use serde::Deserialize;
use service_kit::Problem;

use crate::signal::{Signal, Texts, name, namespace, time};

/// The event. Members that the gateway does not need are not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    r#type: String,
    reason: String,
    #[serde(alias = "note", default)]
    message: String,
    #[serde(alias = "regarding")]
    involved_object: Object,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    first_timestamp: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Object {
    kind: String,
    name: String,
    namespace: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Texts,
}

impl Event {
    /// The signal that the event is; `None` for everyday life, such as a pulled image.
    pub(crate) fn signal(self) -> Result<Option<Signal>, Problem> {
        match self.r#type.as_str() {
            "Warning" => {}
            "Normal" => return Ok(None),
            _ => return Err(Problem::invalid("type", "the type of an event is Normal or Warning")),
        }
        // What happened last; an event that happened once has only the one time.
        let times = [
            ("lastTimestamp", &self.last_timestamp),
            ("eventTime", &self.event_time),
            ("firstTimestamp", &self.first_timestamp),
        ];
        let started = match times.into_iter().find_map(|(field, text)| text.as_ref().map(|text| (field, text))) {
            Some((field, text)) => Some(time(field, text)?),
            None => None,
        };
        let object = self.involved_object;
        Ok(Some(Signal {
            kind: "event",
            source: "kubernetes-event",
            name: name("reason", &self.reason)?,
            severity: "warning".to_owned(),
            cluster: String::new(),
            namespace: namespace("involvedObject.namespace", object.namespace.as_deref().unwrap_or_default())?,
            resource_kind: name("involvedObject.kind", &object.kind)?,
            resource_name: name("involvedObject.name", &object.name)?,
            labels: self.metadata.labels,
            annotations: BTreeMap::from([("message".to_owned(), self.message)]),
            started,
            started_field: "lastTimestamp",
            resolved: false,
        }))
    }
}
