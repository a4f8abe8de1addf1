//! DataStorage: the audit store. Events come in over HTTP, are kept in SQLite or PostgreSQL, and are read back by query.
//!
//! What must hold: an event that was answered 201 is on disk; a batch is stored whole or not at all; a request that is retried with the
//! same `Idempotency-Key` is stored once; both databases answer alike; an error names the field at fault.
//!
//! Where the contract leaves room, this store decides:
//!
//! - A page has 100 events unless the query says otherwise, at most 1000. `since` and `until` are inclusive.
//! - Fields of an event and parameters of a query that do not exist are refused: a misspelt one would be lost without a trace.
//! - Text for which the contract names no limit has at most 255 characters; required text is not empty. `severity` is any text.
//!   NUL is refused anywhere, since PostgreSQL cannot store it.
//! - A writer may choose the `event_id`, a UUID of version 7, so that a later event of the same batch can name it as parent. An id that
//!   is stored already is a 409.
//! - Times are kept in microseconds and read back in UTC.
//! - `detail_key` and `detail_value` compare one member of `event_data`: a string as it is, anything else as its JSON.
//! - A retry is the same when its route and the bytes of its body are; keys are kept as long as the events.
//!
//! Configuration beyond that of every service: `DATABASE_URL`, `sqlite:///absolute/path.db` or `postgres://user@host/name`.

mod api;
pub mod event;
mod metrics;
pub mod query;
pub mod storage;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use service_kit::{App, Clock, ConfigError, Environment};
use storage::{DatabaseUrl, Storage};

pub use api::BODY_LIMIT;

/// How long `/readyz` waits for the database.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// The service as its environment describes it.
///
/// # Errors
///
/// If `DATABASE_URL` is missing or wrong, or the database cannot be opened (see [`storage::open`]).
pub async fn build(environment: &Environment) -> anyhow::Result<App> {
    const NAME: &str = "DATABASE_URL";
    let url = environment.required(NAME, "sqlite:///absolute/path.db or postgres://user@host/name")?;
    let url: DatabaseUrl =
        url.parse().map_err(|error| ConfigError::new(format!("the variable {NAME} is wrong: {error}")))?;
    let storage = storage::open(url).await.with_context(|| format!("cannot use the database that {NAME} names"))?;
    Ok(app(storage, Clock::system()))
}

/// The service on a storage that is open. The clock decides which timestamps are too old or ahead, and what `24h` ago is.
pub fn app(storage: Arc<dyn Storage>, clock: Clock) -> App {
    let (metrics, registry) = metrics::Metrics::new();
    let (pinged, closed) = (Arc::clone(&storage), Arc::clone(&storage));
    App::new(api::routes(storage, clock, metrics))
        .registry(registry)
        .body_limit(BODY_LIMIT)
        .readiness(move || {
            let storage = Arc::clone(&pinged);
            async move {
                match tokio::time::timeout(READY_LIMIT, storage.ping()).await {
                    Ok(Ok(())) => Ok(()),
                    _ => Err("database_unreachable".to_owned()),
                }
            }
        })
        .on_shutdown("close the database", async move {
            if let Err(error) = closed.close().await {
                service_kit::log!("datastorage: {error}");
            }
        })
}
