//! What an event must be like to be stored.
//!
//! Bad input is answered with the field at fault, so fields are taken out of the JSON object one by one instead of by a derived
//! `Deserialize`, whose errors name no field. What is left over is an error too: a field that is misspelt would otherwise be lost
//! without a trace, which an audit log must not do.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event::{CATEGORIES, Event, OUTCOMES, parse_instant};

/// The longest `event_type`, in characters.
const EVENT_TYPE_MAX: usize = 100;

/// The longest `correlation_id`, in characters, and here of every other text for which the contract names no limit.
const TEXT_MAX: usize = 255;

/// How far ahead of the clock here an event may be: clocks differ, and some are set to the wrong zone.
const AHEAD: TimeDelta = TimeDelta::minutes(60);

/// How old an event may be when it arrives.
const OLD: TimeDelta = TimeDelta::days(7);

/// The most events that a batch may have.
pub const BATCH_MAX: usize = 500;

/// Why an event is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field at fault, unless it is the whole.
    pub field: Option<String>,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Invalid {
    pub(crate) fn new(field: &str, detail: impl Into<String>) -> Invalid {
        Invalid { field: Some(field.to_owned()), detail: detail.into() }
    }

    fn whole(detail: impl Into<String>) -> Invalid {
        Invalid { field: None, detail: detail.into() }
    }

    fn at(self, index: usize) -> Invalid {
        Invalid { detail: format!("event at index {index}: {}", self.detail), ..self }
    }
}

/// Checks a single event against the clock `now` and gives it an id if it has none.
///
/// # Errors
///
/// The first field that breaks a rule. Whether a parent exists is for the storage to say.
pub fn event(value: Value, now: DateTime<Utc>) -> Result<Event, Invalid> {
    let Value::Object(map) = value else {
        return Err(Invalid::whole(format!("an event must be a JSON object, not {}", kind(&value))));
    };
    let mut fields = Fields(map);
    let event = Event {
        event_id: fields.event_id()?,
        version: fields.required("version", TEXT_MAX)?,
        event_type: fields.required("event_type", EVENT_TYPE_MAX)?,
        event_timestamp: fields.timestamp(now)?,
        event_category: fields.one_of("event_category", &CATEGORIES)?,
        event_action: fields.required("event_action", TEXT_MAX)?,
        event_outcome: fields.one_of("event_outcome", &OUTCOMES)?,
        correlation_id: fields.required("correlation_id", TEXT_MAX)?,
        event_data: fields.data()?,
        actor_type: fields.optional("actor_type", TEXT_MAX)?,
        actor_id: fields.optional("actor_id", TEXT_MAX)?,
        resource_type: fields.optional("resource_type", TEXT_MAX)?,
        resource_id: fields.optional("resource_id", TEXT_MAX)?,
        namespace: fields.optional("namespace", TEXT_MAX)?,
        cluster_id: fields.optional("cluster_id", TEXT_MAX)?,
        severity: fields.optional("severity", TEXT_MAX)?,
        duration_ms: fields.duration()?,
        parent_event_id: fields.uuid("parent_event_id")?,
    };
    match fields.0.keys().next() {
        Some(unknown) => {
            Err(Invalid::new(unknown, format!("{} is not a field of an event: correct or remove it", quoted(unknown))))
        }
        None => Ok(event),
    }
}

/// Checks a batch: a JSON array of 1 to [`BATCH_MAX`] events.
///
/// # Errors
///
/// The first event that breaks a rule, with its index.
pub fn batch(value: Value, now: DateTime<Utc>) -> Result<Vec<Event>, Invalid> {
    let Value::Array(items) = value else {
        return Err(Invalid::whole(format!("a batch must be a JSON array of events, not {}", kind(&value))));
    };
    if items.is_empty() || items.len() > BATCH_MAX {
        return Err(Invalid::whole(format!("a batch has 1 to {BATCH_MAX} events, this one has {}", items.len())));
    }
    let mut ids = HashSet::new();
    let checked = items.into_iter().enumerate().map(|(index, item)| {
        let event = event(item, now).map_err(|invalid| invalid.at(index))?;
        if !ids.insert(event.event_id) {
            let detail = format!("event_id {} is also that of an earlier event of the batch", event.event_id);
            return Err(Invalid::new("event_id", detail).at(index));
        }
        Ok(event)
    });
    checked.collect()
}

