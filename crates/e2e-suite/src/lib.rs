//! What the E2E suites share: the endpoints of the run, an HTTP client, waiting with a limit, DataStorage's contract.
//!
//! A suite is an ordinary test binary of which the tool runs every test in a process of its own. What the test talks to is read
//! from the file named by `E2E_RUN_FILE`. Everything here panics instead of returning errors: the only callers are tests, and a
//! panic with the request and the answer in it is what a person wants to read in a report.
//!
//! This crate knows the services by HTTP alone and nothing of the tool, so that a suite shows what any client would see.

pub mod client;
pub mod contract;
mod run;
mod wait;

pub use client::{Client, Response};
pub use run::Run;
pub use wait::{audit_events, eventually, eventually_events, unique};
