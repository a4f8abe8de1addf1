//! What can go wrong with a command, told with the exact command.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use signal_hook::low_level::signal_name;

use crate::output::CAPTURE_LIMIT;

/// A command that did not succeed.
#[derive(Debug)]
pub struct CmdError {
    /// What happened.
    pub kind: CmdErrorKind,
    /// The whole command, quoted for a shell; see [`crate::Cmd`].
    pub line: String,
    /// The last lines of its output, at most 40.
    pub tail: Vec<String>,
    /// The file with its whole output, if one was asked for.
    pub log: Option<PathBuf>,
    /// What it wrote to stdout, if that was captured.
    pub stdout: Vec<u8>,
    /// Boxed to keep the whole below the 128 bytes from which on clippy wants every `Result` with it changed.
    pub(crate) program: Box<OsString>,
}

/// See [`CmdError`].
#[derive(Debug)]
pub enum CmdErrorKind {
    /// The program does not exist, or no folder of PATH has it.
    NotFound,
    /// It could not be started for another reason.
    Spawn(io::Error),
    /// It ended with a status other than 0, or by a signal that is not ours.
    Exit(ExitStatus),
    /// It was ended because it ran longer than this.
    Deadline(Duration),
    /// It was ended, or not started, because its [`crate::Cancel`] said so.
    Cancelled,
    /// Its stdin could not be fed, its end not be learnt, or, though it ended well, its output not be read or logged.
    Io(io::Error),
    /// It was ended because it wrote more than 64 MiB to a captured stdout.
    OutputTooLarge,
}

impl fmt::Display for CmdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, program) = (&self.line, self.program.to_string_lossy());
        match &self.kind {
            CmdErrorKind::NotFound if program.contains('/') => {
                write!(f, "`{line}` could not be started: `{program}` does not exist")
            }
            CmdErrorKind::NotFound => {
                write!(f, "`{line}` could not be started: `{program}` must be installed and be on PATH")
            }
            CmdErrorKind::Spawn(error) => write!(f, "`{line}` could not be started: {error}"),
            CmdErrorKind::Exit(status) => write!(f, "`{line}` failed: {}", describe(*status)),
            CmdErrorKind::Deadline(limit) => write!(f, "`{line}` was stopped: it ran longer than {limit:?}"),
            CmdErrorKind::Cancelled => write!(f, "`{line}` was cancelled"),
            CmdErrorKind::Io(error) => write!(f, "`{line}` failed: {error}"),
            CmdErrorKind::OutputTooLarge => {
                write!(f, "`{line}` was stopped: it wrote more than {} MiB to stdout", CAPTURE_LIMIT >> 20)
            }
        }
    }
}

// No `source`: the cause is part of the text, and a chain would print it twice.
impl std::error::Error for CmdError {}

/// `exit status 101` or `ended by SIGKILL`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signo)) => match signal_name(signo) {
            Some(name) => format!("ended by {name}"),
            None => format!("ended by signal {signo}"),
        },
        (None, None) => status.to_string(),
    }
}
