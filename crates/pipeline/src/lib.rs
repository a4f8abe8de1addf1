//! What an E2E pipeline is, and how it runs.
//!
//! - [`workload`]: a pipeline as data. [`platform`]: the seam to the places where it runs; [`local`]: the embedded one.
//! - [`run`](mod@run): all pipelines at once; `one`: the course of a single one.
//! - [`proof`], [`provenance`]: that what runs is what was built.
//! - [`event`], [`recorder`]: the record from which everything that is printed or written is made.
//! - [`ledger`], [`rundir`], [`clean`]: what a run makes, and how it goes away.

mod build;
pub mod clean;
mod containerfile;
mod failure;
pub mod kind;
pub mod ledger;
pub mod local;
mod one;
pub mod plan;
pub mod platform;
mod probe;
pub mod proof;
pub mod provenance;
pub mod recorder;
pub mod run;
pub mod rundir;
mod secrets;
mod shared;
mod stale;
pub mod stat;
pub mod step;
mod suite;
pub mod workload;

pub use ::event;
pub use failure::Failure;
pub use platform::{Deployable, Deployed, Instance, Place, Platform, deploy};
pub use step::Step;
pub use workload::{Pipeline, Value, Workload, address, data, endpoint, image_path, secret};
