//! A line per transition.

use std::time::Duration;

use event::{Event, LinkVerdict, Moment, Record, StepOutcome, Verdict};

use super::{Mode, Style, Terminal, Verbosity, style};
use crate::model::Step;
use crate::query::word;
use crate::text::{count, duration, one_line, pad};

/// Stands where the name of a pipeline stands, for what serves them all.
pub(super) const ALL: &str = "(all)";

impl Terminal {
    /// The lines that stay on the screen for this event.
    pub(super) fn lines(&self, record: &Record) -> Vec<String> {
        let at = record.us;
        let verbosity = self.config.verbosity;
        let (normal, verbose) = (verbosity >= Verbosity::Normal, verbosity == Verbosity::Verbose);
        // The live lines show the steps; above them only what must not be missed.
        let steps = verbose || (normal && self.config.mode == Mode::Lines);
        let line = match &record.event {
            Event::RunStarted { platform, services, .. } if normal => {
                return vec![format!("run {} on {platform}: {}", record.run, services.join(", "))];
            }
            Event::StepStarted { service, phase, name, .. } if verbose || (steps && service.is_none()) => {
                self.line(at, service.as_deref(), phase.name(), &format!("{} …", one_line(name)))
            }
            Event::StepEnded { step, .. } => match self.summary.steps.iter().rev().find(|known| known.id == *step) {
                Some(step) if steps || (normal && step.outcome == Some(StepOutcome::Failed)) => {
                    self.step_ended(at, step)
                }
                _ => return Vec::new(),
            },
            Event::CommandStarted { step, line, .. } if verbose => {
                let step = self.summary.steps.iter().rev().find(|known| Some(known.id) == *step);
                let service = step.and_then(|step| step.service.as_deref());
                self.line(at, service, "", &self.paint(Style::Faint, &format!("$ {}", one_line(line))))
            }
            Event::TagMade { service, reference, .. } if verbose => self.line(at, Some(service), "tag", reference),
            Event::Endpoint { service, workload, url, .. } if verbose => {
                self.line(at, Some(service), "deploy", &format!("{workload} at {url}"))
            }
            Event::Proof { service, workload, link, moment, verdict, expected, found }
                if verbose || (normal && *verdict == LinkVerdict::Broken) =>
            {
                let moment = if *moment == Moment::BeforeTests { "" } else { " after the tests" };
                let found = match verdict {
                    LinkVerdict::Holds => "holds".to_owned(),
                    LinkVerdict::Broken => {
                        let text = format!("BROKEN: expected {}, found {}", one_line(expected), one_line(found));
                        self.paint(Style::Bad, &text)
                    }
                    LinkVerdict::Unchecked => self.paint(Style::Warning, &format!("unchecked: {}", one_line(found))),
                };
                self.line(at, Some(service), "proof", &format!("{workload}: {}{moment} {found}", link.describe()))
            }
            Event::Test { service, name, verdict, took_us, .. }
                if verbose || (normal && !matches!(verdict, Verdict::Passed | Verdict::Skipped)) =>
            {
                let verdict =
                    self.paint(style(*verdict), if *verdict == Verdict::Failed { "FAILED" } else { word(*verdict) });
                self.line(at, Some(service), "test", &format!("{} {verdict} ({})", one_line(name), duration(*took_us)))
            }
            Event::Retry { service, what, fault, attempt } if normal => {
                let text = format!("{} again, try {attempt}: {}", one_line(what), one_line(fault));
                self.line(at, service.as_deref(), "retry", &self.paint(Style::Warning, &text))
            }
            Event::Note { service, text } if normal => self.line(at, service.as_deref(), "note", &one_line(text)),
            Event::Removed { service, what, error: Some(error) } => {
                let text = format!("NOT removed: {}: {}", one_line(what), one_line(error));
                self.line(at, service.as_deref(), "teardown", &self.paint(Style::Bad, &text))
            }
            // The whole diagnosis is told at the end, where it is found without scrolling.
            Event::PipelineEnded { service, verdict, cause } if steps => {
                let cause = cause.as_ref().map(|cause| format!(": {}", one_line(cause))).unwrap_or_default();
                let verdict = self.paint(style(*verdict), &word(*verdict).to_uppercase());
                self.line(at, Some(service), "end", &format!("{verdict}{cause}"))
            }
            _ => return Vec::new(),
        };
        vec![line]
    }

    fn step_ended(&self, at: u64, step: &Step) -> String {
        let took = duration(at.saturating_sub(step.start_us));
        let waited =
            if step.waited_us >= 10_000 { format!(", waited {}", duration(step.waited_us)) } else { String::new() };
        let cause = step.cause.as_ref().map(|cause| format!(": {}", one_line(cause))).unwrap_or_default();
        let name = one_line(&step.name);
        let text = match step.outcome {
            Some(StepOutcome::Failed) => self.paint(Style::Bad, &format!("{name} FAILED after {took}{cause}")),
            Some(StepOutcome::Cancelled) => self.paint(Style::Warning, &format!("{name} cancelled after {took}")),
            _ => format!("{name} ({took}{waited})"),
        };
        self.line(at, step.service.as_deref(), step.phase.name(), &text)
    }

    fn line(&self, at: u64, service: Option<&str>, word: &str, text: &str) -> String {
        let tenths = (at + 50_000) / 100_000;
        let time = format!("{:>5}.{}s", tenths / 10, tenths % 10);
        let service = pad(service.unwrap_or(ALL), self.service_width());
        format!("{}  {service}  {}  {text}", self.paint(Style::Faint, &time), pad(word, 8))
    }

    /// What is being waited for, oldest first.
    pub(super) fn heartbeat(&self, now: Duration) -> Option<String> {
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let open: Vec<_> = self.summary.steps.iter().filter(|step| step.end_us.is_none()).collect();
        // Short enough to read; the rest is in the record.
        let shown = open.iter().take(4).map(|step| {
            let service = step.service.as_deref().map(|service| format!("{service}: ")).unwrap_or_default();
            format!("{service}{} ({})", one_line(&step.name), duration(now_us.saturating_sub(step.start_us)))
        });
        let mut shown: Vec<_> = shown.collect();
        if open.len() > 4 {
            shown.push(format!("{} more", open.len() - 4));
        }
        let first = open.first()?;
        let (service, phase) = (first.service.as_deref(), first.phase.name());
        let tests = match self.summary.counts() {
            counts if counts.passed + counts.failed == 0 => String::new(),
            counts => format!("; {} ended so far", count(counts.passed + counts.failed, "test")),
        };
        Some(self.line(now_us, service, phase, &format!("still waiting for {}{tests}", shown.join(", "))))
    }
}
