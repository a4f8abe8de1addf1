//! The audit: whether a run followed the pattern, told from what it did.
//!
//! Every line is derived from what was executed: the order of the events, the command lines, the references and the digests.
//! No step says of itself that it kept a rule. What could not be looked at is unchecked and never passed; what should be in
//! the record and is not, fails.

mod facts;
mod proof;
mod render;
mod retag;
mod rules;

use event::{Event, Record};
use serde::Serialize;

use facts::Facts;

/// What a line of the checklist came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The record shows that the rule was kept.
    Passed,
    /// It could not be looked at. Not a pass.
    Unchecked,
    /// The rule was broken, or the record does not show that it was kept.
    Failed,
}

/// A line of the checklist.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Stable name of the check, for programs: `no_retag`.
    pub check: String,
    /// The rule in words.
    pub title: String,
    /// What it came to.
    pub verdict: Finding,
    /// What shows that: what is wrong first, if anything is.
    pub evidence: Vec<String>,
    /// Numbers (`seq`) of the events that show it.
    pub events: Vec<u64>,
}

/// The checklist of one service.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceAudit {
    /// The service.
    pub service: String,
    /// Its lines, in the order of the pattern.
    pub lines: Vec<Line>,
}

/// The audit of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Audit {
    /// Version of the format: 1.
    pub version: u32,
    /// The run.
    pub run: String,
    /// Its platform.
    pub platform: String,
    /// A checklist per service.
    pub services: Vec<ServiceAudit>,
}

impl Audit {
    /// Whether no line failed, and there is at least one checklist. Unchecked lines do not fail; they are shown and counted.
    pub fn passed(&self) -> bool {
        !self.services.is_empty() && self.count(Finding::Failed) == 0
    }

    /// Number of lines that came to this.
    pub fn count(&self, finding: Finding) -> usize {
        self.services.iter().flat_map(|service| &service.lines).filter(|line| line.verdict == finding).count()
    }
}

/// Audits a run. The records are to be verified before ([`crate::record::read`]). `earlier` are the references of the runs
/// before ([`crate::record::references`]); none if they were not looked at.
pub fn audit(records: &[Record], earlier: Option<&[String]>) -> Audit {
    let mut audit = Audit { version: 1, run: String::new(), platform: String::new(), services: Vec::new() };
    let Some(first) = records.first() else { return audit };
    audit.run.clone_from(&first.run);
    if let Event::RunStarted { platform, services, .. } = &first.event {
        audit.platform.clone_from(platform);
        for service in services {
            let facts = Facts::of(records, service);
            let mut lines = vec![
                rules::tag_before_build(&facts),
                rules::build_used_tag(&facts),
                rules::load_used_tag(&facts),
                rules::deploy_used_tag(&facts),
                rules::no_retag(&facts),
                rules::no_late_tag(&facts),
                rules::not_shared(&facts),
                rules::never_seen(&facts, earlier),
            ];
            lines.extend(proof::lines(&facts));
            lines.push(rules::nothing_left(&facts));
            audit.services.push(ServiceAudit { service: service.clone(), lines });
        }
    }
    audit
}

/// Collects what speaks for and against a line.
#[derive(Default)]
struct Judge {
    faults: Vec<String>,
    unchecked: Vec<String>,
    evidence: Vec<String>,
    events: Vec<u64>,
}

impl Judge {
    fn saw(&mut self, events: impl IntoIterator<Item = u64>) {
        self.events.extend(events);
    }

    fn line(mut self, check: impl Into<String>, title: impl Into<String>) -> Line {
        let verdict = match (self.faults.is_empty(), self.unchecked.is_empty()) {
            (false, _) => Finding::Failed,
            (true, false) => Finding::Unchecked,
            (true, true) => Finding::Passed,
        };
        self.events.sort_unstable();
        self.events.dedup();
        let evidence = [self.faults, self.unchecked, self.evidence].concat();
        Line { check: check.into(), title: title.into(), verdict, evidence, events: self.events }
    }
}

#[cfg(test)]
mod tests;
