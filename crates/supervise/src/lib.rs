//! Child processes that end when they should: groups, deadlines, cancellation, output.
//!
//! [`Cmd`] describes a command, [`Cmd::run`] waits for it, [`Cmd::spawn`] gives a [`Process`]. [`Cancel`] stops them,
//! [`install_signals`] ties it to Ctrl-C. This crate is the only place that makes processes.
//!
//! What must hold:
//! - Every command leads a process group of its own, and is over when the *group* is gone, not when the leader is.
//! - Nothing outlives its command unnoticed: what stays is killed after a short limit and reported as `leaked`.
//! - Every wait has an end, whatever the child does: ignore TERM, hold pipes, write without end, write no line end.
//! - What is shown of a command can be pasted into a shell, and never holds a secret value.
//!
//! Rejected, with the reason:
//! - `std::process::Child` or duct's `Handle` alone: their kill reaches the leader only, and a wait with captured output
//!   lasts until the last grandchild closes the pipe.
//! - tokio: `kill_on_drop` has the same gap, and it would make every signature of the callers async.
//! - `PR_SET_PDEATHSIG`: it fires when the *thread* that spawned ends, and reaches the leader only.
//! - `PR_SET_CHILD_SUBREAPER`, which would tell us of every orphan's end: it changes the whole process for the
//!   library's sake, and then every orphan must be reaped here.
//! - One thread that polls every child: a thread per child and pipe blocks in the kernel and needs no timer.

mod cancel;
mod child;
mod child_setup;
mod cmd;
mod devices;
mod error;
mod group;
mod marked;
mod monitor;
mod network;
mod output;
mod process;
mod quote;
mod run;
mod signals;
mod start;

pub use cancel::{Cancel, Cancelled};
pub use child_setup::Sandbox;
pub use cmd::{Cmd, Observer};
pub use devices::make_devices;
pub use error::{CmdError, CmdErrorKind};
pub use marked::{end_marked, find_marked, is_root};
pub use network::Network;
pub use output::tail_of;
pub use process::{Process, Stopped};
pub use quote::quote as shell_quote;
pub use run::Output;
pub use signals::install_signals;
pub use start::find_program;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A panic of a caller's closure must not take the way to kill the child with it, so poison is not looked at.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
