//! Why something stopped: one sentence, the evidence, and what to try.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// A failure that knows more than its sentence.
#[derive(Clone, Debug, Default)]
pub struct Failure {
    /// The cause, one sentence without a full stop.
    pub cause: String,
    /// The last lines of the log concerned, or other evidence.
    pub evidence: Vec<String>,
    /// What to try.
    pub hint: Option<String>,
    /// The file with the whole log.
    pub log: Option<PathBuf>,
}

impl Failure {
    /// A failure with this cause.
    pub fn new(cause: impl Into<String>) -> Failure {
        Failure { cause: cause.into(), ..Failure::default() }
    }

    /// Adds evidence.
    #[must_use]
    pub fn evidence(mut self, lines: Vec<String>) -> Failure {
        self.evidence = lines;
        self
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the file of the whole log.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Failure {
        self.log = Some(path.into());
        self
    }

    /// What is known of an error: the failure or the failed command in its chain, with the contexts around it.
    pub fn of(error: &anyhow::Error) -> Failure {
        let mut failure = Failure::new(format!("{error:#}"));
        for cause in error.chain() {
            if let Some(known) = cause.downcast_ref::<Failure>() {
                failure.evidence.clone_from(&known.evidence);
                failure.hint.clone_from(&known.hint);
                failure.log.clone_from(&known.log);
                return failure;
            }
            if let Some(command) = cause.downcast_ref::<supervise::CmdError>() {
                failure.evidence.clone_from(&command.tail);
                failure.log.clone_from(&command.log);
                return failure;
            }
        }
        failure
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl Error for Failure {}

/// Whether an error says that the run was cancelled, rather than that something failed.
pub(crate) fn is_cancelled(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<supervise::Cancelled>()
            || cause
                .downcast_ref::<supervise::CmdError>()
                .is_some_and(|command| matches!(command.kind, supervise::CmdErrorKind::Cancelled))
    })
}
