//! From the start of a service to its end: configuration, listening, serving, and an orderly shutdown.
//!
//! What must hold: whoever stops a service waits a few seconds before it kills (systemd and the tool: 5 s or more), so
//! [`DRAIN`] and [`FLUSH`] together stay below that.

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::audit::AuditClient;
use crate::extract::BodyLimit;
use crate::routes::{self, Readiness};
use crate::{Config, ConfigError, Environment};

/// How long accepted requests may take after SIGTERM.
const DRAIN: Duration = Duration::from_secs(3);

/// How long all shutdown hooks together may take after that.
const FLUSH: Duration = Duration::from_millis(1500);

/// How much of [`FLUSH`] the audit log gets at most: the hook itself must end before it is given up.
const AUDIT_FLUSH: Duration = Duration::from_millis(1400);

/// The exit code for a missing or wrong variable.
const CONFIG_EXIT: u8 = 2;

type Hook = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// A service ready to be served: its routes and what goes with them.
pub struct App {
    api: Router,
    readiness: Readiness,
    registry: Registry,
    body_limit: BodyLimit,
    hooks: Vec<Hook>,
    audit: Option<AuditClient>,
}

impl App {
    /// A service with these routes, which are served under `/api/v1`, behind the token.
    pub fn new(api: Router) -> App {
        App {
            api,
            readiness: Box::new(|| Box::pin(async { Ok(()) })),
            registry: Registry::default(),
            body_limit: BodyLimit::DEFAULT,
            hooks: Vec::new(),
            audit: None,
        }
    }

    /// What `/readyz` asks: `Ok` when the service can do its work, else the reason, as in `database_unreachable`.
    pub fn readiness<F, R>(self, check: F) -> App
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        App { readiness: Box::new(move || Box::pin(check())), ..self }
    }

    /// The metrics that `/metrics` shows besides the kit's own.
    pub fn registry(self, registry: Registry) -> App {
        App { registry, ..self }
    }

    /// The largest request body in bytes; 1 MiB otherwise.
    pub fn body_limit(self, bytes: usize) -> App {
        App { body_limit: BodyLimit(bytes), ..self }
    }

    /// The audit log of the service: it is ready when DataStorage is, and sends its last events after all other hooks.
    pub fn audit(self, audit: AuditClient) -> App {
        let probe = audit.clone();
        let check = move || {
            let audit = probe.clone();
            async move { audit.ready().await }
        };
        App { audit: Some(audit), ..self.readiness(check) }
    }

    /// Runs `hook` at shutdown, after the last request was answered; hooks run in the order in which they were added. `what` is
    /// for the log when there is no time left for it.
    pub fn on_shutdown(mut self, what: &'static str, hook: impl Future<Output = ()> + Send + 'static) -> App {
        self.hooks.push((what, Box::pin(hook)));
        self
    }

    /// The whole router, for tests that need no socket.
    pub fn into_router(self, config: &Config) -> Router {
        self.split(config, Arc::default()).0
    }

    fn split(self, config: &Config, shutting_down: Arc<AtomicBool>) -> (Router, Vec<Hook>) {
        let App { api, readiness, registry, body_limit, mut hooks, audit } = self;
        if let Some(audit) = audit {
            hooks.push(("send the last audit events", Box::pin(audit.close(AUDIT_FLUSH))));
        }
        (routes::whole(config, api, readiness, registry, body_limit, shutting_down), hooks)
    }
}

/// A whole service, from `main` to its exit code: reads the configuration, makes the [`App`], serves it until SIGTERM or SIGINT.
///
/// The exit code is 0 after an orderly shutdown, 2 when a variable (or what it names) is missing or wrong, which is any error of
/// `build` that holds a [`ConfigError`], and 1 for every other reason.
pub fn run<F>(service: &'static str, version: &'static str, build: F) -> ExitCode
where
    F: AsyncFnOnce(&Environment) -> anyhow::Result<App>,
{
    match start(service, version, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::log!("{service}: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<ConfigError>()) { CONFIG_EXIT } else { 1 }
}

fn start<F>(service: &'static str, version: &'static str, build: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&Environment) -> anyhow::Result<App>,
{
    let environment = Environment::of_process();
    let config = Config::from_environment(service, version, &environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the threads that serve requests")?;
    let result = runtime.block_on(async {
        let stop = stop_signal()?;
        let listener = listen(&config).await?;
        tokio::pin!(stop);
        // A service that waits for something at its start must still be stoppable.
        let app = tokio::select! {
            app = build(&environment) => app?,
            () = &mut stop => return Ok(()),
        };
        serve(listener, &config, app, stop).await
    });
    // A request that outlived its time may still hold a thread; it must not hold the process.
    runtime.shutdown_background();
    result
}

/// Serves until `stop`; then takes no more requests, finishes those that it has (3 s at most) and runs the shutdown hooks
/// (1.5 s at most).
///
/// # Errors
///
/// If the listener's address cannot be read.
pub async fn serve(
    listener: TcpListener,
    config: &Config,
    app: App,
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let service = config.identity.service;
    let shutting_down = Arc::new(AtomicBool::new(false));
    let (router, hooks) = app.split(config, Arc::clone(&shutting_down));
    let address = listener.local_addr().context("cannot read the address of the listening socket")?;
    crate::log!("{service}: listening on {address}, revision {}", config.identity.revision);

    let stop_accepting = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop_accepting);
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { stopped.notified().await });
    let mut server = tokio::spawn(server.into_future());
    tokio::select! {
        () = stop => {}
        ended = &mut server => anyhow::bail!("the server ended by itself: {ended:?}"),
    }
    shutting_down.store(true, Ordering::Relaxed);
    stop_accepting.notify_one();
    crate::log!("{service}: stopping");
    if tokio::time::timeout(DRAIN, &mut server).await.is_err() {
        server.abort();
        crate::log!("{service}: gave up on requests that took longer than {} s to finish", DRAIN.as_secs());
    }
    let deadline = tokio::time::Instant::now() + FLUSH;
    for (what, hook) in hooks {
        if tokio::time::timeout_at(deadline, hook).await.is_err() {
            crate::log!("{service}: no time left to {what}");
        }
    }
    crate::log!("{service}: stopped");
    Ok(())
}

/// The socket that was passed as fd 3 (sd_listen_fds(3)), else one bound to the configured address.
async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let passed = listenfd::ListenFd::from_env()
        .take_tcp_listener(0)
        .map_err(|error| ConfigError::new(format!("LISTEN_FDS passes no listening TCP socket as fd 3: {error}")))?;
    match passed {
        Some(listener) => {
            listener.set_nonblocking(true).context("cannot use the socket that was passed as fd 3")?;
            TcpListener::from_std(listener).context("cannot use the socket that was passed as fd 3")
        }
        None => TcpListener::bind(config.listen_addr)
            .await
            .with_context(|| format!("cannot listen on {}: set LISTEN_ADDR to a free address", config.listen_addr)),
    }
}

/// Waits for SIGTERM or SIGINT; the handlers are in place when this returns, not only when it is awaited.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot install a handler for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot install a handler for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_configuration_has_an_exit_code_of_its_own() {
        let wrong = anyhow::Error::new(ConfigError::new("the variable X is missing")).context("cannot start");
        assert_eq!(exit_code(&wrong), 2);
        assert_eq!(exit_code(&anyhow::anyhow!("cannot listen")), 1);
    }
}
