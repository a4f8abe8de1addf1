//! A run that ended, and what its record says.

use std::collections::BTreeMap;
use std::fs;

use pipeline::event::{Event, Link, LinkVerdict, Moment, Phase, Record, StepOutcome, Verdict};
use pipeline::ledger::{RUN_MARK, leftovers};
use pipeline::run::Outcome;

use crate::kit::get;

/// A run that ended.
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) records: Vec<Record>,
}

/// A step of the record, with the numbers of its first and last line.
pub(crate) struct StepOf {
    pub(crate) service: Option<String>,
    pub(crate) phase: Phase,
    pub(crate) name: String,
    pub(crate) started: u64,
    pub(crate) ended: u64,
    pub(crate) outcome: StepOutcome,
}

/// Why a pipeline stopped.
#[derive(Debug, Default)]
pub(crate) struct Why {
    pub(crate) cause: String,
    pub(crate) evidence: Vec<String>,
    pub(crate) hint: String,
    pub(crate) log: String,
}

impl Ran {
    pub(crate) fn id(&self) -> &str {
        &self.records[0].run
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.records.iter().map(|record| &record.event)
    }

    /// How a pipeline ended and why.
    pub(crate) fn ended(&self, of: &str) -> (Verdict, String) {
        let ended = self.events().find_map(|event| match event {
            Event::PipelineEnded { service, verdict, cause } if service == of => {
                Some((*verdict, cause.clone().unwrap_or_default()))
            }
            _ => None,
        });
        ended.unwrap_or_else(|| panic!("`{of}` has no end in the record:\n{}", self.text()))
    }

    pub(crate) fn passed(&self, of: &str) {
        let (verdict, cause) = self.ended(of);
        assert_eq!(verdict, Verdict::Passed, "{of}: {cause}\n{}", self.text());
    }

    /// What was said to the user of a pipeline that could not run; it has ended with an error.
    pub(crate) fn why(&self, of: &str) -> Why {
        let (verdict, cause) = self.ended(of);
        assert_eq!(verdict, Verdict::Error, "{of}: {cause}\n{}", self.text());
        let why = self.events().find_map(|event| match event {
            Event::Diagnosis { service: Some(service), cause, evidence, hint, log } if service == of => Some(Why {
                cause: cause.clone(),
                evidence: evidence.clone(),
                hint: hint.clone().unwrap_or_default(),
                log: log.clone().unwrap_or_default(),
            }),
            _ => None,
        });
        let why = why.unwrap_or_else(|| panic!("nothing was said of `{of}`:\n{}", self.text()));
        assert_eq!(why.cause, cause, "the same sentence in both places");
        // One sentence: one line, no full stop, no noise of the program's own types.
        assert!(!why.cause.contains('\n') && !why.cause.ends_with('.') && !why.cause.is_empty(), "{why:?}");
        if !why.log.is_empty() {
            assert!(self.outcome.dir.join(&why.log).is_file(), "the log that is named is there: {why:?}");
        }
        why
    }

    /// The steps, in the order in which they ended.
    pub(crate) fn steps(&self) -> Vec<StepOf> {
        let mut started = BTreeMap::new();
        let mut steps = Vec::new();
        for record in &self.records {
            match &record.event {
                Event::StepStarted { step, service, phase, name } => {
                    started.insert(*step, (record.seq, service.clone(), *phase, name.clone()));
                }
                Event::StepEnded { step, outcome, .. } => {
                    let (seq, service, phase, name) = started.remove(step).expect("a step starts before it ends");
                    let (started, ended) = (seq, record.seq);
                    steps.push(StepOf { service, phase, name, started, ended, outcome: *outcome });
                }
                _ => {}
            }
        }
        assert!(started.is_empty(), "every step ends: {started:?}");
        steps
    }

    /// The links that were looked at: link, when, what was found.
    pub(crate) fn proofs(&self, of: &str) -> Vec<(Link, Moment, LinkVerdict)> {
        let proofs = self.events().filter_map(|event| match event {
            Event::Proof { service, link, moment, verdict, .. } if service == of => Some((*link, *moment, *verdict)),
            _ => None,
        });
        proofs.collect()
    }

    /// The first broken link.
    pub(crate) fn broken(&self, of: &str) -> Option<(Link, Moment)> {
        let mut proofs = self.proofs(of).into_iter();
        proofs.find(|(_, _, verdict)| *verdict == LinkVerdict::Broken).map(|(link, moment, _)| (link, moment))
    }

    /// The tests, by name: how they ended and what they printed.
    pub(crate) fn tests(&self, of: &str) -> BTreeMap<String, (Verdict, String)> {
        let tests = self.events().filter_map(|event| match event {
            Event::Test { service, name, verdict, output, .. } if service == of => {
                Some((name.clone(), (*verdict, output.clone().unwrap_or_default())))
            }
            _ => None,
        });
        tests.collect()
    }

    /// Addresses, with the pipeline that they belong to.
    pub(crate) fn endpoints(&self) -> Vec<(&str, &str)> {
        let endpoints = self.events().filter_map(|event| match event {
            Event::Endpoint { service, url, .. } => Some((service.as_str(), url.as_str())),
            _ => None,
        });
        endpoints.collect()
    }

    /// The references that were made.
    pub(crate) fn references(&self) -> Vec<&str> {
        let tags = self.events().filter_map(|event| match event {
            Event::TagMade { reference, .. } => Some(reference.as_str()),
            _ => None,
        });
        tags.collect()
    }

    /// Remarks for people.
    pub(crate) fn notes(&self) -> Vec<&str> {
        let notes = self.events().filter_map(|event| match event {
            Event::Note { text, .. } => Some(text.as_str()),
            _ => None,
        });
        notes.collect()
    }

    /// Everything that the run made is gone: no process, no file, no open port, an empty ledger, and the record says so.
    pub(crate) fn nothing_left(&self) {
        let left = supervise::find_marked(RUN_MARK, self.id());
        assert!(left.is_empty(), "processes of the run: {left:?}\n{}", self.text());
        let dir = &self.outcome.dir;
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        for name in names {
            let stays = ["events.jsonl", "ledger.jsonl", "lock", "logs", "provenance"];
            assert!(stays.contains(&name.as_str()), "`{name}` is left in the run's directory");
        }
        let ledger = leftovers(dir).unwrap();
        assert!(ledger.resources.is_empty() && !ledger.kept, "{ledger:?}\n{}", self.text());
        for (service, url) in self.endpoints() {
            // Another test may have been given the port since: who answers says whose it is.
            let answer = get(&format!("{url}/version")).unwrap_or_default();
            assert!(!answer.contains(self.id()), "`{service}` still answers at {url}: {answer}");
        }
        let clean = matches!(self.events().last(), Some(Event::RunEnded { clean: true, .. }));
        assert!(clean, "the record says that something is left\n{}", self.text());
        let faults = self.events().filter(|event| matches!(event, Event::Removed { error: Some(_), .. })).count();
        assert_eq!(faults, 0, "{}", self.text());
    }

    /// The record, for a person who must find out why a test failed.
    pub(crate) fn text(&self) -> String {
        let lines = self.records.iter().map(|record| format!("{:5} {:?}\n", record.us / 1000, record.event));
        lines.collect()
    }
}
