//! SQLite: a file, one writer, readers beside it.
//!
//! WAL lets readers go on while a write is under way; `synchronous=FULL` makes a commit wait for the disk, since what was answered 201 must
//! survive the loss of power, which WAL's usual `NORMAL` does not promise. All writes go through one thread ([`writer`]), which
//! commits together whatever has arrived meanwhile: many clients share the price of one `fsync`.

mod rows;
mod writer;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Answer, Outcome, Page, Storage, StoreError, Used, Write};
use crate::event::Event;
use crate::query::Query;
use writer::Writer;

/// The schema, version by version. A file that was released is never changed: another is added.
const MIGRATIONS: &[&str] = &[include_str!("../../migrations/sqlite/0001_events.sql")];

/// How long SQLite itself waits for another process that has the file locked.
const BUSY: Duration = Duration::from_secs(5);

/// How often a start is tried again: turning WAL on does not always honour the wait above when two instances do it at once.
const START_ATTEMPTS: u32 = 50;

/// How many queries run at once. More would compete for the processor, not for the disk.
const READERS: usize = 4;

/// Events in a SQLite file.
pub(super) struct Sqlite {
    writer: Writer,
    readers: Arc<Readers>,
}

struct Readers {
    file: File,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// The file that was opened. If it is moved away or replaced, SQLite goes on writing to what nobody will find again.
#[derive(Clone)]
struct File {
    path: PathBuf,
    identity: (u64, u64),
}

impl File {
    fn of(path: &Path) -> std::io::Result<File> {
        let metadata = std::fs::metadata(path)?;
        Ok(File { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
    }

    fn check(&self) -> Result<(), StoreError> {
        match File::of(&self.path) {
            Ok(file) if file.identity == self.identity => Ok(()),
            Ok(_) => Err(StoreError::Unavailable(format!("{} was replaced", self.path.display()))),
            Err(error) => Err(StoreError::Unavailable(format!("{}: {error}", self.path.display()))),
        }
    }
}

impl Sqlite {
    pub(super) async fn open(path: PathBuf) -> anyhow::Result<Sqlite> {
        let what = format!("cannot open the database {}", path.display());
        let mut attempt = 1;
        loop {
            let path = path.clone();
            match tokio::task::spawn_blocking(move || Sqlite::open_now(&path)).await? {
                Err(error) if attempt < START_ATTEMPTS && is_busy(&error) => {
                    attempt += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => return result.context(what),
            }
        }
    }

    fn open_now(path: &Path) -> anyhow::Result<Sqlite> {
        let mut connection = connect_for_writing(path)?;
        migrate(&mut connection)?;
        let file = File::of(path)?;
        let readers = Readers { file: file.clone(), idle: Mutex::default(), permits: Semaphore::new(READERS) };
        Ok(Sqlite { writer: Writer::start(connection, file)?, readers: Arc::new(readers) })
    }

    /// Runs a query on a connection for reading, on a thread where it may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let _permit = self.readers.permits.acquire().await.map_err(|_| closed())?;
        let task = tokio::task::spawn_blocking(move || {
            readers.file.check()?;
            let idle = readers.idle().pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => connect(&readers.file.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failure)?,
            };
            let result = query(&mut connection).map_err(failure)?;
            // after an error the connection is closed instead, and the next query opens a fresh one
            readers.idle().push(connection);
            Ok(result)
        });
        task.await.map_err(|error| StoreError::Failed(error.to_string()))?
    }
}

impl Readers {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // nothing can leave a list of connections half changed
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Sqlite {
    fn store(&self, write: Write) -> Answer<'_, Outcome> {
        Box::pin(self.writer.store(write))
    }

    fn replay(&self, key: String) -> Answer<'_, Option<Used>> {
        Box::pin(self.read(move |connection| rows::used(connection, &key)))
    }

    fn event(&self, id: Uuid) -> Answer<'_, Option<Event>> {
        Box::pin(self.read(move |connection| rows::event(connection, id)))
    }

    fn find(&self, query: Query) -> Answer<'_, Page> {
        Box::pin(self.read(move |connection| {
            // one transaction, so that the total is that of the moment of the page
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            rows::find(&transaction, &query)
        }))
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(self.writer.ping())
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // readers first: the last connection to close folds the log into the file
            self.readers.permits.close();
            self.readers.idle().clear();
            self.writer.close().await
        })
    }
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // PostgreSQL's `->>`: a string as it is, anything else as its JSON, null as NULL. SQLite's own `->>` takes the name for a path
    // and shows true as 1.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("json_member", 2, flags, |context| {
        let data: serde_json::Map<String, serde_json::Value> = serde_json::from_str(context.get_raw(0).as_str()?)
            .map_err(|error| rusqlite::Error::UserFunctionError(error.into()))?;
        Ok(match data.get(context.get_raw(1).as_str()?) {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        })
    })?;
    Ok(connection)
}

fn connect_for_writing(path: &Path) -> anyhow::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    anyhow::ensure!(mode == "wal", "the file system does not allow write-ahead logging (journal mode is {mode})");
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Brings the schema up to date. The lock is taken before the version is read, so that of two instances one waits and finds
/// nothing left to do.
fn migrate(connection: &mut Connection) -> anyhow::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER NOT NULL PRIMARY KEY, applied_at TEXT NOT NULL) STRICT",
    )?;
    let version: Option<i64> =
        transaction.query_row("SELECT max(version) FROM schema_migrations", [], |row| row.get(0)).optional()?.flatten();
    let version = version.unwrap_or(0);
    for (number, migration) in (version + 1..).zip(super::pending(MIGRATIONS, version)?) {
        transaction.execute_batch(migration)?;
        transaction.execute("INSERT INTO schema_migrations VALUES (?1, datetime('now'))", [number])?;
    }
    transaction.commit()?;
    Ok(())
}

fn is_busy(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref().and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is being closed".to_owned())
}

fn failure(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly,
        ) => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No test can cut the power: this one sees to it that a commit waits for the disk.
    #[test]
    fn commits_wait_for_the_disk() {
        const FULL: i64 = 2;
        let directory = std::env::temp_dir().join(format!("datastorage-unit-{}", Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let connection = connect_for_writing(&directory.join("audit.db")).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((pragma("synchronous"), pragma("foreign_keys")), (FULL, 1));
        drop(connection);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
