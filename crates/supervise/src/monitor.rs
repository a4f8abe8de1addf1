//! What is known of one running child, and how its end is awaited and brought about.
//!
//! What must hold: every wait ends (by the event, a limit or a kill); the end of the leader and of its pipes wakes the
//! waiters at once. Only the end of a group has no event in the kernel: after the leader's end it is asked for with
//! growing pauses (1 to 20 ms), which happens only while something outlives its leader.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::cancel::Cancel;
use crate::group::Group;
use crate::lock;

/// How long processes may hold the pipe, or just live, after their leader's end before they count as left behind.
pub(crate) const DRAIN: Duration = Duration::from_millis(200);
/// How long the pipe may stay open when the group is empty. Longer: a process that another thread of ours has just forked
/// holds a copy of it until its exec, which takes its time on a busy machine.
const ESCAPED: Duration = Duration::from_millis(500);
/// How long output may keep coming after the leader's end, when a slow reader or an escaped process makes it last.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long a killed group may take to be gone. Only a process that hangs in the kernel needs more.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How long our own threads may take to end once there is nothing left to read or write.
pub(crate) const JOIN_LIMIT: Duration = Duration::from_secs(5);

/// State of one child, shared by its owner and its threads.
pub(crate) struct Monitor {
    pub(crate) group: Group,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) ended: Option<Instant>,
    pub(crate) too_large: bool,
    /// Why the exit status tells nothing: stdin could not be fed, or the child not be waited for.
    pub(crate) cause: Option<io::Error>,
    /// Why output could not be read or logged.
    pub(crate) output_error: Option<io::Error>,
    /// A reader was told to end before the pipe was closed: somebody holds it.
    pub(crate) held: bool,
    readers: [Reader; 2],
    writer_open: bool,
}

/// One of the child's pipes as its thread sees it.
#[derive(Clone, Copy, Default)]
struct Reader {
    open: bool,
    /// Since when the thread waits for data; None while it works on some.
    waiting: Option<Instant>,
}

/// Which thread of a child.
#[derive(Clone, Copy)]
pub(crate) enum Pump {
    Lines,
    Stdout,
    Stdin,
}

/// Why a wait for a child was over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    Exited,
    Deadline,
    Cancelled,
    TooLarge,
}

