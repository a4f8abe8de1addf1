//! Questions that several reports ask of a [`Summary`].

use event::{Phase, StepOutcome, Verdict};
use serde::Serialize;

use crate::model::{Command, Pipeline, Step, Summary};
use crate::path;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Passed.
    pub passed: usize,
    /// Failed, or could not run to their end.
    pub failed: usize,
    /// Not run, because they are marked as ignored.
    pub skipped: usize,
}

/// When a phase of a pipeline began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The phase.
    pub phase: Phase,
    /// Start of its first step, in microseconds since the start of the run.
    pub start_us: u64,
    /// End of its last step.
    pub end_us: u64,
}

impl Summary {
    /// The steps of a pipeline, with those of the run that serve every pipeline (the one build).
    pub fn steps_of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a Step> {
        self.steps.iter().filter(move |step| step.service.as_deref().is_none_or(|of| of == service))
    }

    /// The phases that a pipeline reached, in order.
    pub fn phases(&self, service: &str) -> Vec<Span> {
        let span = |phase| {
            let steps = || self.steps_of(service).filter(move |step| step.phase == phase);
            let start_us = steps().map(|step| step.start_us).min()?;
            let end_us = steps().map(|step| step.end_us.unwrap_or(self.last_us)).max()?;
            Some(Span { phase, start_us, end_us })
        };
        Phase::ALL.into_iter().filter_map(span).collect()
    }

    /// The steps that decided how long a pipeline took, first to last.
    pub fn critical_path(&self, service: &str) -> Vec<&Step> {
        path::critical(&self.steps, service)
    }

    /// The pipeline that ended last: its critical path is that of the run.
    pub fn slowest(&self) -> Option<&Pipeline> {
        self.pipelines.iter().max_by_key(|pipeline| pipeline.end_us)
    }

    /// The step at which a pipeline stopped: its own that failed or was cancelled, else one of the run that it needed.
    pub fn stopped_at<'a>(&'a self, pipeline: &'a Pipeline) -> Option<&'a Step> {
        let wanted = |step: &&Step| match pipeline.verdict {
            Verdict::Error => step.outcome == Some(StepOutcome::Failed),
            Verdict::Interrupted => step.outcome == Some(StepOutcome::Cancelled),
            _ => false,
        };
        let own = |step: &&Step| step.service.is_some();
        let mut found = self.steps_of(&pipeline.service).filter(wanted);
        // Teardown goes on after a failure; if it fails too, that is not the cause.
        self.steps_of(&pipeline.service).filter(wanted).find(own).or_else(|| found.next())
    }

    /// The command that failed when a pipeline stopped.
    pub fn failed_command<'a>(&'a self, pipeline: &'a Pipeline) -> Option<&'a Command> {
        self.stopped_at(pipeline)?.failed_command.as_ref()
    }

    /// The pipelines that did not pass, those with the same cause and evidence together: what the whole run needed and did
    /// not get (the build) is told once.
    pub fn not_passed(&self) -> Vec<Vec<&Pipeline>> {
        let mut groups: Vec<Vec<&Pipeline>> = Vec::new();
        for pipeline in self.pipelines.iter().filter(|pipeline| pipeline.verdict != Verdict::Passed) {
            match groups.iter_mut().find(|group| group[0].stopped_like(pipeline)) {
                Some(group) => group.push(pipeline),
                None => groups.push(vec![pipeline]),
            }
        }
        groups
    }

    /// The tests of all pipelines.
    pub fn counts(&self) -> Counts {
        self.pipelines.iter().map(Pipeline::counts).fold(Counts::default(), |a, b| Counts {
            passed: a.passed + b.passed,
            failed: a.failed + b.failed,
            skipped: a.skipped + b.skipped,
        })
    }
}

impl Pipeline {
    pub(crate) fn new(service: &str) -> Pipeline {
        Pipeline {
            service: service.to_owned(),
            verdict: Verdict::Error,
            cause: Some("the record has no end of this pipeline".to_owned()),
            end_us: None,
            images: Vec::new(),
            tests: Vec::new(),
            diagnosis: None,
        }
    }

    /// How many of its tests ended how.
    pub fn counts(&self) -> Counts {
        let count = |wanted: &dyn Fn(Verdict) -> bool| self.tests.iter().filter(|test| wanted(test.verdict)).count();
        let (passed, skipped) = (count(&|v| v == Verdict::Passed), count(&|v| v == Verdict::Skipped));
        Counts { passed, failed: self.tests.len() - passed - skipped, skipped }
    }

    /// Its tests that neither passed nor were skipped.
    pub fn failed_tests(&self) -> impl Iterator<Item = &crate::model::Test> {
        self.tests.iter().filter(|test| !matches!(test.verdict, Verdict::Passed | Verdict::Skipped))
    }

    /// Whether another pipeline stopped for the same reason, so that the same words tell of both.
    fn stopped_like(&self, other: &Pipeline) -> bool {
        let of = |pipeline: &Pipeline| {
            let evidence = pipeline.diagnosis.as_ref().map(|diagnosis| diagnosis.evidence.clone());
            (pipeline.verdict, pipeline.why().map(str::to_owned), evidence)
        };
        // Tests of one name are different tests in different suites.
        let tests = self.failed_tests().next().is_some() || other.failed_tests().next().is_some();
        self.verdict != Verdict::Failed && !tests && of(self) == of(other)
    }

    /// Why it did not pass, in one sentence; none if it did.
    pub fn why(&self) -> Option<&str> {
        if self.verdict == Verdict::Passed {
            return None;
        }
        self.diagnosis.as_ref().map(|diagnosis| diagnosis.cause.as_str()).or(self.cause.as_deref())
    }
}

/// The word for a verdict, as in `report.json`.
pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::Error => "error",
        Verdict::Interrupted => "interrupted",
        Verdict::Skipped => "skipped",
    }
}
