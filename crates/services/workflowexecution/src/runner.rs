//! All executions of the service, and the tasks that run them.
//!
//! Every execution has a task of its own; whatever it changes, it changes in the [`Execution`] under the one lock, so a task that
//! is aborted at any point leaves nothing half done. The audit events of a change are handed over under the same lock, in order.
//!
//! At most [`CAPACITY`] executions are kept. When there are so many, the one that ended first makes room; when all run, new ones
//! are refused.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use service_kit::audit::{AuditClient, Event};
use service_kit::{Clock, Problem};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::action::Action;
use crate::execution::{Execution, Phase, Stop};
use crate::request::Spec;

/// How many executions are kept. As parsed JSON a body of the largest size needs some hundred KiB, so that is below 500 MB.
pub const CAPACITY: usize = 1000;

/// All executions of the service.
pub struct Runner {
    audit: AuditClient,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    executions: HashMap<String, (Execution, AbortHandle)>,
    /// The execution that works on each target resource.
    targets: HashMap<String, String>,
    /// Those that have ended, first to last.
    ended: VecDeque<String>,
}

impl Runner {
    /// None yet.
    pub fn new(audit: AuditClient, clock: Clock) -> Runner {
        Runner { audit, clock, state: Mutex::default() }
    }

    /// Starts an execution with the actions of its steps: the execution, and whether it is new. The same request again gives
    /// the execution that exists. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// 409 if another request has the name or another execution works on the target, 503 if there is no room.
    pub fn create(self: &Arc<Self>, spec: Spec, actions: Vec<Action>) -> Result<(Value, bool), Problem> {
        let mut state = self.lock();
        let name = spec.name.clone();
        if let Some((existing, _)) = state.executions.get(&name) {
            return if *existing.spec() == spec {
                Ok((existing.to_json(), false))
            } else {
                Err(Problem::conflict(format!("there is another execution `{name}`: choose a new name")))
            };
        }
        if let Some(other) = state.targets.get(&spec.target_resource) {
            let detail = format!("execution `{other}` works on `{}`: wait for its end", spec.target_resource);
            return Err(Problem::conflict(detail));
        }
        if state.executions.len() >= CAPACITY {
            let Some(oldest) = state.ended.pop_front() else {
                return Err(Problem::unavailable(format!("{CAPACITY} executions run: try again when some have ended")));
            };
            state.executions.remove(&oldest);
        }
        if !spec.target_resource.is_empty() {
            state.targets.insert(spec.target_resource.clone(), name.clone());
        }
        let (execution, events) = Execution::new(spec, self.clock.now());
        events.into_iter().for_each(|event| self.audit.record(event));
        let shown = execution.to_json();
        // Counted from here and not from whenever the task comes to run.
        let deadline = Instant::now() + execution.spec().timeout();
        // The task cannot get ahead: its first act waits for the lock.
        let task = tokio::spawn(Arc::clone(self).run(execution.spec().clone(), actions, deadline));
        state.executions.insert(name, (execution, task.abort_handle()));
        Ok((shown, true))
    }

    /// The execution of that name.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn get(&self, name: &str) -> Result<Value, Problem> {
        self.lock().executions.get(name).map(|(execution, _)| execution.to_json()).ok_or_else(|| not_found(name))
    }

    /// Stops an execution and shows it; one that was cancelled before stays as it is.
    ///
    /// # Errors
    ///
    /// 404, or 409 if it has ended in another way.
    pub fn cancel(&self, name: &str, message: String) -> Result<Value, Problem> {
        let mut state = self.lock();
        let (execution, task) = state.executions.get(name).ok_or_else(|| not_found(name))?;
        match execution.phase() {
            Phase::Running => task.abort(),
            Phase::Cancelled => return Ok(execution.to_json()),
            Phase::Completed | Phase::Failed | Phase::TimedOut => {
                return Err(Problem::conflict(format!("execution `{name}` has ended: there is nothing to cancel")));
            }
        }
        state.change(&self.audit, name, |execution| execution.stop(Stop::Cancelled(message), self.clock.now()));
        state.executions.get(name).map(|(execution, _)| execution.to_json()).ok_or_else(|| not_found(name))
    }

    /// Cancels all that run, since the service stops and forgets them.
    pub fn cancel_all(&self) {
        let mut state = self.lock();
        let names: Vec<String> = state.executions.keys().cloned().collect();
        for name in names {
            let stop = Stop::Cancelled("the service stopped, and keeps executions in memory only".to_owned());
            state.change(&self.audit, &name, |execution| execution.stop(stop, self.clock.now()));
        }
    }

    async fn run(self: Arc<Self>, spec: Spec, actions: Vec<Action>, deadline: Instant) {
        if timeout_at(deadline, self.run_steps(&spec, actions)).await.is_err() {
            let limit = spec.timeout().as_millis();
            self.stop(&spec.name, Stop::TimedOut(format!("the workflow took longer than {limit} ms")));
        }
    }

    async fn run_steps(&self, spec: &Spec, actions: Vec<Action>) {
        let mut outputs = HashMap::new();
        for (index, (step, action)) in spec.workflow.steps.iter().zip(actions).enumerate() {
            let mut goes_on = false;
            self.change(&spec.name, |execution, now| {
                goes_on = execution.begin(index, now);
                None
            });
            if !goes_on {
                return;
            }
            let limit = step.timeout_ms.map_or(Duration::MAX, Duration::from);
            let output = match timeout(limit, action.run(&outputs)).await {
                Ok(Ok(output)) => output,
                Ok(Err(failure)) => return self.stop(&spec.name, Stop::Failed(failure)),
                Err(_) => {
                    let message = format!("step `{}` took longer than {} ms", step.name, limit.as_millis());
                    return self.stop(&spec.name, Stop::TimedOut(message));
                }
            };
            self.change(&spec.name, |execution, now| execution.succeed(output.clone(), now));
            outputs.insert(step.name.clone(), output);
        }
    }

    fn stop(&self, name: &str, stop: Stop) {
        self.change(name, |execution, now| execution.stop(stop, now));
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Execution, DateTime<Utc>) -> Option<Event>) {
        self.lock().change(&self.audit, name, |execution| change(execution, self.clock.now()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change leaves the state half done: each is made by moves that cannot panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Changes an execution; the event that the change gives is that of its end.
    fn change(&mut self, audit: &AuditClient, name: &str, change: impl FnOnce(&mut Execution) -> Option<Event>) {
        let Some((execution, _)) = self.executions.get_mut(name) else { return };
        let Some(end) = change(execution) else { return };
        audit.record(end);
        self.targets.remove(&execution.spec().target_resource);
        self.ended.push_back(name.to_owned());
    }
}

fn not_found(name: &str) -> Problem {
    Problem::not_found(format!("there is no execution `{name}`"))
}

#[cfg(test)]
mod tests;
