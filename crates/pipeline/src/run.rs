//! Runs pipelines, all at once.
//!
//! Each pipeline has a thread, and in it one per image; the one build that serves them all and the build of the suites have
//! theirs. A step starts when the values that it takes exist: [`Promise`]s and joins carry them. One pipeline's failure is its
//! own; what it made is removed in any case.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use image::{BlobStore, Digest, ImageTag, RunId};
use supervise::Cancel;

use crate::Failure;
use crate::build::{Programs, Suites};
use crate::event::{Event, Phase, Verdict};
use crate::failure::is_cancelled;
use crate::ledger::{Ledger, Resource};
use crate::one::{Shared, pipeline};
use crate::plan::names;
use crate::platform::{Platform, Site};
use crate::recorder::{Clock, Reader, Recorder};
use crate::rundir::{Home, RunDir};
use crate::secrets::Secrets;
use crate::shared::{Limit, Promise};
use crate::step::{Steps, panicked};
use crate::workload::Pipeline;

/// What to run, and how.
pub struct Config {
    /// The id of the run: it names everything that the run makes.
    pub run: RunId,
    /// The root of the workspace.
    pub workspace: PathBuf,
    /// Where runs and builds are kept.
    pub home: Home,
    /// What to run.
    pub pipelines: Vec<Pipeline>,
    /// Where.
    pub platform: Arc<dyn Platform>,
    /// The command line, for the record.
    pub command: String,
    /// Commit of the checkout, and whether the checkout differs from it.
    pub revision: Option<(String, bool)>,
    /// How much heavy work goes on at once; the number of processors is a good value.
    pub jobs: usize,
    /// Whether everything stays when the tests are over.
    pub keep: bool,
    /// How long one test of a suite may take.
    pub test_within: Duration,
    /// libtest filters for the suites.
    pub filter: Vec<String>,
    /// When the build began that made this program, as [`began`](crate::stat::began) has it: what it compiled from files that
    /// have not changed since is also part of the suites, and need not be compiled again. None: nothing is known of it.
    pub began: Option<SystemTime>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its directory.
    pub dir: PathBuf,
    /// How it ended.
    pub verdict: Verdict,
    /// The exit code of the tool: 0 passed, 1 tests failed, 3 the run itself failed, 128 + signal when interrupted.
    pub exit_code: u8,
    /// Digest of the last line of the record.
    pub head: Digest,
    /// Whether something was kept, and is to be removed with `cargo xtask clean <run>`.
    pub kept: bool,
}

/// Runs the pipelines to their end, whatever happens on the way.
///
/// # Errors
/// If the run could not even begin, or its record could not be written; what goes wrong in between is in the outcome.
pub fn run(config: &Config, clock: Box<dyn Clock>, cancel: &Cancel, readers: Vec<Reader>) -> anyhow::Result<Outcome> {
    for (index, pipeline) in config.pipelines.iter().enumerate() {
        pipeline.validate()?;
        let service = pipeline.service();
        let twice = config.pipelines[..index].iter().any(|other| other.service() == service);
        anyhow::ensure!(!twice, "there are two pipelines called `{service}`: run each service once");
    }
    let run_id = config.run;
    let dir = Arc::new(RunDir::create(&config.home, &run_id)?);
    let ledger = Arc::new(Ledger::create(dir.path())?);
    let recorder = Arc::new(Recorder::create(&dir.path().join("events.jsonl"), &run_id, clock, readers)?);
    ledger.will_make(None, Resource::Directory { path: dir.work() })?;
    ledger.will_make(None, Resource::Processes { run: run_id.to_string() })?;

    let steps = Steps::of_run(Arc::clone(&recorder), cancel.clone());
    steps.event(Event::RunStarted {
        platform: config.platform.name().to_owned(),
        services: config.pipelines.iter().map(|pipeline| pipeline.service().to_owned()).collect(),
        command: config.command.clone(),
        revision: config.revision.as_ref().map(|(revision, _)| revision.clone()),
        dirty: config.revision.as_ref().is_some_and(|(_, dirty)| *dirty),
        pid: std::process::id(),
        workloads: config
            .pipelines
            .iter()
            .map(|p| p.workloads().iter().map(|w| w.name().to_owned()).collect())
            .collect(),
    });
    for text in config.platform.advice(&config.pipelines) {
        steps.event(Event::Note { service: None, text });
    }
    let verdicts = pipelines(config, &steps, &dir, &ledger, run_id).unwrap_or_else(|error| {
        steps.event(Event::Diagnosis {
            service: None,
            cause: format!("{error:#}"),
            evidence: Vec::new(),
            hint: None,
            log: None,
        });
        vec![Ended { verdict: Verdict::Error, kept: false }]
    });
    let kept = config.keep && !ledger.is_empty() && verdicts.iter().any(|verdict| verdict.kept);
    if kept {
        ledger.keep()?;
    } else {
        remove(&steps, &ledger, None);
    }
    let (verdict, exit_code) = overall(verdicts.iter().map(|ended| ended.verdict), cancel);
    steps.event(Event::RunEnded { verdict, exit_code, clean: ledger.is_empty(), peak_memory: peak_memory() });
    Ok(Outcome { dir: dir.path().to_owned(), verdict, exit_code, head: recorder.close()?, kept })
}

/// How a pipeline ended.
pub(crate) struct Ended {
    pub(crate) verdict: Verdict,
    pub(crate) kept: bool,
}

