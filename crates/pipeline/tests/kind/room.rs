//! Room for so many at once: the others wait.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::kit::lock;

pub(crate) struct Room(Mutex<usize>, Condvar);

impl Room {
    pub(crate) fn new(places: usize) -> Arc<Room> {
        Arc::new(Room(Mutex::new(places), Condvar::new()))
    }

    /// Waits until there is room.
    pub(crate) fn enter(self: &Arc<Room>) -> Inside {
        let mut free = lock(&self.0);
        while *free == 0 {
            free = self.1.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Inside(Arc::clone(self))
    }
}

/// One that is in, until it is dropped.
pub(crate) struct Inside(Arc<Room>);

impl Drop for Inside {
    fn drop(&mut self) {
        *lock(&self.0.0) += 1;
        self.0.1.notify_one();
    }
}
