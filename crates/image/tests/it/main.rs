//! The crate as its users see it: names, images, loading, and what other tools make of its archives.

mod builds;
mod engines;
mod kit;
mod loads;
mod nodes;
mod tags;
