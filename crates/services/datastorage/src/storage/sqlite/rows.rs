//! The statements, and what a row is.

use chrono::DateTime;
use rusqlite::types::{FromSqlError, ToSqlOutput};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, params_from_iter};
use uuid::Uuid;

use crate::event::Event;
use crate::query::{Query, Value};
use crate::storage::{COLUMNS, Key, Page, Used};

/// Stores an event; false if its id is taken.
pub(super) fn insert(connection: &Connection, event: &Event) -> rusqlite::Result<bool> {
    let sql = format!(
        "INSERT INTO events ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (event_id) DO NOTHING"
    );
    let changed = connection.prepare_cached(&sql)?.execute(params![
        text(event.event_id),
        event.event_timestamp.timestamp_micros(),
        event.version,
        event.event_type,
        event.event_category,
        event.event_action,
        event.event_outcome,
        event.correlation_id,
        event.event_data,
        event.actor_type,
        event.actor_id,
        event.resource_type,
        event.resource_id,
        event.namespace,
        event.cluster_id,
        event.severity,
        event.duration_ms,
        event.parent_event_id.map(text),
    ])?;
    Ok(changed == 1)
}

/// Whether an event is stored.
pub(super) fn exists(connection: &Connection, id: Uuid) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM events WHERE event_id = ?1")?.exists([text(id)])
}

/// One event.
pub(super) fn event(connection: &Connection, id: Uuid) -> rusqlite::Result<Option<Event>> {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE event_id = ?1");
    connection.prepare_cached(&sql)?.query_row([text(id)], from_row).optional()
}

/// One page and the total. Called in a transaction.
pub(super) fn find(connection: &Connection, query: &Query) -> rusqlite::Result<Page> {
    let (clause, values) = query.to_sql(|key| format!("json_member(event_data, ${key})"));
    let total = connection
        .prepare_cached(&format!("SELECT count(*) FROM events {clause}"))?
        .query_row(params_from_iter(&values), |row| row.get(0))?;
    // these two are numbers of this program's own making
    let sql = format!(
        "SELECT {COLUMNS} FROM events {clause} ORDER BY event_timestamp DESC, event_id DESC LIMIT {} OFFSET {}",
        query.limit, query.offset
    );
    let events = connection.prepare(&sql)?.query_map(params_from_iter(&values), from_row)?.collect::<Result<_, _>>()?;
    Ok(Page { events, total })
}

/// Takes an idempotency key; false if it is taken already.
pub(super) fn take_key(connection: &Connection, key: &Key) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached(
            "INSERT INTO idempotency_keys VALUES (?1, ?2, ?3, unixepoch() * 1000000) ON CONFLICT DO NOTHING",
        )?
        .execute([&key.key, &key.used.fingerprint, &key.used.response])?;
    Ok(changed == 1)
}

/// What a key was used for.
pub(super) fn used(connection: &Connection, key: &str) -> rusqlite::Result<Option<Used>> {
    connection
        .prepare_cached("SELECT fingerprint, response FROM idempotency_keys WHERE key = ?1")?
        .query_row([key], |row| Ok(Used { fingerprint: row.get(0)?, response: row.get(1)? }))
        .optional()
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Value::Text(text) => text.to_sql(),
            Value::Time(time) => Ok(time.timestamp_micros().into()),
        }
    }
}

fn text(id: Uuid) -> String {
    id.to_string()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Event> {
    let uuid = |text: String| Uuid::parse_str(&text).map_err(FromSqlError::other);
    let time = |micros| DateTime::from_timestamp_micros(micros).ok_or(FromSqlError::OutOfRange(micros));
    Ok(Event {
        event_id: uuid(row.get(0)?)?,
        event_timestamp: time(row.get(1)?)?,
        version: row.get(2)?,
        event_type: row.get(3)?,
        event_category: row.get(4)?,
        event_action: row.get(5)?,
        event_outcome: row.get(6)?,
        correlation_id: row.get(7)?,
        event_data: row.get(8)?,
        actor_type: row.get(9)?,
        actor_id: row.get(10)?,
        resource_type: row.get(11)?,
        resource_id: row.get(12)?,
        namespace: row.get(13)?,
        cluster_id: row.get(14)?,
        severity: row.get(15)?,
        duration_ms: row.get(16)?,
        parent_event_id: row.get::<_, Option<String>>(17)?.map(uuid).transpose()?,
    })
}
