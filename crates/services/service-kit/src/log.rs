//! The log: one line per noteworthy thing on stderr, with the time in UTC.
//!
//! A logging framework would bring levels, targets and filters that nobody sets here.

use std::fmt;
use std::io::Write as _;

/// Writes one log line; [`log!`](crate::log!) is the way to call it.
pub fn write_log(message: fmt::Arguments<'_>) {
    // One line whatever the message holds: a line break in it could otherwise imitate a line of its own.
    let message = message.to_string().replace(['\n', '\r'], " ");
    let line = format!("{} {message}\n", chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.3fZ"));
    // A closed stderr is no reason to stop serving.
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}

/// Writes one line to the log, with the arguments of [`format!`]. Never pass a secret.
#[macro_export]
macro_rules! log {
    ($($arguments:tt)+) => { $crate::write_log(format_args!($($arguments)+)) };
}
