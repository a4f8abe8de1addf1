//! Where events are kept: one interface, two databases.
//!
//! Both keep the same promises, and the same tests hold them to it: what [`Storage::store`] answered is on disk; a write is stored whole
//! or not at all; a key is used once; a page and its total are of one moment.

mod postgres;
mod sqlite;

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use uuid::Uuid;

use crate::event::Event;
use crate::query::Query;

/// What a method of [`Storage`] returns: boxed, so that the database can be chosen at run time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A database of audit events.
pub trait Storage: Send + Sync {
    /// Stores all events of a write, or none. When this returns, they survive the loss of power.
    fn store(&self, write: Write) -> Answer<'_, Outcome>;

    /// What an idempotency key was used for, if it was.
    fn replay(&self, key: String) -> Answer<'_, Option<Used>>;

    /// One event by its id.
    fn event(&self, id: Uuid) -> Answer<'_, Option<Event>>;

    /// The events that match, newest first: by time, then by id.
    fn find(&self, query: Query) -> Answer<'_, Page>;

    /// Whether a write would succeed now.
    fn ping(&self) -> Answer<'_, ()>;

    /// Finishes what was accepted and lets go of the database.
    fn close(&self) -> Answer<'_, ()>;
}

/// Events to be stored together.
#[derive(Clone, Debug)]
pub struct Write {
    /// The events, in the order of the request.
    pub events: Vec<Event>,
    /// The idempotency key that the writer gave.
    pub key: Option<Key>,
}

/// An idempotency key, to be used up by a write.
#[derive(Clone, Debug)]
pub struct Key {
    /// The key as the client gave it.
    pub key: String,
    /// What it is used for.
    pub used: Used,
}

/// What an idempotency key was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The digest of the request.
    pub fingerprint: String,
    /// The body of the answer to it.
    pub response: String,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its events are stored.
    Stored,
    /// They were stored earlier by the same request, which was answered with this body.
    Replayed(String),
}

/// A page of events.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events of the page.
    pub events: Vec<Event>,
    /// How many events match in all.
    pub total: i64,
}

/// Why the storage did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The event at this index names a parent that is not stored.
    UnknownParent(usize, Uuid),
    /// The event at this index has the id of a stored event.
    Duplicate(usize, Uuid),
    /// The idempotency key was used for another request.
    KeyReused,
    /// The database is away, busy or full: the same request may succeed later.
    Unavailable(String),
    /// The database refused for a reason that asking again does not change.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::UnknownParent(_, id) => write!(f, "parent_event_id {id} is not a stored event"),
            StoreError::Duplicate(_, id) => write!(f, "an event with event_id {id} is stored already"),
            StoreError::KeyReused => write!(f, "the idempotency key was used for another request"),
            StoreError::Unavailable(why) => write!(f, "the database is unavailable: {why}"),
            StoreError::Failed(why) => write!(f, "the database refused: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Which database, read from a URL: `sqlite:///absolute/path.db` or `postgres://user@host/name`.
pub enum DatabaseUrl {
    /// A file, made if it does not exist.
    Sqlite(PathBuf),
    /// A PostgreSQL database that exists.
    Postgres(Box<tokio_postgres::Config>),
}

impl std::str::FromStr for DatabaseUrl {
    type Err = anyhow::Error;

    // the URL may hold a password: messages say what is wrong with it and do not show it
    fn from_str(url: &str) -> anyhow::Result<DatabaseUrl> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            anyhow::ensure!(
                path.starts_with('/') && !path.contains(['?', '#', '%']),
                "a SQLite URL is `sqlite://` and an absolute path without `?`, `#` or `%`, such as sqlite:///data/audit.db"
            );
            return Ok(DatabaseUrl::Sqlite(path.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let config = url.parse().map_err(|error| anyhow::anyhow!("not a PostgreSQL URL: {error}"))?;
            return Ok(DatabaseUrl::Postgres(Box::new(config)));
        }
        anyhow::bail!("a database URL begins with `sqlite:///` or `postgres://`")
    }
}

/// Opens the database and brings its schema up to date. A PostgreSQL that is away is no error: the schema is then brought up to date
/// as soon as it is back, before anything else.
///
/// # Errors
///
/// If a file cannot be opened or written, or the schema was made by a newer version of this program.
pub async fn open(url: DatabaseUrl) -> anyhow::Result<Arc<dyn Storage>> {
    Ok(match url {
        DatabaseUrl::Sqlite(path) => Arc::new(sqlite::Sqlite::open(path).await?),
        DatabaseUrl::Postgres(config) => Arc::new(postgres::Postgres::open(*config).await?),
    })
}

/// The columns of a stored event, in the order in which both databases write and read them.
const COLUMNS: &str = "event_id, event_timestamp, version, event_type, event_category, event_action, event_outcome, \
                       correlation_id, event_data, actor_type, actor_id, resource_type, resource_id, namespace, cluster_id, \
                       severity, duration_ms, parent_event_id";

/// The parents that must be stored already, with the index of the event that names each: all but those that come earlier in the
/// write.
fn outer_parents(events: &[Event]) -> Vec<(usize, Uuid)> {
    let mut earlier = HashSet::new();
    let mut parents = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if let Some(parent) = event.parent_event_id
            && !earlier.contains(&parent)
        {
            parents.push((index, parent));
        }
        earlier.insert(event.event_id);
    }
    parents
}

/// What a key that is taken means for a request with this fingerprint.
fn replayed(used: Used, fingerprint: &str) -> Result<Outcome, StoreError> {
    if used.fingerprint == fingerprint { Ok(Outcome::Replayed(used.response)) } else { Err(StoreError::KeyReused) }
}

/// What is left of the migrations for a schema of this version.
fn pending(migrations: &'static [&'static str], version: i64) -> anyhow::Result<&'static [&'static str]> {
    usize::try_from(version).ok().and_then(|version| migrations.get(version..)).ok_or_else(|| {
        anyhow::anyhow!(
            "the database has schema version {version}, this program knows {}: use a newer one or another database",
            migrations.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_database() {
        let sqlite =
            |url: &str| matches!(url.parse(), Ok(DatabaseUrl::Sqlite(path)) if path.as_os_str() == "/data/a b.db");
        assert!(sqlite("sqlite:///data/a b.db"));
        assert!(matches!("postgres://u:secret@db:5433/audit".parse(), Ok(DatabaseUrl::Postgres(_))));
        for bad in [
            "",
            "sqlite://audit.db",
            "sqlite::memory:",
            "sqlite:///a?mode=ro",
            "mysql://h/d",
            "postgres://u:secret@h:port/d",
        ] {
            let error = bad.parse::<DatabaseUrl>().err().unwrap().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_schema_from_the_future_is_refused() {
        assert_eq!(pending(&["a", "b"], 0).unwrap(), ["a", "b"]);
        assert_eq!(pending(&["a", "b"], 2).unwrap(), [""; 0]);
        let error = pending(&["a", "b"], 3).unwrap_err().to_string();
        assert!(error.contains("schema version 3, this program knows 2"), "{error}");
    }
}
