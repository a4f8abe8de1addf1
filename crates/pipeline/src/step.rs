//! Steps: the unit that is recorded, limited and cancelled.

use std::any::Any;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::anyhow;
use supervise::{Cancel, Cmd, Observer};

use crate::event::{Event, Phase, StepOutcome};
use crate::failure::is_cancelled;
use crate::recorder::Recorder;
use crate::shared::{Limit, Permit};

/// Where steps are made: a recorder, a cancellation, and the pipeline that they belong to (none for those of the run).
#[derive(Clone)]
pub struct Steps {
    recorder: Arc<Recorder>,
    cancel: Cancel,
    service: Option<String>,
}

impl Steps {
    /// Steps of the run itself.
    pub fn of_run(recorder: Arc<Recorder>, cancel: Cancel) -> Steps {
        Steps { recorder, cancel, service: None }
    }

    /// The same for one pipeline.
    pub fn of_pipeline(&self, service: &str) -> Steps {
        Steps { service: Some(service.to_owned()), ..self.clone() }
    }

    /// The same under another cancellation: teardown goes on after the run was cancelled.
    pub fn with_cancel(&self, cancel: Cancel) -> Steps {
        Steps { cancel, ..self.clone() }
    }

    /// Does the work of a step, and records its start and end. A panic in it is a failure of the step, so that the other
    /// pipelines go on and everything is still removed.
    ///
    /// # Errors
    /// What the work returns, a panic, or that the run was cancelled before it began.
    pub fn step<T>(
        &self,
        phase: Phase,
        name: impl Into<String>,
        work: impl FnOnce(&Step) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.cancel.check()?;
        let step = Step {
            id: self.recorder.unique(),
            recorder: Arc::clone(&self.recorder),
            cancel: self.cancel.clone(),
            service: self.service.clone(),
            waited_us: AtomicU64::new(0),
        };
        self.recorder.event(Event::StepStarted {
            step: step.id,
            service: self.service.clone(),
            phase,
            name: name.into(),
        });
        let result = catch_unwind(AssertUnwindSafe(|| work(&step))).unwrap_or_else(|panic| Err(panicked(panic)));
        let (outcome, cause) = match &result {
            Ok(_) => (StepOutcome::Ok, None),
            Err(error) if is_cancelled(error) => (StepOutcome::Cancelled, Some(format!("{error:#}"))),
            Err(error) => (StepOutcome::Failed, Some(format!("{error:#}"))),
        };
        let waited_us = step.waited_us.load(Ordering::Relaxed);
        self.recorder.event(Event::StepEnded { step: step.id, outcome, cause, waited_us });
        result
    }

    /// Records something that is not part of a step.
    pub fn event(&self, event: Event) {
        self.recorder.event(event);
    }

    /// The recorder.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// The cancellation that the steps heed.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

/// What a panic is to the run: a failure like any other.
#[expect(clippy::needless_pass_by_value, reason = "it is what `join` and `catch_unwind` give")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    anyhow!("the tool itself panicked: {text}; please report this with the file `events.jsonl`")
}

/// A step under way.
pub struct Step {
    id: u64,
    recorder: Arc<Recorder>,
    cancel: Cancel,
    service: Option<String>,
    waited_us: AtomicU64,
}

impl Step {
    /// Ends every wait of the step when the run is cancelled.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The pipeline that it belongs to; empty for a step of the run.
    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or_default()
    }

    /// Records something that happened in it.
    pub fn event(&self, event: Event) {
        self.recorder.event(event);
    }

    /// A remark for people.
    pub fn note(&self, text: impl Into<String>) {
        self.recorder.event(Event::Note { service: self.service.clone(), text: text.into() });
    }

    /// The recorder.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Waits for a permit; the time counts as waited, not as worked.
    ///
    /// # Errors
    /// If the run is cancelled first.
    pub fn permit<L: Deref<Target = Limit>>(&self, limit: L) -> anyhow::Result<Permit<L>> {
        let start = self.recorder.elapsed();
        let permit = Permit::of(limit, &self.cancel)?;
        let waited = self.recorder.elapsed().saturating_sub(start);
        self.waited_us.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(permit)
    }

    /// What tells the record of the commands of this step.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(CommandRecorder { step: Some(self.id), recorder: Arc::clone(&self.recorder) })
    }

    /// A command whose start and end are recorded, and that carries the mark by which `clean` finds what a killed run left.
    pub fn command(&self, program: impl Into<std::ffi::OsString>) -> Cmd {
        Cmd::new(program).env(crate::ledger::RUN_MARK, self.recorder.run_id()).observer(self.observer())
    }
}

struct CommandRecorder {
    step: Option<u64>,
    recorder: Arc<Recorder>,
}

impl Observer for CommandRecorder {
    fn started(&self, line: &str, pid: u32) -> u64 {
        let command = self.recorder.unique();
        self.recorder.event(Event::CommandStarted { command, step: self.step, line: line.to_owned(), pid });
        command
    }

    fn ended(&self, id: u64, status: &str, ok: bool, leaked: bool) {
        self.recorder.event(Event::CommandEnded { command: id, status: status.to_owned(), ok, leaked });
    }
}