/// The fields of an event that nobody has taken yet.
struct Fields(Map<String, Value>);

impl Fields {
    /// A field that is there and not null.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    fn optional(&mut self, name: &str, max: usize) -> Result<Option<String>, Invalid> {
        let text = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text,
            Some(other) => return Err(Invalid::new(name, format!("{name} must be a string, not {}", kind(&other)))),
        };
        let length = text.chars().count();
        if length > max {
            return Err(Invalid::new(name, format!("{name} has {length} characters, at most {max} are allowed")));
        }
        if text.contains('\0') {
            return Err(Invalid::new(name, format!("{name} has a NUL character, which PostgreSQL cannot store")));
        }
        Ok(Some(text))
    }

    fn required(&mut self, name: &str, max: usize) -> Result<String, Invalid> {
        match self.optional(name, max)? {
            None => Err(Invalid::new(name, format!("{name} is required"))),
            Some(text) if text.is_empty() => Err(Invalid::new(name, format!("{name} must not be empty"))),
            Some(text) => Ok(text),
        }
    }

    fn one_of(&mut self, name: &str, known: &[&str]) -> Result<String, Invalid> {
        let text = self.required(name, usize::MAX)?;
        one_of(name, text, known)
    }

    fn uuid(&mut self, name: &str) -> Result<Option<Uuid>, Invalid> {
        let Some(text) = self.optional(name, TEXT_MAX)? else { return Ok(None) };
        match Uuid::parse_str(&text) {
            Ok(id) => Ok(Some(id)),
            Err(_) => Err(Invalid::new(name, format!("{name} must be a UUID, not {}", quoted(&text)))),
        }
    }

    /// The id that the writer chose, or a new one. Only version 7 keeps events of one instant in the order of their making.
    fn event_id(&mut self) -> Result<Uuid, Invalid> {
        match self.uuid("event_id")? {
            None => Ok(Uuid::now_v7()),
            Some(id) if id.get_version_num() == 7 => Ok(id),
            Some(_) => {
                Err(Invalid::new("event_id", "event_id must be a UUID of version 7: leave it out to have one made"))
            }
        }
    }

    fn timestamp(&mut self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Invalid> {
        const NAME: &str = "event_timestamp";
        let text = self.required(NAME, TEXT_MAX)?;
        let Some(time) = parse_instant(&text) else {
            let detail =
                format!("{NAME} must be a time of RFC 3339 such as 2026-01-31T12:00:00Z, not {}", quoted(&text));
            return Err(Invalid::new(NAME, detail));
        };
        if time - now > AHEAD {
            let detail = format!("{NAME} is more than {} minutes ahead: check the clock", AHEAD.num_minutes());
            return Err(Invalid::new(NAME, detail));
        }
        if now - time > OLD {
            return Err(Invalid::new(NAME, format!("{NAME} is more than {} days old", OLD.num_days())));
        }
        Ok(time)
    }

    fn duration(&mut self) -> Result<Option<i64>, Invalid> {
        const NAME: &str = "duration_ms";
        let Some(value) = self.take(NAME) else { return Ok(None) };
        match value.as_i64() {
            Some(duration) if duration >= 0 => Ok(Some(duration)),
            _ => Err(Invalid::new(NAME, format!("{NAME} must be a whole number of milliseconds, 0 to {}", i64::MAX))),
        }
    }

    fn data(&mut self) -> Result<String, Invalid> {
        const NAME: &str = "event_data";
        match self.take(NAME) {
            None => Err(Invalid::new(NAME, format!("{NAME} is required"))),
            Some(data) if !data.is_object() => {
                Err(Invalid::new(NAME, format!("{NAME} must be a JSON object, not {}", kind(&data))))
            }
            Some(data) if has_nul(&data) => {
                Err(Invalid::new(NAME, format!("{NAME} has a NUL character, which PostgreSQL cannot store")))
            }
            Some(data) => Ok(data.to_string()),
        }
    }
}

/// The text, if it is one of the known ones.
pub(crate) fn one_of(name: &str, text: String, known: &[&str]) -> Result<String, Invalid> {
    if known.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(Invalid::new(name, format!("{name} must be one of {}, not {}", known.join(", "), quoted(&text))))
}

/// Input as it may be shown in a message: escaped, and not longer than a line.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
