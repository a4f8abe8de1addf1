//! Readers of a run's events: the terminal, `report.json`, JUnit, GitHub, the timeline and the audit.
//!
//! Each is a pure function of [`event::Record`]s: no clock, no files, no printing, no environment. What is written
//! where is the caller's decision, so every reader can be shown on a record from a file as well as on a run in progress.

pub mod audit;
#[cfg(test)]
mod fixture;
pub mod github;
pub mod json;
pub mod junit;
pub mod model;
mod path;
pub mod proof;
pub mod query;
pub mod record;
#[cfg(test)]
mod reports_tests;
pub mod terminal;
mod text;
pub mod timings;

pub use audit::{Audit, audit};
pub use model::Summary;
pub use terminal::Terminal;
