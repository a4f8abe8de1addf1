//! `run`: a command from start to verdict on the caller's thread.

use std::time::Duration;

use crate::cancel::Cancel;
use crate::cmd::Cmd;
use crate::error::{CmdError, CmdErrorKind, describe};
use crate::lock;
use crate::monitor::Why;
use crate::process::Process;
use crate::start::start;

/// What a command that succeeded left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// What it wrote to stdout, with [`Cmd::capture_stdout`]; empty otherwise.
    pub stdout: Vec<u8>,
    /// The last lines of its output (of stderr, with [`Cmd::capture_stdout`]), at most 40.
    pub tail: Vec<String>,
    /// From its start to its end.
    pub duration: Duration,
    /// Processes of its group outlived it by more than 200 ms and were killed, or one that had left the group held its
    /// output open for more than 500 ms.
    pub leaked: bool,
}

impl Cmd {
    /// Starts the command and waits for its end; Ok only for exit status 0.
    ///
    /// A raised `cancel` or a passed deadline ends its whole group: TERM, grace, KILL. Processes that it leaves behind
    /// get 200 ms to end, are killed then, and are reported as [`Output::leaked`].
    ///
    /// # Errors
    /// See [`CmdErrorKind`]. When `cancel` was raised before, nothing is started.
    pub fn run(self, cancel: &Cancel) -> Result<Output, CmdError> {
        let (deadline, grace) = (self.deadline, self.grace);
        let mut child = start(self, cancel)?;
        let why = child.monitor.wait(deadline.and_then(|limit| child.started.checked_add(limit)), cancel);
        let end = child.end(why, grace);
        let (ended, cause, output_error, too_large) = {
            let mut state = child.monitor.state();
            (state.ended, state.cause.take(), state.output_error.take(), state.too_large)
        };
        let kind = match (why, end.status) {
            // The output may have grown too large between the leader's end and the pipe's.
            (Why::TooLarge, _) => Some(CmdErrorKind::OutputTooLarge),
            _ if too_large => Some(CmdErrorKind::OutputTooLarge),
            (Why::Deadline, _) => Some(CmdErrorKind::Deadline(deadline.unwrap_or_default())),
            (Why::Cancelled, _) => Some(CmdErrorKind::Cancelled),
            // Input that was cut short is the cause of whatever the command made of it.
            (Why::Exited, _) if cause.is_some() => cause.map(CmdErrorKind::Io),
            (Why::Exited, Some(status)) if !status.success() => Some(CmdErrorKind::Exit(status)),
            (Why::Exited, _) => output_error.map(CmdErrorKind::Io),
        };
        let text = match &kind {
            None | Some(CmdErrorKind::Exit(_)) => end.status.map_or_else(String::new, describe),
            Some(CmdErrorKind::Deadline(limit)) => format!("stopped after {limit:?}: {}", end.describe()),
            Some(CmdErrorKind::Cancelled) => format!("cancelled: {}", end.describe()),
            Some(CmdErrorKind::OutputTooLarge) => format!("too much output: {}", end.describe()),
            Some(CmdErrorKind::Io(error) | CmdErrorKind::Spawn(error)) => error.to_string(),
            Some(CmdErrorKind::NotFound) => "not found".to_owned(),
        };
        child.report(&text, kind.is_none(), end.leaked);
        match kind {
            Some(kind) => Err(child.error(kind)),
            None => Ok(Output {
                stdout: std::mem::take(&mut *lock(&child.stdout)),
                tail: child.tail.lines(),
                duration: ended.map_or_else(|| child.started.elapsed(), |ended| ended - child.started),
                leaked: end.leaked,
            }),
        }
    }

    /// Starts the command and leaves it running. `cancel` at level 1 does not end it, since its owner does that in the
    /// order of its own teardown; level 2 kills it. The deadline is not looked at.
    ///
    /// # Errors
    /// When it cannot be started, or `cancel` was raised before.
    pub fn spawn(self, cancel: &Cancel) -> Result<Process, CmdError> {
        Process::start(self, cancel)
    }
}
