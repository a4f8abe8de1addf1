//! The bounded buffer between requests and the writer.
//!
//! A mutex and a condition variable rather than a channel: the writer must also wake from a back-off when the service closes,
//! and tests must be able to look at what waits.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use prometheus_client::registry::Registry;

use super::Event;

/// How far two events may be apart in the wrong order to be put right. More than that is a clock that was set back.
const SAME_MOMENT: TimeDelta = TimeDelta::seconds(1);

/// With less time than this left at shutdown, another try is pointless.
const LAST_TRY: Duration = Duration::from_millis(20);

/// What happened to the events so far.
#[derive(Default)]
pub(super) struct Metrics {
    /// Stored by DataStorage.
    pub(super) sent: Counter,
    /// Gone: the buffer was full, DataStorage refused them, or it did not take them in time.
    pub(super) lost: Counter,
    /// Requests that were sent again.
    pub(super) retries: Counter,
    /// Waiting or on their way.
    pub(super) buffered: Gauge,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("audit_events_sent", "Audit events that DataStorage stored", self.sent.clone());
        registry.register("audit_events_lost", "Audit events that could not be stored", self.lost.clone());
        registry.register("audit_retries", "Requests to DataStorage that were sent again", self.retries.clone());
        registry.register("audit_events_buffered", "Audit events not yet stored", self.buffered.clone());
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Event>,
    in_flight: usize,
    /// The last event was lost because there was no room.
    overflowing: bool,
    last: Option<chrono::DateTime<chrono::Utc>>,
    /// Set once, by `close`: until when the writer may try.
    closing: Option<Instant>,
    ended: bool,
}

/// See the module.
pub(super) struct Queue {
    service: &'static str,
    capacity: usize,
    metrics: Metrics,
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    pub(super) fn new(service: &'static str, capacity: usize) -> Queue {
        Queue { service, capacity, metrics: Metrics::default(), state: Mutex::default(), changed: Condvar::new() }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn waiting(&self) -> Vec<Event> {
        self.lock().waiting.iter().cloned().collect()
    }

    /// Adds an event, or loses it when there is no room or nobody left to send it.
    pub(super) fn push(&self, mut event: Event) {
        event.actor_id = self.service;
        let mut state = self.lock();
        if state.closing.is_some() || state.waiting.len() + state.in_flight >= self.capacity {
            self.metrics.lost.inc();
            // A full buffer may lose thousands of events a second: the first is news, the others are a number in the metric.
            if !std::mem::replace(&mut state.overflowing, true) {
                crate::log!("audit: lost a {} event: the buffer is full or closed", event.event_type);
            }
            return;
        }
        // DataStorage sorts by time. Events of one moment keep their order by moving a microsecond apart.
        if let Some(last) = state.last
            && event.event_timestamp <= last
            && last - event.event_timestamp < SAME_MOMENT
        {
            event.event_timestamp = last + TimeDelta::microseconds(1);
        }
        state.last = Some(event.event_timestamp);
        state.overflowing = false;
        state.waiting.push_back(event);
        self.metrics.buffered.inc();
        self.changed.notify_all();
    }

    /// The next batch: as soon as it is full, or `linger` after its first event was seen, or at once when closing. `None` when
    /// closing and nothing is left.
    pub(super) fn take(&self, size: usize, linger: Duration) -> Option<Vec<Event>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closing.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, linger, |state| state.waiting.len() < size && state.closing.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let count = state.waiting.len().min(size);
        let batch: Vec<Event> = state.waiting.drain(..count).collect();
        state.in_flight = batch.len();
        Some(batch)
    }

    /// The batch that was taken is settled, one way or the other.
    pub(super) fn settle(&self, count: usize, stored: bool) {
        let mut state = self.lock();
        // After `close` has given up, it has already counted what was in flight.
        let count = count.min(state.in_flight);
        state.in_flight -= count;
        drop(state);
        self.metrics.buffered.dec_by(count as i64);
        if stored {
            self.metrics.sent.inc_by(count as u64)
        } else {
            self.metrics.lost.inc_by(count as u64)
        };
    }

    /// Waits `pause`, or until closing begins. While closing the wait is at most a quarter of the time left, so that several
    /// tries fit into it. False when there is no time for another try.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        if let Some(deadline) = state.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < LAST_TRY {
                return false;
            }
            drop(self.changed.wait_timeout_while(state, pause.min(left / 4), |state| !state.ended));
            return true;
        }
        drop(self.changed.wait_timeout_while(state, pause, |state| state.closing.is_none()));
        true
    }

    /// The writer has ended.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Lets the writer send what is left, at most for `bound`; then counts the rest as lost.
    pub(super) fn close(&self, bound: Duration) {
        let mut state = self.lock();
        state.closing = Some(Instant::now() + bound);
        self.changed.notify_all();
        let (mut state, _) =
            self.changed.wait_timeout_while(state, bound, |state| !state.ended).unwrap_or_else(PoisonError::into_inner);
        let left = state.waiting.len() + state.in_flight;
        state.waiting.clear();
        state.in_flight = 0;
        state.ended = true;
        drop(state);
        if left > 0 {
            self.metrics.lost.inc_by(left as u64);
            self.metrics.buffered.dec_by(left as i64);
            crate::log!("audit: lost {left} events that could not be sent within {bound:?} at shutdown");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
