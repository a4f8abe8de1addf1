//! A command that runs in the background until its owner stops it.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::child::Child;
use crate::cmd::Cmd;
use crate::error::{CmdError, CmdErrorKind};
use crate::monitor::Why;
use crate::start::start;

/// A running command. Dropping it kills its group; [`Process::stop`] lets it end in good order.
#[must_use = "dropping a process kills it"]
pub struct Process {
    child: Child,
}

/// How a [`Process`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// `exit status 0`, `ended by SIGTERM`.
    pub status: String,
    /// KILL was needed for a part of its group.
    pub killed: bool,
    /// Processes outlived the leader and had to be killed, or a process that left the group held the output open.
    pub leaked: bool,
}

impl Process {
    pub(crate) fn start(cmd: Cmd, cancel: &Cancel) -> Result<Process, CmdError> {
        if cmd.capture_stdout {
            let text = "captured stdout can only be had from `run`; read the lines or the log instead";
            return Err(cmd.error(CmdErrorKind::Spawn(io::Error::new(io::ErrorKind::InvalidInput, text))));
        }
        Ok(Process { child: start(cmd, cancel)? })
    }

    /// Process id of the leader, which is the number of the group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// The leader's exit status, if it ended by itself. A status that the system did not tell counts as 255.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.monitor.state().status
    }

    /// Waits at most `limit` for the leader's end. Does not end the process, nor does a raised [`Cancel`] end the wait.
    pub fn wait_timeout(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.child.monitor.leader_status(limit)
    }

    /// The last lines of its output so far, at most 40.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.child.tail.lines()
    }

    /// Leaves it running when this process ends. Its output must go to a file ([`Cmd::log_directly`]): a pipe would have no
    /// reader any more.
    pub fn detach(mut self) {
        self.child.release();
    }

    /// Ends the group: TERM, the command's grace, KILL; KILL at once when its [`Cancel`] is at level 2. Returns when
    /// the group is gone and its output read, or less than 20 s after the grace if a process hangs in the
    /// kernel.
    pub fn stop(mut self) -> Stopped {
        let grace = self.child.cmd.grace;
        let end = self.child.end(Why::Cancelled, grace);
        let status = end.describe();
        // Being stopped is the normal end of a process, as long as it went when asked.
        self.child.report(&status, !end.killed && !end.leaked, end.leaked);
        Stopped { status, killed: end.killed, leaked: end.leaked }
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Process({}, `{}`)", self.child.pid, self.child.cmd)
    }
}
