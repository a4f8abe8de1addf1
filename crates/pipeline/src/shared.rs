//! Values that several threads wait for, and permits for heavy work.
//!
//! These two, scoped threads and joins are all the scheduler there is: the edges of the graph are the values themselves, so a
//! step cannot start before what it takes exists, and a cycle cannot be written. A scheduler with nodes and names was left
//! out: its edges would be strings that nobody checks.

use std::ops::Deref;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use supervise::{Cancel, Cancelled};

use crate::recorder::lock;

/// How often a waiter looks whether the run was cancelled. The values themselves wake it at once.
const CANCEL_CHECK: Duration = Duration::from_millis(50);

/// A value that one thread makes and others wait for. It is set once.
pub(crate) struct Promise<T>(Mutex<Option<T>>, Condvar);

impl<T: Clone> Promise<T> {
    /// A promise that nobody has kept yet.
    pub(crate) fn new() -> Promise<T> {
        Promise(Mutex::new(None), Condvar::new())
    }

    /// Sets the value; a second call changes nothing.
    pub(crate) fn keep(&self, value: T) {
        lock(&self.0).get_or_insert(value);
        self.1.notify_all();
    }

    /// The value, if it is there.
    pub(crate) fn now(&self) -> Option<T> {
        lock(&self.0).clone()
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// If the run is cancelled first.
    pub(crate) fn wait(&self, cancel: &Cancel) -> Result<T, Cancelled> {
        let mut slot = lock(&self.0);
        loop {
            if let Some(value) = &*slot {
                return Ok(value.clone());
            }
            cancel.check()?;
            slot = self.1.wait_timeout(slot, CANCEL_CHECK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Permits for one kind of heavy work.
pub struct Limit {
    permits: usize,
    free: Mutex<usize>,
    freed: Condvar,
}

impl Limit {
    /// A limit of this many at a time, at least one.
    pub fn new(permits: usize) -> Limit {
        Limit { permits: permits.max(1), free: Mutex::new(permits.max(1)), freed: Condvar::new() }
    }

    /// How many permits there are.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Waits for a permit, which is given back when it is dropped.
    ///
    /// # Errors
    /// If the run is cancelled first.
    pub fn take(&self, cancel: &Cancel) -> Result<Permit<&Limit>, Cancelled> {
        Permit::of(self, cancel)
    }
}

/// The right to do heavy work, until it is dropped.
#[must_use = "without a name the permit is given back at once"]
pub struct Permit<L: Deref<Target = Limit>>(L);

impl<L: Deref<Target = Limit>> Permit<L> {
    /// Waits for a permit of a limit, which an `Arc` lets whoever takes it keep for as long as he likes.
    ///
    /// # Errors
    /// If the run is cancelled first.
    pub(crate) fn of(limit: L, cancel: &Cancel) -> Result<Permit<L>, Cancelled> {
        let mut free = lock(&limit.free);
        loop {
            cancel.check()?;
            if *free > 0 {
                *free -= 1;
                drop(free);
                return Ok(Permit(limit));
            }
            free = limit.freed.wait_timeout(free, CANCEL_CHECK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<L: Deref<Target = Limit>> Drop for Permit<L> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn never_more_work_than_permits() {
        let (limit, now, most) = (Limit::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _permit = limit.take(&Cancel::new()).unwrap();
                        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        now.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn who_waits_gets_the_value_or_the_cancellation() {
        let promise = Promise::new();
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| promise.wait(&cancel))).collect();
            promise.keep(7);
            promise.keep(8);
            assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap().unwrap() == 7));
        });
        cancel.cancel();
        assert_eq!(promise.wait(&cancel).unwrap(), 7, "a value that is there is given even then");
        assert!(Promise::<()>::new().wait(&cancel).is_err());
        assert!(Limit::new(1).take(&cancel).is_err());
    }
}
