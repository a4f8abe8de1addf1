//! Audit events to DataStorage, through one buffered writer per service.
//!
//! What must hold: [`AuditClient::record`] never blocks and never fails a request; a batch is stored once however often it is
//! sent (its `Idempotency-Key` stays the same); memory is bounded; every event that is lost is counted in
//! `audit_events_lost_total` and logged; what is buffered at shutdown is sent within a bound.
//!
//! The writer is a thread of its own with a blocking client: it keeps its deadlines when the runtime is busy, and needs no
//! async HTTP client, which would be the largest dependency of the services.

mod event;
mod queue;
mod readiness;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prometheus_client::registry::Registry;

pub use event::{Event, Outcome};

use crate::config::token;
use crate::{ConfigError, Environment, Secret};
use queue::Queue;
use readiness::Probe;

/// Where audit events go and how. The numbers are those of the original's client where nothing else is said
/// (kubernaut `internal/config/datastorage.go`).
#[derive(Clone, Debug)]
pub struct Settings {
    /// DataStorage's address without a path, `http://…`.
    pub url: String,
    /// DataStorage's bearer token.
    pub token: Secret,
    /// How many events may wait; 10000. Beyond that new ones are lost.
    pub capacity: usize,
    /// How many events a request carries at most; 50 (DataStorage takes 500).
    pub batch_size: usize,
    /// How long an event waits for others to share its request; 100 ms.
    pub flush_interval: Duration,
    /// How often a batch is sent again; 10, which with the back-off outlives a restart of DataStorage (the original's 3 do not).
    pub max_retries: u32,
    /// The wait before the first retry, doubled for each further one, plus up to half of it at random; 100 ms.
    pub backoff: Duration,
    /// The longest wait before a retry; 2 s.
    pub max_backoff: Duration,
    /// How long one request may take, in whole seconds, at least 1 s; 10 s.
    pub timeout: Duration,
}

impl Settings {
    /// The usual settings for a DataStorage.
    pub fn new(url: impl Into<String>, token: Secret) -> Settings {
        Settings {
            url: url.into().trim_end_matches('/').to_owned(),
            token,
            capacity: 10_000,
            batch_size: 50,
            flush_interval: Duration::from_millis(100),
            max_retries: 10,
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
        }
    }

    /// The usual settings for the DataStorage that `DATASTORAGE_URL` and `DATASTORAGE_TOKEN` name.
    ///
    /// # Errors
    ///
    /// If one of them is missing, or the address is not an `http://` one.
    pub fn from_environment(environment: &Environment) -> Result<Settings, ConfigError> {
        let what = "the address of DataStorage, such as http://127.0.0.1:8080";
        let url = environment.required("DATASTORAGE_URL", what)?;
        if url.strip_prefix("http://").is_none_or(|rest| rest.is_empty() || rest.contains(['?', '#', '@'])) {
            return Err(ConfigError::new(format!("the variable DATASTORAGE_URL is not an address: set it to {what}")));
        }
        Ok(Settings::new(url, token(environment, "DATASTORAGE_TOKEN", "the bearer token of DataStorage")?))
    }
}

/// The buffered writer of audit events. Cheap to clone; clones share the buffer.
#[derive(Clone)]
pub struct AuditClient {
    queue: Arc<Queue>,
    probe: Arc<Probe>,
}

impl AuditClient {
    /// Starts the writer for `service`, which becomes the actor of its events; its metrics go to `registry`.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(service: &'static str, settings: Settings, registry: &mut Registry) -> anyhow::Result<AuditClient> {
        let client = AuditClient::recording(service, settings.capacity);
        client.queue.metrics().register(registry);
        let client = AuditClient { probe: Arc::new(Probe::new(&settings.url)), ..client };
        let queue = Arc::clone(&client.queue);
        std::thread::Builder::new()
            .name("audit-writer".to_owned())
            .spawn(move || writer::run(&queue, &settings))
            .context("cannot start the thread that writes audit events")?;
        Ok(client)
    }

    /// A client that sends nothing and keeps at most `capacity` events, for tests of what a service records.
    pub fn recording(service: &'static str, capacity: usize) -> AuditClient {
        AuditClient { queue: Arc::new(Queue::new(service, capacity)), probe: Arc::new(Probe::always_ready()) }
    }

    /// Hands an event to the writer. Never blocks: if the buffer is full, the event is lost and counted.
    pub fn record(&self, event: Event) {
        self.queue.push(event);
    }

    /// The events that wait to be sent, oldest first.
    pub fn buffered(&self) -> Vec<Event> {
        self.queue.waiting()
    }

    /// Whether DataStorage can be reached and is ready; the answer is at most half a second old.
    ///
    /// # Errors
    ///
    /// The reason why not, as in `datastorage_unreachable`.
    pub async fn ready(&self) -> Result<(), String> {
        self.probe.ready().await
    }

    /// Sends what is buffered and ends the writer, within `bound`; what is left then is lost and counted.
    /// [`App::audit`](crate::App::audit) does it at shutdown.
    pub async fn close(self, bound: Duration) {
        let queue = self.queue;
        let closed = tokio::task::spawn_blocking(move || queue.close(bound)).await;
        if let Err(error) = closed {
            crate::log!("audit: the flush at shutdown failed: {error}");
        }
    }
}
