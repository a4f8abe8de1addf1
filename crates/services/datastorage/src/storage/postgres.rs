//! PostgreSQL: shared by any number of instances, and away now and then.
//!
//! Nothing here waits without a limit. A connection is used by one request at a time and thrown away after any error, so that no request
//! meets the remains of another. The schema is brought up to date on the first connection that succeeds, which may be long after
//! the start: a service that starts before its database is not an error, and tells in its log what it waits for.

mod pool;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, IsolationLevel};
use uuid::Uuid;

use super::{Answer, Outcome, Page, Storage, StoreError, Used, Write, outer_parents, replayed};
use crate::event::Event;
use crate::query::Query;
use pool::Pool;

/// How often a write is tried when another instance stored the same event id at the same moment. The second look finds the event.
const ATTEMPTS: usize = 3;

/// The pause between two tries to reach a database that was away at the start.
const PAUSE: Duration = Duration::from_millis(250);

/// Events in a PostgreSQL database.
pub(super) struct Postgres {
    pool: Arc<Pool>,
}

impl Postgres {
    pub(super) async fn open(config: Config) -> anyhow::Result<Postgres> {
        let pool = Arc::new(Pool::new(config));
        match pool.lease().await {
            Ok(connection) => connection.give_back(),
            Err(StoreError::Unavailable(why)) => {
                service_kit::log!("datastorage: not ready until the database is there: {why}");
                tokio::spawn(wait(Arc::clone(&pool), why));
            }
            Err(error) => anyhow::bail!("cannot prepare the database: {error}"),
        }
        Ok(Postgres { pool })
    }

    async fn write(&self, write: &Write) -> Result<Outcome, StoreError> {
        for _ in 1..ATTEMPTS {
            match self.try_write(write).await {
                Err(WriteError::LostRace) => {}
                Err(WriteError::Store(error)) => return Err(error),
                Ok(outcome) => return Ok(outcome),
            }
        }
        self.try_write(write).await.map_err(|error| match error {
            WriteError::Store(error) => error,
            WriteError::LostRace => StoreError::Failed("an event id is taken and yet not stored".to_owned()),
        })
    }

    async fn try_write(&self, write: &Write) -> Result<Outcome, WriteError> {
        let mut connection = self.pool.lease().await?;
        let transaction = connection.client().transaction().await?;
        if let Some(key) = &write.key
            // waits for another transaction that has just taken the same key
            && !rows::take_key(&transaction, key).await?
            && let Some(used) = rows::used(&transaction, &key.key).await?
        {
            let outcome = replayed(used, &key.used.fingerprint);
            transaction.rollback().await?;
            connection.give_back();
            return Ok(outcome?);
        }
        let refused = match refusal(&transaction, write).await? {
            Some(refused) => Some(refused),
            None => {
                rows::insert(&transaction, &write.events).await?;
                None
            }
        };
        match refused {
            Some(refused) => {
                transaction.rollback().await?;
                connection.give_back();
                Err(refused.into())
            }
            None => {
                transaction.commit().await?;
                connection.give_back();
                Ok(Outcome::Stored)
            }
        }
    }

    async fn page(&self, query: &Query) -> Result<Page, StoreError> {
        let mut connection = self.pool.lease().await?;
        // one snapshot, so that the total is that of the moment of the page
        let builder =
            connection.client().build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let transaction = builder.start().await.map_err(failure)?;
        let page = rows::find(&transaction, query).await.map_err(failure)?;
        transaction.commit().await.map_err(failure)?;
        connection.give_back();
        Ok(page)
    }
}

/// Tries until the database is there and its schema up to date, and tells what it waits for whenever that changes: a database may
/// first be away and then refuse the password. Requests would bring the schema up to date too, but they give up early (a probe after
/// a second), and a change of the schema that takes longer would never come to its end. How long is too long is for those to say who
/// ask whether the service is ready.
async fn wait(pool: Arc<Pool>, mut why: String) {
    loop {
        tokio::time::sleep(PAUSE).await;
        if pool.is_closed() {
            return;
        }
        match pool.lease().await {
            Ok(connection) => {
                connection.give_back();
                service_kit::log!("datastorage: the database is there");
                return;
            }
            Err(StoreError::Unavailable(now) | StoreError::Failed(now)) if now == why => {}
            Err(StoreError::Unavailable(now) | StoreError::Failed(now)) => {
                service_kit::log!("datastorage: still not ready: {now}");
                why = now;
            }
            Err(error) => service_kit::log!("datastorage: still not ready: {error}"),
        }
    }
}

/// Why a write whose key is free must not be stored.
async fn refusal(
    transaction: &tokio_postgres::Transaction<'_>,
    write: &Write,
) -> Result<Option<StoreError>, tokio_postgres::Error> {
    let parents = outer_parents(&write.events);
    let asked: Vec<Uuid> = parents.iter().map(|(_, parent)| *parent).collect();
    let stored = rows::stored(transaction, &asked).await?;
    if let Some((index, parent)) = parents.into_iter().find(|(_, parent)| !stored.contains(parent)) {
        return Ok(Some(StoreError::UnknownParent(index, parent)));
    }
    let ids: Vec<Uuid> = write.events.iter().map(|event| event.event_id).collect();
    let taken = rows::stored(transaction, &ids).await?;
    let index = ids.iter().position(|id| taken.contains(id));
    Ok(index.map(|index| StoreError::Duplicate(index, ids[index])))
}

enum WriteError {
    Store(StoreError),
    /// Another transaction stored an event of the same id since this one looked.
    LostRace,
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> WriteError {
        WriteError::Store(error)
    }
}

impl From<tokio_postgres::Error> for WriteError {
    fn from(error: tokio_postgres::Error) -> WriteError {
        match error.code() {
            Some(&SqlState::UNIQUE_VIOLATION) => WriteError::LostRace,
            _ => WriteError::Store(failure(error)),
        }
    }
}

impl Storage for Postgres {
    fn store(&self, write: Write) -> Answer<'_, Outcome> {
        Box::pin(async move { self.write(&write).await })
    }

    fn replay(&self, key: String) -> Answer<'_, Option<Used>> {
        Box::pin(async move {
            let mut connection = self.pool.lease().await?;
            let used = rows::used(connection.client(), &key).await.map_err(failure)?;
            connection.give_back();
            Ok(used)
        })
    }

    fn event(&self, id: Uuid) -> Answer<'_, Option<Event>> {
        Box::pin(async move {
            let mut connection = self.pool.lease().await?;
            let event = rows::event(connection.client(), id).await.map_err(failure)?;
            connection.give_back();
            Ok(event)
        })
    }

    fn find(&self, query: Query) -> Answer<'_, Page> {
        Box::pin(async move { self.page(&query).await })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut connection = self.pool.lease().await?;
            rows::writable(connection.client()).await.map_err(failure)?;
            connection.give_back();
            Ok(())
        })
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.pool.close();
            Ok(())
        })
    }
}

/// An error of a connection, or one by which the server says that it cannot serve now (classes 08, 53, 57 of the SQLSTATE codes, a
/// standby, a deadlock), may be gone at the next try; any other stays.
fn failure(error: tokio_postgres::Error) -> StoreError {
    let Some(database) = error.as_db_error() else { return StoreError::Unavailable(describe(&error)) };
    let code = database.code().code();
    let passing = ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
        || *database.code() == SqlState::READ_ONLY_SQL_TRANSACTION;
    let text = format!("{} ({code})", database.message());
    if passing { StoreError::Unavailable(text) } else { StoreError::Failed(text) }
}

/// The error with its causes; its own text alone says only `error connecting to server`.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
