//! One execution: how it stands, and the audit events of what happened. Nothing runs and no lock is taken in here.
//!
//! What must hold: an execution ends once. Whoever wants to change it afterwards changes nothing, so the last step, a timeout
//! and a cancellation may come in any order.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use service_kit::audit::{Event, Outcome};

use crate::action::Failure;
use crate::request::{Spec, Workflow};

/// Where an execution is in its life: running, or one of four ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its steps run.
    Running,
    /// Every step succeeded.
    Completed,
    /// A step failed.
    Failed,
    /// A step or the whole took too long.
    TimedOut,
    /// Somebody stopped it.
    Cancelled,
}

/// Where a step is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not its turn yet.
    Pending,
    /// It runs.
    Running,
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// It, or the whole, took too long while it ran.
    TimedOut,
    /// Somebody stopped the execution while it ran.
    Cancelled,
    /// The execution ended before its turn.
    Skipped,
}

/// An end other than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The running step failed.
    Failed(Failure),
    /// The step or the whole took too long; the text says which.
    TimedOut(String),
    /// Somebody stopped it; the text says who and why.
    Cancelled(String),
}

#[derive(Clone, Debug, Serialize)]
struct StepState {
    name: String,
    action: String,
    status: Status,
    started_at: Option<String>,
    ended_at: Option<String>,
    output: Option<Value>,
}

/// An execution.
#[derive(Clone, Debug)]
pub struct Execution {
    spec: Spec,
    phase: Phase,
    steps: Vec<StepState>,
    failure: Option<Value>,
    started: DateTime<Utc>,
    ended: Option<DateTime<Utc>>,
}

impl Execution {
    /// A new one that runs, with the events of its selection and start.
    pub fn new(spec: Spec, now: DateTime<Utc>) -> (Execution, [Event; 2]) {
        let steps = spec.workflow.steps.iter().map(|step| StepState {
            name: step.name.clone(),
            action: step.action.clone(),
            status: Status::Pending,
            started_at: None,
            ended_at: None,
            output: None,
        });
        let steps = steps.collect();
        let execution = Execution { spec, phase: Phase::Running, steps, failure: None, started: now, ended: None };
        let count = json!({ "steps": execution.steps.len() });
        let selection = execution.event("workflowexecution.selection.completed", "completed", Outcome::Success, now);
        let start = execution.event("workflowexecution.execution.started", "started", Outcome::Success, now);
        let events = [selection.data(count), start];
        (execution, events)
    }

    /// What was asked for.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Begins a step; false if the execution has ended and nothing more may run.
    pub fn begin(&mut self, step: usize, now: DateTime<Utc>) -> bool {
        if self.phase != Phase::Running {
            return false;
        }
        let step = &mut self.steps[step];
        step.status = Status::Running;
        step.started_at = Some(text(now));
        true
    }

    /// The running step has succeeded; the event is that of the whole, if it was the last.
    pub fn succeed(&mut self, output: Value, now: DateTime<Utc>) -> Option<Event> {
        if self.phase != Phase::Running {
            return None;
        }
        self.end_step(Status::Succeeded, now);
        if let Some(step) = self.steps.iter_mut().rfind(|step| step.status == Status::Succeeded) {
            step.output = Some(output);
        }
        if self.steps.iter().any(|step| step.status != Status::Succeeded) {
            return None;
        }
        self.phase = Phase::Completed;
        self.ended = Some(now);
        let event = self.event("workflowexecution.workflow.completed", "completed", Outcome::Success, now);
        Some(event.duration_ms(self.duration_ms(now)))
    }

    /// Ends it without success: the running step gets the same end, and those after it are skipped. No event if it has ended
    /// already.
    pub fn stop(&mut self, stop: Stop, now: DateTime<Utc>) -> Option<Event> {
        if self.phase != Phase::Running {
            return None;
        }
        let (phase, status, failure) = match stop {
            Stop::Failed(failure) => (Phase::Failed, Status::Failed, failure),
            // The reason that Kubernetes gives to Jobs that took too long, which the original passes on.
            Stop::TimedOut(message) => {
                (Phase::TimedOut, Status::TimedOut, Failure { reason: "DeadlineExceeded".to_owned(), message })
            }
            Stop::Cancelled(message) => {
                (Phase::Cancelled, Status::Cancelled, Failure { reason: "Cancelled".to_owned(), message })
            }
        };
        let step = self.end_step(status, now);
        for step in self.steps.iter_mut().filter(|step| step.status == Status::Pending) {
            step.status = Status::Skipped;
        }
        self.phase = phase;
        self.ended = Some(now);
        let Failure { reason, message } = failure;
        self.failure = Some(json!({ "reason": reason, "message": message, "step": step }));
        let event = self.event("workflowexecution.workflow.failed", "failed", Outcome::Failure, now);
        let data = json!({ "failure_reason": reason, "failure_message": message, "failed_step": step });
        Some(event.data(data).duration_ms(self.duration_ms(now)))
    }

    /// Gives the running step its end, and tells its name.
    fn end_step(&mut self, status: Status, now: DateTime<Utc>) -> Option<String> {
        let step = self.steps.iter_mut().find(|step| step.status == Status::Running)?;
        step.status = status;
        step.ended_at = Some(text(now));
        Some(step.name.clone())
    }

    fn duration_ms(&self, now: DateTime<Utc>) -> u64 {
        // The wall clock may have been set back meanwhile.
        u64::try_from((now - self.started).num_milliseconds()).unwrap_or(0)
    }

    fn event(&self, kind: &'static str, action: &'static str, outcome: Outcome, now: DateTime<Utc>) -> Event {
        let Spec { name, namespace, remediation_request, target_resource, workflow, .. } = &self.spec;
        let Workflow { id, version, .. } = workflow;
        Event::new("workflowexecution", kind, action, outcome, remediation_request, now)
            .resource("WorkflowExecution", name)
            .namespace(namespace)
            .data(json!({
                "execution_name": name, "workflow_id": id, "workflow_version": version,
                "target_resource": target_resource, "phase": self.phase,
            }))
    }

    /// The execution as the API shows it.
    pub fn to_json(&self) -> Value {
        let Spec { name, namespace, remediation_request, target_resource, workflow, .. } = &self.spec;
        json!({
            "name": name,
            "namespace": namespace,
            "remediation_request": remediation_request,
            "correlation_id": remediation_request,
            "target_resource": target_resource,
            "workflow": { "id": workflow.id, "version": workflow.version },
            "timeout_ms": u64::try_from(self.spec.timeout().as_millis()).unwrap_or(u64::MAX),
            "phase": self.phase,
            "ended": self.ended.is_some(),
            "started_at": text(self.started),
            "ended_at": self.ended.map(text),
            "duration_ms": self.ended.map(|ended| self.duration_ms(ended)),
            "failure": self.failure,
            "steps": self.steps,
        })
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests;