impl Monitor {
    pub(crate) fn new(group: Group) -> Monitor {
        Monitor { group, state: Mutex::default(), changed: Condvar::new() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Wakes who waits. Takes the lock first: a waiter between its look and its sleep would miss the call.
    pub(crate) fn wake(&self) {
        let _state = self.state();
        self.changed.notify_all();
    }

    /// The leader's end, told by the thread that waited for it.
    pub(crate) fn leader_ended(&self, result: io::Result<ExitStatus>) {
        // Asked here, microseconds after the reaping, so that an empty group is never signalled later.
        self.group.alive();
        let mut state = self.state();
        state.ended = Some(Instant::now());
        state.status = Some(match result {
            Ok(status) => status,
            Err(error) => {
                state.cause = Some(io::Error::new(error.kind(), format!("wait for its end: {error}")));
                ExitStatus::from_raw(255 << 8)
            }
        });
        self.changed.notify_all();
    }

    /// A thread of the child starts; the guard tells its end, also when it panics.
    pub(crate) fn open(&self, pump: Pump) {
        let mut state = self.state();
        match pump {
            Pump::Stdin => state.writer_open = true,
            Pump::Lines | Pump::Stdout => state.readers[pump as usize] = Reader { open: true, waiting: None },
        }
    }

    /// See [`Monitor::open`].
    pub(crate) fn close(&self, pump: Pump) {
        let mut state = self.state();
        if thread::panicking() {
            state.output_error.get_or_insert_with(|| io::Error::other("the receiver of an output line panicked"));
        }
        match pump {
            Pump::Stdin => state.writer_open = false,
            Pump::Lines | Pump::Stdout => state.readers[pump as usize] = Reader::default(),
        }
        self.changed.notify_all();
    }

    /// A reader tells whether it waits for data or works on some.
    pub(crate) fn waits(&self, pump: Pump, waits: bool) {
        self.state().readers[pump as usize].waiting = waits.then(Instant::now);
    }

    /// The child wrote more than may be kept.
    pub(crate) fn too_large(&self) {
        self.state().too_large = true;
        self.wake();
    }

    /// Waits until the leader ends or there is a reason to end it.
    pub(crate) fn wait(&self, deadline: Option<Instant>, cancel: &Cancel) -> Why {
        let mut state = self.state();
        loop {
            if state.too_large {
                return Why::TooLarge;
            }
            if let Some(status) = state.status {
                // Level 2 kills the group itself, which may be over before this thread has seen level 1.
                return if !status.success() && cancel.is_kill() { Why::Cancelled } else { Why::Exited };
            }
            if cancel.is_cancelled() {
                return Why::Cancelled;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Why::Deadline;
            }
            state = self.sleep(state, left.unwrap_or(Duration::from_secs(3600)));
        }
    }

    /// Waits at most `limit` for the leader's end.
    pub(crate) fn leader_status(&self, limit: Duration) -> Option<ExitStatus> {
        self.until(limit, |state| state.status.is_some());
        self.state().status
    }

    /// Ends the group: TERM, `grace`, KILL; KILL at once when the switch says so. True when KILL was needed; `leaked`
    /// is set when it was needed for processes that outlived the leader.
    pub(crate) fn terminate(&self, grace: Duration, cancel: &Cancel, leaked: &mut bool) -> bool {
        if !cancel.is_kill() && !grace.is_zero() {
            self.group.terminate();
            if self.over_within(grace, cancel) {
                return false;
            }
        }
        let alive = self.group.alive();
        let killed = self.kill();
        // Asked of the status and not before: a leader may have gone at TERM without having been noticed yet.
        let went_before = self.state().status.is_some_and(|status| status.signal() != Some(libc::SIGKILL));
        *leaked |= killed && alive && went_before;
        killed
    }

    /// KILL to what is left of the group. False when nothing was.
    pub(crate) fn kill(&self) -> bool {
        if self.state().status.is_some() && !self.group.alive() {
            return false;
        }
        self.group.kill();
        self.over_within(KILL_LIMIT, &Cancel::new());
        true
    }

    /// Waits until the group is empty and the pipes are closed, `since` being the end of what should have been the last
    /// process. False: it took too long.
    pub(crate) fn tidy(&self, since: Instant) -> bool {
        let mut state = self.state();
        let mut pause = Duration::from_millis(1);
        loop {
            let alive = self.group.alive();
            if !alive && !state.readers.iter().any(|reader| reader.open) {
                return true;
            }
            let now = Instant::now();
            let quiet = state.readers.iter().any(|reader| {
                reader.open && reader.waiting.is_some_and(|waiting| now.duration_since(waiting.max(since)) >= ESCAPED)
            });
            let passed = now.duration_since(since);
            if quiet || (alive && passed >= DRAIN) || passed >= DRAIN_MAX {
                return false;
            }
            state = self.sleep(state, pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Waits at most `limit` for the child's threads. False: one is stuck in code that is not ours.
    pub(crate) fn threads_over(&self, limit: Duration) -> bool {
        self.until(limit, |state| !state.writer_open && !state.readers.iter().any(|reader| reader.open))
    }

    /// Waits at most `limit` for the end of leader and group. False: the time is over, or `cancel` is at level 2.
    fn over_within(&self, limit: Duration, cancel: &Cancel) -> bool {
        let deadline = Instant::now() + limit.min(Duration::from_secs(24 * 3600));
        let mut pause = Duration::from_millis(1);
        let mut state = self.state();
        loop {
            if state.status.is_some() && !self.group.alive() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || cancel.is_kill() {
                return false;
            }
            if state.status.is_none() {
                state = self.sleep(state, left);
            } else {
                self.group.tell_orphans();
                state = self.sleep(state, pause.min(left));
                pause = (pause * 2).min(Duration::from_millis(20));
            }
        }
    }

    fn until(&self, limit: Duration, done: impl Fn(&State) -> bool) -> bool {
        let deadline = Instant::now() + limit.min(Duration::from_secs(24 * 3600));
        let mut state = self.state();
        loop {
            if done(&state) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.sleep(state, left);
        }
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout(state, limit) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }
}
