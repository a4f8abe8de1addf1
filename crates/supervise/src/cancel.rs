//! The one switch that stops everything: a level (running, cancelled, kill) that threads can wait on.
//!
//! What must hold: raising the level wakes every waiter at once, so no caller polls it; a level never goes back; the
//! first signal is remembered, because it decides the exit code. An atomic flag alone was not enough: each wait would
//! have had to wake up several times a second to look at it.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use signal_hook::low_level::signal_name;

use crate::lock;
use crate::monitor::Monitor;

/// A shared cancellation: clones are the same switch.
///
/// Level 1 ([`Cancel::cancel`]) ends every `run` under it by TERM, grace, KILL. Level 2 ([`Cancel::kill`]) kills every
/// process group started under it at once, those of [`crate::Process`] included.
#[derive(Clone, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    level: Level,
    first_signal: Option<i32>,
    /// The children started under this switch. Weak: a finished child must not be kept by its switch.
    children: Vec<Weak<Monitor>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    #[default]
    Running,
    Cancelled,
    Kill,
}

impl Cancel {
    /// A switch that nobody has used yet.
    #[must_use]
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Raises to level 1. A switch at level 2 stays there.
    pub fn cancel(&self) {
        self.raise(|_| Level::Cancelled);
    }

    /// Raises to level 2: the groups started under this switch are killed before this returns.
    pub fn kill(&self) {
        self.raise(|_| Level::Kill);
    }

    /// Counts a signal: the first call raises to level 1 and remembers `signo`, the next ones raise to level 2.
    pub fn signal(&self, signo: i32) {
        self.raise(|state| {
            let level = if state.first_signal.is_some() { Level::Kill } else { Level::Cancelled };
            state.first_signal.get_or_insert(signo);
            level
        });
    }

    /// The number of the first signal that came, if one did.
    #[must_use]
    pub fn first_signal(&self) -> Option<i32> {
        lock(&self.shared.state).first_signal
    }

    /// True from level 1 on.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        lock(&self.shared.state).level >= Level::Cancelled
    }

    /// True at level 2.
    #[must_use]
    pub fn is_kill(&self) -> bool {
        lock(&self.shared.state).level >= Level::Kill
    }

    /// Sleeps for at most `limit`; returns early, with true, as soon as level 1 is reached. False: the time is over.
    pub fn wait(&self, limit: Duration) -> bool {
        // A limit too long for the clock (`Duration::MAX`) means: until cancelled.
        let deadline = Instant::now().checked_add(limit);
        let mut state = lock(&self.shared.state);
        while state.level < Level::Cancelled {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(3600),
            };
            if left.is_zero() {
                return false;
            }
            state = match self.shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// For `cancel.check()?` between two pieces of work.
    ///
    /// # Errors
    /// [`Cancelled`] from level 1 on.
    pub fn check(&self) -> Result<(), Cancelled> {
        let state = lock(&self.shared.state);
        if state.level < Level::Cancelled { Ok(()) } else { Err(Cancelled { signal: state.first_signal }) }
    }

    /// Lets the child hear of every later change. A change that came before is the caller's to look at afterwards.
    pub(crate) fn watch(&self, child: &Arc<Monitor>) {
        let mut state = lock(&self.shared.state);
        state.children.retain(|child| child.strong_count() > 0);
        state.children.push(Arc::downgrade(child));
    }

    fn raise(&self, next: impl FnOnce(&mut State) -> Level) {
        let (children, level) = {
            let mut state = lock(&self.shared.state);
            let level = next(&mut state).max(state.level);
            state.level = level;
            self.shared.changed.notify_all();
            (state.children.iter().filter_map(Weak::upgrade).collect::<Vec<_>>(), level)
        };
        // Outside the lock: a waiting child holds its own lock while it asks for the level.
        for child in children {
            if level == Level::Kill {
                child.group.kill();
            }
            child.wake();
        }
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_struct("Cancel").field("level", &state.level).field("first_signal", &state.first_signal).finish()
    }
}

/// The work was given up because its [`Cancel`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled {
    signal: Option<i32>,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal {
            Some(signo) => match signal_name(signo) {
                Some(name) => write!(f, "cancelled by {name}"),
                None => write!(f, "cancelled by signal {signo}"),
            },
            None => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Cancelled {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_count_and_the_first_is_remembered() {
        let cancel = Cancel::new();
        assert!(cancel.check().is_ok() && !cancel.wait(Duration::ZERO));
        cancel.signal(15);
        assert!(cancel.is_cancelled() && !cancel.is_kill());
        cancel.signal(2);
        assert!(cancel.is_kill());
        assert_eq!(cancel.first_signal(), Some(15));
        assert_eq!(cancel.check().unwrap_err().to_string(), "cancelled by SIGTERM");
    }

    #[test]
    fn a_level_never_goes_back() {
        let cancel = Cancel::new();
        cancel.kill();
        cancel.cancel();
        assert!(cancel.is_kill());
        assert_eq!(cancel.check().unwrap_err().to_string(), "cancelled");
    }

    #[test]
    fn a_wait_without_end_ends_when_cancelled() {
        let cancel = Cancel::new();
        let waiter = std::thread::spawn({
            let cancel = cancel.clone();
            move || cancel.wait(Duration::MAX)
        });
        cancel.cancel();
        assert!(waiter.join().unwrap());
    }
}
