//! The statements, and what a row is.

use std::collections::HashSet;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, GenericClient, Row};
use uuid::Uuid;

use crate::event::Event;
use crate::query::{Query, Value};
use crate::storage::{COLUMNS, Key, Page, Used};

/// Stores events with one statement, whatever their number: a column of it is an array.
pub(super) async fn insert(client: &impl GenericClient, events: &[Event]) -> Result<(), Error> {
    const TYPES: [&str; 18] = [
        "uuid",
        "timestamptz",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "bigint",
        "uuid",
    ];
    let arrays: Vec<String> = TYPES.iter().enumerate().map(|(n, kind)| format!("${}::{kind}[]", n + 1)).collect();
    let names: Vec<&str> = COLUMNS.split(',').map(str::trim).collect();
    // json has no array on the way in: its column travels as text
    let select = COLUMNS.replace("event_data", "event_data::json");
    let sql = format!(
        "INSERT INTO events ({COLUMNS}) SELECT {select} FROM unnest({}) AS new ({})",
        arrays.join(", "),
        names.join(", ")
    );
    fn column<'e, T>(events: &'e [Event], of: impl Fn(&'e Event) -> T) -> Vec<T> {
        events.iter().map(of).collect()
    }
    let optional = |of: fn(&Event) -> &Option<String>| column(events, move |event| of(event).as_deref());
    client
        .execute(
            &sql,
            &[
                &column(events, |event| event.event_id),
                &column(events, |event| event.event_timestamp),
                &column(events, |event| &event.version),
                &column(events, |event| &event.event_type),
                &column(events, |event| &event.event_category),
                &column(events, |event| &event.event_action),
                &column(events, |event| &event.event_outcome),
                &column(events, |event| &event.correlation_id),
                &column(events, |event| &event.event_data),
                &optional(|event| &event.actor_type),
                &optional(|event| &event.actor_id),
                &optional(|event| &event.resource_type),
                &optional(|event| &event.resource_id),
                &optional(|event| &event.namespace),
                &optional(|event| &event.cluster_id),
                &optional(|event| &event.severity),
                &column(events, |event| event.duration_ms),
                &column(events, |event| event.parent_event_id),
            ],
        )
        .await?;
    Ok(())
}

/// Which of these events are stored.
pub(super) async fn stored(client: &impl GenericClient, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = client.query("SELECT event_id FROM events WHERE event_id = ANY($1)", &[&ids]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// One event.
pub(super) async fn event(client: &impl GenericClient, id: Uuid) -> Result<Option<Event>, Error> {
    let sql = format!("SELECT {} FROM events WHERE event_id = $1", readable());
    client.query_opt(&sql, &[&id]).await?.map(|row| from_row(&row)).transpose()
}

/// One page and the total. Called in a transaction.
pub(super) async fn find(client: &impl GenericClient, query: &Query) -> Result<Page, Error> {
    // the name is a text: without saying so it could also be the index of an array
    let (clause, values) = query.to_sql(|key| format!("event_data ->> CAST(${key} AS text)"));
    let values: Vec<&(dyn ToSql + Sync)> = values
        .iter()
        .map(|value| -> &(dyn ToSql + Sync) {
            match value {
                Value::Text(text) => text,
                Value::Time(time) => time,
            }
        })
        .collect();
    let total = client.query_one(&format!("SELECT count(*) FROM events {clause}"), &values).await?.try_get(0)?;
    // these two are numbers of this program's own making
    let sql = format!(
        "SELECT {} FROM events {clause} ORDER BY event_timestamp DESC, event_id DESC LIMIT {} OFFSET {}",
        readable(),
        query.limit,
        query.offset
    );
    let rows = client.query(&sql, &values).await?;
    Ok(Page { events: rows.iter().map(from_row).collect::<Result<_, _>>()?, total })
}

/// Takes an idempotency key; false if it is taken already.
pub(super) async fn take_key(client: &impl GenericClient, key: &Key) -> Result<bool, Error> {
    let sql = "INSERT INTO idempotency_keys (key, fingerprint, response) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(client.execute(sql, &[&key.key, &key.used.fingerprint, &key.used.response]).await? == 1)
}

/// What a key was used for.
pub(super) async fn used(client: &impl GenericClient, key: &str) -> Result<Option<Used>, Error> {
    let row = client.query_opt("SELECT fingerprint, response FROM idempotency_keys WHERE key = $1", &[&key]).await?;
    row.map(|row| Ok(Used { fingerprint: row.try_get(0)?, response: row.try_get(1)? })).transpose()
}

/// Fails unless the database can be written to: locking a table for writing is refused by a standby.
pub(super) async fn writable(client: &impl GenericClient) -> Result<(), Error> {
    client.batch_execute("BEGIN; LOCK TABLE events IN ROW EXCLUSIVE MODE; ROLLBACK").await
}

/// The columns as they are read: details as text, since they are passed on as they are.
fn readable() -> String {
    COLUMNS.replace("event_data", "event_data::text")
}

fn from_row(row: &Row) -> Result<Event, Error> {
    Ok(Event {
        event_id: row.try_get(0)?,
        event_timestamp: row.try_get(1)?,
        version: row.try_get(2)?,
        event_type: row.try_get(3)?,
        event_category: row.try_get(4)?,
        event_action: row.try_get(5)?,
        event_outcome: row.try_get(6)?,
        correlation_id: row.try_get(7)?,
        event_data: row.try_get(8)?,
        actor_type: row.try_get(9)?,
        actor_id: row.try_get(10)?,
        resource_type: row.try_get(11)?,
        resource_id: row.try_get(12)?,
        namespace: row.try_get(13)?,
        cluster_id: row.try_get(14)?,
        severity: row.try_get(15)?,
        duration_ms: row.try_get(16)?,
        parent_event_id: row.try_get(17)?,
    })
}
