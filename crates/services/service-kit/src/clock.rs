//! The time of day as a value, so that a test of a time limit need not wait.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Clock {
        Clock(Arc::new(Utc::now))
    }

    /// A clock that stands still at `start` until it is moved with the second value.
    pub fn manual(start: DateTime<Utc>) -> (Clock, ManualClock) {
        let manual = ManualClock(Arc::new(Mutex::new(start)));
        let read = manual.clone();
        (Clock(Arc::new(move || *read.0.lock().unwrap_or_else(PoisonError::into_inner))), manual)
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        (self.0)()
    }
}

/// Moves a [`Clock::manual`].
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<DateTime<Utc>>>);

impl ManualClock {
    /// Moves the clock forward (or backward, with a negative delta).
    pub fn advance(&self, delta: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += delta;
    }
}
