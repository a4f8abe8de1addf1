//! One remediation: what may be done to it, and the audit events of what was done. No time passes and no lock is taken in here.
//!
//! The events follow the original's catalogue of the orchestrator (types, actions, outcomes), except that every end other than
//! success is an `orchestrator.lifecycle.failed`: the original defines that type and then reports failures as `completed`.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use service_kit::audit::{Event, Outcome};
use tokio::time::Instant;

use crate::Phase;
use crate::request::{Decision, Spec};

/// The moment of a change, on the clock that people read and on the one that never jumps.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For history and audit events.
    pub wall: DateTime<Utc>,
    /// For deadlines.
    pub instant: Instant,
}

/// Why something happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Why {
    /// One word, such as `PhaseTimeout`.
    pub reason: String,
    /// The same for a person.
    pub message: String,
}

impl Why {
    /// The word and the sentence.
    pub fn new(reason: impl Into<String>, message: impl Into<String>) -> Why {
        Why { reason: reason.into(), message: message.into() }
    }
}

/// A change that is not possible in the phase that the remediation is in; the text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// What a change leads to: the audit events to write, none if everything was so already.
pub type Change = Result<Vec<Event>, Refused>;

#[derive(Clone, Debug, Serialize)]
struct Transition {
    from: Option<Phase>,
    to: Phase,
    at: String,
    #[serde(flatten)]
    why: Why,
}

#[derive(Clone, Debug, Serialize)]
struct Approval {
    decision: Decision,
    by: String,
    reason: String,
    at: String,
}

/// A remediation.
#[derive(Clone, Debug)]
pub struct Remediation {
    spec: Spec,
    phase: Phase,
    history: Vec<Transition>,
    approval: Option<Approval>,
    created: Now,
    entered: Instant,
}

impl Remediation {
    /// A new one, pending, with the event of its start.
    pub fn new(spec: Spec, now: Now) -> (Remediation, Event) {
        let why = Why::new("Created", "the remediation was requested");
        let history = vec![Transition { from: None, to: Phase::Pending, at: text(now.wall), why }];
        let remediation =
            Remediation { spec, phase: Phase::Pending, history, approval: None, created: now, entered: now.instant };
        let Spec { signal, workflow_id, target_resource, approval_required, timeouts, .. } = &remediation.spec;
        let event = remediation.event("orchestrator.lifecycle.started", "started", Outcome::Pending, now).data(json!({
            "signal": signal, "workflow_id": workflow_id, "target_resource": target_resource,
            "approval_required": approval_required, "timeouts": timeouts,
        }));
        (remediation, event)
    }

    /// What was asked for.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The phase that it is in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it will time out, unless it has ended.
    pub fn deadline(&self) -> Option<Instant> {
        let phase = self.spec.timeouts.of(self.phase)?;
        Some((self.entered + phase).min(self.created.instant + Duration::from(self.spec.timeouts.global_ms)))
    }

    /// Moves it to the phase that a report asks for; a report of the phase that it is in already changes nothing.
    ///
    /// # Errors
    ///
    /// If there is no such edge, or approval is what it takes.
    pub fn report(&mut self, to: Phase, why: Why, now: Now) -> Change {
        if to == self.phase {
            return Ok(Vec::new());
        }
        let waits = self.phase == Phase::AwaitingApproval;
        let must_wait = self.phase == Phase::Analyzing && self.spec.approval_required;
        if to == Phase::Executing && (waits || must_wait) {
            let detail = format!("{} needs approval before it executes", self.subject());
            return Err(Refused(detail));
        }
        self.step(to, why, now)
    }

    /// Takes a decision about approval; the same decision of the same person again changes nothing.
    ///
    /// # Errors
    ///
    /// If it does not await approval.
    pub fn decide(&mut self, decision: Decision, by: &str, reason: &str, now: Now) -> Change {
        if self.approval.as_ref().is_some_and(|known| known.decision == decision && known.by == by) {
            return Ok(Vec::new());
        }
        if self.phase != Phase::AwaitingApproval {
            return Err(Refused(format!("{} awaits no decision about approval", self.subject())));
        }
        let (to, kind, action, outcome, word) = match decision {
            Decision::Approved => {
                (Phase::Executing, "orchestrator.approval.approved", "approved", Outcome::Success, "Approved")
            }
            Decision::Rejected => {
                (Phase::Rejected, "orchestrator.approval.rejected", "rejected", Outcome::Failure, "Rejected")
            }
        };
        let data = json!({ "decision": decision, "decided_by": by, "reason": reason });
        let mut events = vec![self.event(kind, action, outcome, now).data(data)];
        self.approval = Some(Approval { decision, by: by.to_owned(), reason: reason.to_owned(), at: text(now.wall) });
        let message =
            if reason.is_empty() { format!("{action} by {by}") } else { format!("{action} by {by}: {reason}") };
        events.extend(self.step(to, Why::new(word, message), now)?);
        Ok(events)
    }

