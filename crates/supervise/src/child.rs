//! A started command until its end: the part that `run` and [`crate::Process`] share.
//!
//! What must hold: whoever drops it, also by a panic, kills the group; the observer hears of the end exactly once;
//! every wait on the way is bounded, and a thread that is stuck in code that is not ours is left behind rather than
//! waited for.

use std::io::PipeWriter;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::cmd::{Cmd, Observer};
use crate::error::{CmdError, CmdErrorKind, describe};
use crate::lock;
use crate::monitor::{JOIN_LIMIT, KILL_LIMIT, Monitor, Why};
use crate::output::Tail;

pub(crate) struct Child {
    pub(crate) cmd: Cmd,
    pub(crate) pid: u32,
    pub(crate) started: Instant,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) cancel: Cancel,
    pub(crate) tail: Tail,
    pub(crate) stdout: Arc<Mutex<Vec<u8>>>,
    /// Closing it tells the threads to end.
    wake: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
    observed: Option<(Arc<dyn Observer>, u64)>,
    over: bool,
}

/// How a child ended.
pub(crate) struct End {
    /// None: not even KILL ended it in time, it hangs in the kernel.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) killed: bool,
    pub(crate) leaked: bool,
}

impl Child {
    /// A child whose threads do not run yet.
    pub(crate) fn new(cmd: Cmd, pid: u32, started: Instant, monitor: Arc<Monitor>, cancel: Cancel) -> Child {
        Child {
            cmd,
            pid,
            started,
            monitor,
            cancel,
            tail: Tail::default(),
            stdout: Arc::default(),
            wake: None,
            threads: Vec::new(),
            observed: None,
            over: false,
        }
    }

    pub(crate) fn attach(&mut self, wake: PipeWriter, threads: Vec<JoinHandle<()>>) {
        self.wake = Some(wake);
        self.threads = threads;
    }

    pub(crate) fn announce(&mut self) {
        self.observed = self.cmd.observer.take().map(|observer| {
            let id = observer.started(&self.cmd.to_string(), self.pid);
            (observer, id)
        });
    }

    /// Brings it to its end: waits for what the leader left if it ended by itself, stops the group otherwise.
    pub(crate) fn end(&mut self, why: Why, grace: Duration) -> End {
        let (mut killed, mut leaked) = (false, false);
        let mut since = self.monitor.state().ended;
        if why != Why::Exited {
            killed = self.monitor.terminate(grace, &self.cancel, &mut leaked);
            since = None;
        }
        if !self.monitor.tidy(since.unwrap_or_else(Instant::now)) && self.monitor.kill() {
            (killed, leaked) = (true, true);
        }
        drop(self.wake.take());
        let threads = std::mem::take(&mut self.threads);
        let status = self.monitor.leader_status(KILL_LIMIT);
        if self.monitor.threads_over(JOIN_LIMIT) && status.is_some() {
            for thread in threads {
                // A panic was noted by the thread's guard.
                drop(thread.join());
            }
        }
        // Known only now, and from the readers themselves: on a busy machine they may just not have had their turn.
        leaked |= self.monitor.state().held;
        self.monitor.group.forget();
        self.over = true;
        End { status, killed, leaked }
    }

    /// Lets go of it: it runs on, and nobody here looks at it any more.
    pub(crate) fn release(&mut self) {
        self.monitor.group.forget();
        self.over = true;
        self.report("left running", true, false);
    }

    /// Tells the observer.
    pub(crate) fn report(&mut self, status: &str, ok: bool, leaked: bool) {
        if let Some((observer, id)) = self.observed.take() {
            observer.ended(id, status, ok, leaked);
        }
    }

    pub(crate) fn error(&self, kind: CmdErrorKind) -> CmdError {
        let stdout = std::mem::take(&mut *lock(&self.stdout));
        CmdError { tail: self.tail.lines(), stdout, ..self.cmd.error(kind) }
    }
}

impl End {
    pub(crate) fn describe(&self) -> String {
        self.status.map_or_else(|| "does not end, not even by SIGKILL".to_owned(), describe)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.over {
            let end = self.end(Why::Cancelled, Duration::ZERO);
            self.report(&format!("dropped: {}", end.describe()), false, end.leaked);
        }
    }
}
