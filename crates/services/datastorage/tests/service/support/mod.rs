//! Databases, and the service on them: in this process, or as the real binary.

mod postgres;
mod process;

use std::ops::Deref;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::Utc;
use e2e_suite::{Client, eventually};
use serde_json::{Value, json};
use service_kit::{Clock, Config, Environment};
use tokio::sync::oneshot;

pub(crate) use postgres::Cluster;
pub(crate) use process::Process;

/// The token of every service here.
pub(crate) const TOKEN: &str = "correct-horse-battery";

/// The routes.
pub(crate) const EVENTS: &str = "/api/v1/audit/events";
pub(crate) const BATCH: &str = "/api/v1/audit/events/batch";

/// How long anything may take that is only waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// An empty database of its own.
pub(crate) struct Database {
    pub(crate) url: String,
    // removed when dropped
    directory: Option<PathBuf>,
}

impl Database {
    pub(crate) fn sqlite() -> Database {
        let directory = std::env::temp_dir().join(e2e_suite::unique("datastorage-test"));
        std::fs::create_dir(&directory).unwrap();
        Database { url: format!("sqlite://{}/audit.db", directory.display()), directory: Some(directory) }
    }

    /// None without PostgreSQL.
    pub(crate) fn postgres() -> Option<Database> {
        Cluster::shared().map(|cluster| Database { url: cluster.create_database(), directory: None })
    }

    /// The file of a SQLite database.
    pub(crate) fn file(&self) -> PathBuf {
        self.url.strip_prefix("sqlite://").expect("a SQLite database").into()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            std::fs::remove_dir_all(directory).unwrap();
        }
    }
}

/// The service in this process, on a socket of its own; stopped in good order when dropped.
pub(crate) struct Server {
    client: Client,
    database: Option<Database>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(database: &Database) -> Server {
        Server::start_at(database, Clock::system())
    }

    /// On a database that is removed with it.
    pub(crate) fn start_owned(database: Database) -> Server {
        let mut server = Server::start(&database);
        server.database = Some(database);
        server
    }

    pub(crate) fn start_at(database: &Database, clock: Clock) -> Server {
        let (stop, stopped) = oneshot::channel::<()>();
        let (send_address, address) = std::sync::mpsc::channel();
        let url = database.url.parse().unwrap();
        let thread = std::thread::spawn(move || {
            let config =
                Config::from_environment("datastorage", "0", &Environment::of(&[("API_TOKEN", TOKEN)])).unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let app = datastorage::app(datastorage::storage::open(url).await.unwrap(), clock);
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                send_address.send(listener.local_addr().unwrap()).unwrap();
                service_kit::serve(listener, &config, app, async { drop(stopped.await) }).await.unwrap();
            });
        });
        let address = address.recv().expect("the service starts");
        let client = Client::new(&format!("http://{address}"), Some(TOKEN));
        Server { client, database: None, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the service panicked");
        // only now: the service must not see its file go
        drop(self.database.take());
    }
}

impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A valid event of now.
pub(crate) fn event(correlation_id: &str) -> Value {
    json!({
        "version": "1.0",
        "event_type": "gateway.signal.received",
        "event_timestamp": Utc::now().to_rfc3339(),
        "event_category": "gateway",
        "event_action": "received",
        "event_outcome": "success",
        "correlation_id": correlation_id,
        "event_data": {},
    })
}

/// How many events there are of a correlation id.
pub(crate) fn total(client: &Client, correlation_id: &str) -> u64 {
    let page = client.get(&format!("{EVENTS}?limit=1&correlation_id={correlation_id}")).expect_status(200).json();
    page["pagination"]["total"].as_u64().unwrap()
}

/// Waits until the service is ready, or is not for this reason.
pub(crate) fn eventually_ready(client: &Client, reason: Option<&str>) {
    let expected = match reason {
        None => (200, json!({"status": "ready"})),
        Some(reason) => (503, json!({"status": "not_ready", "reason": reason})),
    };
    eventually(&format!("readiness {expected:?}"), LIMIT, || {
        let answer = client.get("/readyz");
        let answer = (answer.status, answer.json());
        if answer == expected { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}