fn pipelines(
    config: &Config,
    steps: &Steps,
    dir: &Arc<RunDir>,
    ledger: &Arc<Ledger>,
    run_id: RunId,
) -> anyhow::Result<Vec<Ended>> {
    let shared = Shared {
        config,
        steps: steps.clone(),
        programs: Promise::new(),
        suites: Promise::new(),
        // Not among the pipelines' directories: no service is called like this.
        blobs: BlobStore::create(&dir.work().join(".blobs"))?,
        assembling: Limit::new(config.jobs),
        // Tests mostly wait for services: more of them than processors.
        testing: Limit::new(config.jobs * 8),
    };
    // Phase 0, before anything is built.
    let tagged: Vec<_> = config.pipelines.iter().map(|pipeline| tags(steps, pipeline, run_id)).collect();
    thread::scope(|scope| {
        scope.spawn(|| shared.programs.keep(Arc::new(Programs::build(&shared, dir))));
        scope.spawn(|| shared.suites.keep(Arc::new(Suites::build(&shared, dir))));
        let shared = &shared;
        let threads: Vec<_> = config
            .pipelines
            .iter()
            .zip(tagged)
            .map(|(of, tags)| {
                let site = Site {
                    pipeline: of.clone(),
                    run: Arc::clone(dir),
                    ledger: Arc::clone(ledger),
                    secrets: Secrets::generate(of),
                    run_id,
                    keep: config.keep,
                };
                scope.spawn(move || {
                    let steps = shared.steps.of_pipeline(site.pipeline.service());
                    let (result, kept) = match tags {
                        Ok(tags) => pipeline(shared, &steps, &site, tags),
                        Err(error) => (Err(error), false),
                    };
                    Ended { verdict: conclude(&steps, &site, result), kept }
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().map_err(panicked));
        ended.collect()
    })
}

fn tags(steps: &Steps, pipeline: &Pipeline, run_id: RunId) -> anyhow::Result<BTreeMap<String, ImageTag>> {
    steps.of_pipeline(pipeline.service()).step(Phase::Tag, names::TAGS, |step| {
        let mut tags = BTreeMap::new();
        for workload in pipeline.workloads() {
            let tag = ImageTag::new(&run_id, workload.name(), pipeline.service())?;
            step.event(Event::TagMade {
                service: pipeline.service().to_owned(),
                image: workload.name().to_owned(),
                reference: tag.reference().to_owned(),
            });
            tags.insert(workload.name().to_owned(), tag);
        }
        Ok(tags)
    })
}

/// Records how a pipeline ended, and why.
fn conclude(steps: &Steps, site: &Site, result: anyhow::Result<Vec<String>>) -> Verdict {
    let service = site.pipeline.service().to_owned();
    let (verdict, cause) = match result {
        Ok(failed) if failed.is_empty() => (Verdict::Passed, None),
        Ok(failed) => {
            let what =
                if failed.len() == 1 { "a test failed".to_owned() } else { format!("{} tests failed", failed.len()) };
            (Verdict::Failed, Some(format!("{what}: {}", failed.join(", "))))
        }
        Err(error) if is_cancelled(&error) || steps.cancel().is_cancelled() => {
            // What was ended is a step of the record; the cause is who ended it.
            let who = steps.cancel().check().err().map(|cancelled| cancelled.to_string());
            (Verdict::Interrupted, Some(who.unwrap_or_else(|| format!("{error:#}"))))
        }
        Err(error) => {
            let failure = Failure::of(&error);
            let log = failure.log.map(|log| log.strip_prefix(site.run.path()).unwrap_or(&log).display().to_string());
            steps.event(Event::Diagnosis {
                service: Some(service.clone()),
                cause: failure.cause.clone(),
                evidence: failure.evidence,
                hint: failure.hint,
                log,
            });
            (Verdict::Error, Some(failure.cause))
        }
    };
    steps.event(Event::PipelineEnded { service, verdict, cause });
    verdict
}

/// Removes what the ledger lists for this owner, newest first. What cannot be removed stays listed, for `cargo xtask clean`.
pub(crate) fn remove(steps: &Steps, ledger: &Ledger, service: Option<&str>) {
    for (n, resource) in ledger.open(service) {
        let removed =
            resource.remove().and_then(|()| ledger.gone(n)).with_context(|| format!("remove {}", resource.describe()));
        steps.event(Event::Removed {
            service: service.map(str::to_owned),
            what: resource.describe(),
            error: removed.err().map(|error| format!("{error:#}")),
        });
    }
}

/// The most memory that this process had in use, in bytes (`VmHWM`, proc_pid_status(5)).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
}

/// The verdict of a run, from those of its pipelines, and the exit code.
fn overall(verdicts: impl Iterator<Item = Verdict>, cancel: &Cancel) -> (Verdict, u8) {
    if cancel.is_cancelled() {
        // SIGINT where no signal is known: a library's caller cancelled.
        let signal = u8::try_from(cancel.first_signal().unwrap_or(2)).unwrap_or(2);
        return (Verdict::Interrupted, 128 + signal);
    }
    let (mut verdict, mut code) = (Verdict::Passed, 0);
    for of in verdicts {
        match of {
            Verdict::Failed if code < 1 => (verdict, code) = (Verdict::Failed, 1),
            Verdict::Error | Verdict::Interrupted => (verdict, code) = (Verdict::Error, 3),
            _ => {}
        }
    }
    (verdict, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_worst_pipeline() {
        let code = |verdicts: &[Verdict]| overall(verdicts.iter().copied(), &Cancel::new()).1;
        assert_eq!(code(&[Verdict::Passed, Verdict::Passed]), 0);
        assert_eq!(code(&[Verdict::Passed, Verdict::Failed]), 1);
        assert_eq!(code(&[Verdict::Error, Verdict::Failed]), 3);
        let cancel = Cancel::new();
        cancel.signal(15);
        assert_eq!(overall([Verdict::Passed].into_iter(), &cancel), (Verdict::Interrupted, 143));
    }
}
