//! What the services under test share: configuration, serving, problems, authentication, and the audit client.
//!
//! A service is a router of its own routes plus [`run`]:
//!
//! ```no_run
//! use axum::routing::get;
//! use service_kit::{App, run};
//!
//! fn main() -> std::process::ExitCode {
//!     run("greeter", env!("CARGO_PKG_VERSION"), async |_environment| {
//!         Ok(App::new(axum::Router::new().route("/greeting", get(async || "hello"))))
//!     })
//! }
//! ```
//!
//! What must hold: a service says in one sentence why it does not start; nothing under `/api` is answered without the token;
//! every error is an RFC 9457 problem; a request never waits for the audit log; what was accepted is finished at SIGTERM.

pub mod audit;
mod clock;
mod config;
pub mod extract;
mod log;
mod problem;
mod routes;
pub mod rules;
mod server;

pub use clock::{Clock, ManualClock};
pub use config::{Config, ConfigError, Environment, Identity, Secret};
pub use extract::{Json, Path, Query};
pub use log::write_log;
pub use problem::Problem;
pub use prometheus_client;
pub use server::{App, run, serve};
