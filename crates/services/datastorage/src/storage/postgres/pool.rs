//! A few connections, made when they are needed and dropped at the first sign of trouble.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio_postgres::{Client, Config, NoTls};

use super::failure;
use crate::storage::{StoreError, pending};

/// The schema, version by version. A file that was released is never changed: another is added.
const MIGRATIONS: &[&str] = &[include_str!("../../../migrations/postgres/0001_events.sql")];

/// The advisory lock under which the schema is changed: a number that means nothing but must be the same everywhere.
const MIGRATION_LOCK: i64 = 0x0064_6174_6173_746f;

/// How many connections there are at most. PostgreSQL takes 100 unless told otherwise, and other instances want some.
const CONNECTIONS: usize = 8;

/// How long making a connection, or waiting for a free one, may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// How long a server may take to say that a connection still works.
const PROBE_LIMIT: Duration = Duration::from_millis(500);

/// How long one statement may take before the server ends it, in PostgreSQL's notation.
const STATEMENT_LIMIT: &str = "10s";

/// After how long without an acknowledgement a connection is given up, so that one to a host that vanished does not hang.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// The connections to one database.
pub(super) struct Pool {
    config: Config,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
    migrated: OnceCell<()>,
}

/// A connection for one request. Unless it is given back it is closed when dropped, and what it was doing is rolled back.
pub(super) struct Lease<'pool> {
    pool: &'pool Pool,
    client: Client,
    _permit: SemaphorePermit<'pool>,
}

impl Lease<'_> {
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Keeps the connection for the next request.
    pub(super) fn give_back(self) {
        if !self.pool.is_closed() {
            self.pool.idle().push(self.client);
        }
    }
}

impl Pool {
    pub(super) fn new(mut config: Config) -> Pool {
        config.application_name("datastorage").connect_timeout(CONNECT_LIMIT).tcp_user_timeout(SILENCE_LIMIT);
        Pool { config, idle: Mutex::default(), permits: Semaphore::new(CONNECTIONS), migrated: OnceCell::new() }
    }

    /// A connection that works, to a database whose schema is up to date.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let late = |_| StoreError::Unavailable(format!("no free connection within {CONNECT_LIMIT:?}"));
        let closed = |_| StoreError::Unavailable("it is being closed".to_owned());
        let permit =
            tokio::time::timeout(CONNECT_LIMIT, self.permits.acquire()).await.map_err(late)?.map_err(closed)?;
        loop {
            let idle = self.idle().pop();
            let client = match idle {
                Some(client) if works(&client).await => client,
                Some(_) => continue,
                None => self.connect().await?,
            };
            return Ok(Lease { pool: self, client, _permit: permit });
        }
    }

    /// Closes the connections that nobody uses; the others follow when their requests end.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle().clear();
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Client>> {
        // nothing can leave a list of connections half changed
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Client, StoreError> {
        // the limit of the configuration ends when the connection is made, not when the server has greeted
        let late = |_| StoreError::Unavailable(format!("no connection within {CONNECT_LIMIT:?}"));
        let connecting = tokio::time::timeout(CONNECT_LIMIT, self.config.connect(NoTls));
        let (mut client, connection) = connecting.await.map_err(late)?.map_err(failure)?;
        tokio::spawn(async move {
            // ends when the client is dropped; whoever uses the client learns of an error there
            drop(connection.await);
        });
        client.batch_execute(&format!("SET statement_timeout = '{STATEMENT_LIMIT}'")).await.map_err(failure)?;
        self.migrated.get_or_try_init(|| migrate(&mut client)).await?;
        Ok(client)
    }
}

/// Whether the server is still there: it may have gone since the connection was last used.
async fn works(client: &Client) -> bool {
    matches!(tokio::time::timeout(PROBE_LIMIT, client.check_connection()).await, Ok(Ok(())))
}

/// Brings the schema up to date. The lock is taken before the version is read, so that of two instances one waits and finds
/// nothing left to do; it ends with the transaction.
async fn migrate(client: &mut Client) -> Result<(), StoreError> {
    let transaction = client.transaction().await.map_err(failure)?;
    let run = async |sql: &str| transaction.batch_execute(sql).await.map_err(failure);
    run(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
    run("CREATE TABLE IF NOT EXISTS schema_migrations \
         (version bigint NOT NULL PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())")
    .await?;
    let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM schema_migrations", &[]).await;
    let version: i64 = row.map_err(failure)?.get(0);
    let pending = pending(MIGRATIONS, version).map_err(|error| StoreError::Failed(error.to_string()))?;
    for (number, migration) in (version + 1..).zip(pending) {
        run(migration).await?;
        run(&format!("INSERT INTO schema_migrations (version) VALUES ({number})")).await?;
    }
    transaction.commit().await.map_err(failure)
}
