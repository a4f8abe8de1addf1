//! All remediations of the service, and the watch over their deadlines.
//!
//! One lock over everything: a change takes microseconds, and the audit events of two changes then reach the audit log in the order
//! of the changes. One task watches all deadlines: it sleeps until the earliest, and is woken when an earlier one comes.
//!
//! At most [`CAPACITY`] remediations are kept. When there are so many, the one that ended first makes room; when none has
//! ended, new ones are refused.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use service_kit::audit::AuditClient;
use service_kit::{Clock, Problem};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::remediation::{Change, Now, Refused, Remediation, Why};
use crate::request::Spec;

/// How many remediations are kept; at the limits of every text that is at most 100 MB.
pub const CAPACITY: usize = 10_000;

/// All remediations of the service.
pub struct Orchestrator {
    audit: AuditClient,
    clock: Clock,
    state: Mutex<State>,
    earlier_deadline: Notify,
}

#[derive(Default)]
struct State {
    remediations: HashMap<String, Remediation>,
    /// The deadline of each that has not ended.
    deadlines: BTreeSet<(Instant, String)>,
    /// Those that have ended, first to last.
    ended: VecDeque<String>,
}

impl Orchestrator {
    /// None yet.
    pub fn new(audit: AuditClient, clock: Clock) -> Orchestrator {
        Orchestrator { audit, clock, state: Mutex::default(), earlier_deadline: Notify::new() }
    }

    /// Takes in a request: the remediation, and whether it is new. The same request again gives the remediation that exists.
    ///
    /// # Errors
    ///
    /// 409 if another request has the name, 503 if there is no room.
    pub fn create(&self, spec: Spec) -> Result<(Value, bool), Problem> {
        let mut state = self.lock();
        if let Some(existing) = state.remediations.get(&spec.name) {
            return if *existing.spec() == spec {
                Ok((existing.to_json(), false))
            } else {
                let detail = format!("there is another remediation `{}`: choose a new name", spec.name);
                Err(Problem::conflict(detail))
            };
        }
        if state.remediations.len() >= CAPACITY {
            let Some(oldest) = state.ended.pop_front() else {
                let detail = format!("{CAPACITY} remediations are open: end some, or try again later");
                return Err(Problem::unavailable(detail));
            };
            state.remediations.remove(&oldest);
        }
        let (remediation, event) = Remediation::new(spec, self.now());
        self.audit.record(event);
        let shown = remediation.to_json();
        if let Some(deadline) = remediation.deadline() {
            state.deadlines.insert((deadline, remediation.spec().name.clone()));
        }
        state.remediations.insert(remediation.spec().name.clone(), remediation);
        self.earlier_deadline.notify_one();
        Ok((shown, true))
    }

    /// The remediation of that name.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn get(&self, name: &str) -> Result<Value, Problem> {
        // A deadline that has come but whose timer is late counts as passed for whoever looks, too.
        self.change(name, |_, _| Ok(Vec::new()))
    }

    /// Changes the remediation of that name, and shows what became of it.
    ///
    /// # Errors
    ///
    /// 404, or 409 if its phase does not allow the change.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Remediation, Now) -> Change) -> Result<Value, Problem> {
        let changed = self.lock().change(&self.audit, name, self.now(), change);
        self.earlier_deadline.notify_one();
        match changed {
            Some(Ok(shown)) => Ok(shown),
            Some(Err(Refused(detail))) => Err(Problem::conflict(detail)),
            None => Err(Problem::not_found(format!("there is no remediation `{name}`"))),
        }
    }

    /// Cancels all that have not ended, since the service stops and forgets them.
    pub fn cancel_all(&self) {
        let mut state = self.lock();
        for (_, name) in state.deadlines.clone() {
            let why = Why::new("ServiceStopped", "the service stopped, and keeps remediations in memory only");
            drop(state.change(&self.audit, &name, self.now(), |remediation, now| remediation.cancel(why, now)));
        }
    }

    /// Times out what has reached its deadline, for ever.
    pub async fn watch_deadlines(self: Arc<Self>) {
        loop {
            match self.expire_due() {
                Some(next) => tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.earlier_deadline.notified() => {}
                },
                None => self.earlier_deadline.notified().await,
            }
        }
    }

    /// Times out what is due, and tells when to look again.
    fn expire_due(&self) -> Option<Instant> {
        let mut state = self.lock();
        let now = self.now();
        while let Some((deadline, name)) = state.deadlines.first().cloned() {
            if deadline > now.instant {
                return Some(deadline);
            }
            drop(state.change(&self.audit, &name, now, |_, _| Ok(Vec::new())));
        }
        None
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.now(), instant: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change leaves the state half done: each is made by moves that cannot panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Applies the deadline, then the change, and keeps the indexes in step; `None` if there is no such remediation.
    fn change(
        &mut self,
        audit: &AuditClient,
        name: &str,
        now: Now,
        change: impl FnOnce(&mut Remediation, Now) -> Change,
    ) -> Option<Result<Value, Refused>> {
        let remediation = self.remediations.get_mut(name)?;
        let before = remediation.deadline();
        let mut events = remediation.expire(now);
        let changed = change(remediation, now);
        let refused = changed.map(|more| events.extend(more));
        events.into_iter().for_each(|event| audit.record(event));
        let after = remediation.deadline();
        let shown = refused.map(|()| remediation.to_json());
        if before != after {
            if let Some(before) = before {
                self.deadlines.remove(&(before, name.to_owned()));
            }
            match after {
                Some(after) => drop(self.deadlines.insert((after, name.to_owned()))),
                None => self.ended.push_back(name.to_owned()),
            }
        }
        Some(shown)
    }
}

#[cfg(test)]
mod tests;