    /// Stops it; again, changes nothing.
    ///
    /// # Errors
    ///
    /// If it has ended in another way.
    pub fn cancel(&mut self, why: Why, now: Now) -> Change {
        if self.phase == Phase::Cancelled { Ok(Vec::new()) } else { self.step(Phase::Cancelled, why, now) }
    }

    /// Times it out if its deadline has come; the phase is to blame if both deadlines have.
    pub fn expire(&mut self, now: Now) -> Vec<Event> {
        let (Some(timeout), Some(deadline)) = (self.spec.timeouts.of(self.phase), self.deadline()) else {
            return Vec::new();
        };
        if now.instant < deadline {
            return Vec::new();
        }
        let phase = self.phase.name();
        let why = if deadline == self.entered + timeout {
            Why::new("PhaseTimeout", format!("phase `{phase}` took longer than {} ms", timeout.as_millis()))
        } else {
            let global = Duration::from(self.spec.timeouts.global_ms).as_millis();
            Why::new(
                "GlobalTimeout",
                format!("the remediation took longer than {global} ms; it was in phase `{phase}`"),
            )
        };
        let mut events = Vec::new();
        if self.phase == Phase::AwaitingApproval {
            // The catalogue has no type of its own for approval that nobody gave in time.
            let event = self.event("orchestrator.approval.rejected", "expired", Outcome::Failure, now);
            events.push(event.data(json!({ "decision": "expired", "reason": why.message })));
        }
        events.extend(self.step(Phase::TimedOut, why, now).unwrap_or_default());
        events
    }

    /// Moves along one edge.
    fn step(&mut self, to: Phase, why: Why, now: Now) -> Change {
        let from = self.phase;
        if !from.next().contains(&to) {
            let next: Vec<String> = from.next().iter().map(|phase| format!("`{}`", phase.name())).collect();
            let remedy =
                if from.is_end() { "it has ended".to_owned() } else { format!("next is {}", next.join(" or ")) };
            return Err(Refused(format!("{} cannot go to `{}`: {remedy}", self.subject(), to.name())));
        }
        self.phase = to;
        self.entered = now.instant;
        let mut events = vec![self.transition_event(from, &why, now)];
        if to == Phase::AwaitingApproval {
            let event = self.event("orchestrator.approval.requested", "approval_requested", Outcome::Pending, now);
            events.push(event.data(json!({ "workflow_id": self.spec.workflow_id })));
        }
        if to == Phase::Executing {
            let Spec { workflow_id, target_resource, signal, .. } = &self.spec;
            let event = self.event("remediation.workflow_created", "workflow_created", Outcome::Success, now);
            events.push(event.data(json!({
                "workflow_id": workflow_id, "target_resource": target_resource, "signal_fingerprint": signal.fingerprint,
            })));
        }
        self.history.push(Transition { from: Some(from), to, at: text(now.wall), why });
        Ok(events)
    }

    fn transition_event(&self, from: Phase, why: &Why, now: Now) -> Event {
        let data = json!({ "from_phase": from, "to_phase": self.phase, "reason": why.reason, "message": why.message });
        let milliseconds = (now.instant - self.created.instant).as_millis();
        let took = u64::try_from(milliseconds).unwrap_or(u64::MAX);
        match self.phase {
            Phase::Completed => self
                .event("orchestrator.lifecycle.completed", "completed", Outcome::Success, now)
                .data(data)
                .duration_ms(took),
            end if end.is_end() => self
                .event("orchestrator.lifecycle.failed", "failed", Outcome::Failure, now)
                .data(data)
                .data(json!({ "failure_phase": from, "failure_reason": why.reason, "failure_message": why.message }))
                .duration_ms(took),
            _ => self.event("orchestrator.lifecycle.transitioned", "transitioned", Outcome::Success, now).data(data),
        }
    }

    fn event(&self, kind: &'static str, action: &'static str, outcome: Outcome, now: Now) -> Event {
        let Spec { name, namespace, .. } = &self.spec;
        Event::new("orchestration", kind, action, outcome, name, now.wall)
            .resource("RemediationRequest", name)
            .namespace(namespace)
            .data(json!({ "rr_name": name, "namespace": namespace }))
    }

    fn subject(&self) -> String {
        format!("remediation `{}` in phase `{}`", self.spec.name, self.phase.name())
    }

    /// The remediation as the API shows it.
    pub fn to_json(&self) -> Value {
        let mut object = json!(self.spec);
        object["correlation_id"] = json!(self.spec.name);
        object["phase"] = json!(self.phase);
        object["ended"] = json!(self.phase.is_end());
        object["created_at"] = json!(text(self.created.wall));
        object["approval"] = json!(self.approval);
        object["history"] = json!(self.history);
        object
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests;
