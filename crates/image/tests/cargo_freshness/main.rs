//! The cargo builder on small workspaces, with real cargo.

mod builds;
mod fixture;
mod hidden;
