//! The engine on a small product of its own, from the tags to the teardown: what a run promises, each way in which it fails,
//! and the proof under attack.
//!
//! Every run goes through [`pipeline::run::run`] and is judged by its record, its exit code and what it left behind, which is
//! all that a user sees of it. Nothing waits for a time to pass: what happens in the middle of a run is done by a reader of its
//! events or by a platform that stands in front of `local`.

mod cancel;
mod child;
mod clean;
mod concurrent;
mod disk;
mod failures;
mod freshness;
mod green;
mod kit;
mod panics;
mod ran;
mod refusals;
mod stage;
mod staleness;
mod suites;
