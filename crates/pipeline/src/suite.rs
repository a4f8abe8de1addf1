//! Runs a service's E2E suite against what was proved.
//!
//! The suite is an ordinary integration test of its package. It is asked for its tests, and each is then run in a process of
//! its own: a test that hangs, crashes or prints is known by name, has its own deadline and its own time, and libtest's
//! output is never parsed for verdicts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;
use supervise::CmdErrorKind;

use crate::Failure;
use crate::event::{Event, Verdict};
use crate::platform::Site;
use crate::proof::Proved;
use crate::recorder::lock;
use crate::rundir::write_atomically;
use crate::shared::Limit;
use crate::step::Step;

/// How long the list of tests may take.
const LIST_LIMIT: Duration = Duration::from_secs(20);
/// How many lines of a failed test's output are kept in the record; the log has all.
const KEPT_LINES: usize = 40;

/// Writes the file from which a suite knows what it tests: addresses and secrets, readable by its owner only.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_run_file(site: &Site, platform: &str, proved: &Proved) -> anyhow::Result<PathBuf> {
    let mut workloads = serde_json::Map::new();
    for (_, instance) in proved.deployed().instances() {
        let ports: BTreeMap<_, _> = instance.endpoints.iter().cloned().collect();
        workloads.insert(instance.workload.clone(), json!({ "ports": ports }));
    }
    let content = json!({
        "version": 1,
        "run": site.run_id.to_string(),
        "service": site.pipeline.service(),
        "platform": platform,
        "workloads": workloads,
        "secrets": site.secrets.all(),
    });
    let path = site.run.work().join(site.pipeline.service()).join("run.json");
    write_atomically(&path, 0o600, &serde_json::to_vec_pretty(&content)?)?;
    Ok(path)
}

/// A suite that is to be run.
pub(crate) struct Suite<'a> {
    /// Its program.
    pub(crate) executable: &'a Path,
    /// From what it knows what it tests.
    pub(crate) run_file: &'a Path,
    /// Everything that its tests print.
    pub(crate) log: &'a Path,
    /// libtest's filters.
    pub(crate) filter: &'a [String],
    /// How many tests run at once.
    pub(crate) limit: &'a Limit,
    /// How long one test may take.
    pub(crate) test_within: Duration,
    /// Why something that is tested does not run any more, if so.
    pub(crate) down: &'a (dyn Fn() -> Option<Failure> + Sync),
}

impl Suite<'_> {
    /// Runs the tests that the filters select, as many at once as there are permits. When something that is tested has ended,
    /// no further test is begun: each would only wait for it.
    ///
    /// # Errors
    /// If the suite cannot be run, or something ended under it. A failing test is no error: the names of those that failed are
    /// given back.
    pub(crate) fn run(&self, step: &Step, _proved: &Proved) -> anyhow::Result<Vec<String>> {
        let tests = list(step, self.executable, self.filter)?;
        if tests.is_empty() && self.filter.is_empty() {
            let failure = Failure::new(format!("the suite of `{}` has no tests", step.service()));
            return Err(failure
                .hint("a suite is an integration test called `suite` with at least one `#[test]`")
                .into());
        }
        let next = AtomicUsize::new(0);
        let (failed, fallen) = (Mutex::new(Vec::new()), Mutex::new(None));
        let has_fallen = || {
            let mut fallen = lock(&fallen);
            if fallen.is_none() {
                *fallen = (self.down)();
            }
            fallen.is_some()
        };
        let worker = || -> anyhow::Result<()> {
            while let Some((name, ignored)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let permit = self.limit.take(step.cancel())?;
                if has_fallen() {
                    break;
                }
                let verdict = if *ignored { skip(step, name) } else { self.one(step, name)? };
                drop(permit);
                if verdict == Verdict::Failed {
                    lock(&failed).push(name.clone());
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.limit.permits().min(tests.len())).map(|_| scope.spawn(worker)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(crate::step::panicked)?)
        })?;
        // It explains more than the tests that failed because of it.
        if has_fallen()
            && let Some(failure) = lock(&fallen).take()
        {
            return Err(anyhow!(failure).context("while the tests ran"));
        }
        let mut failed = std::mem::take(&mut *lock(&failed));
        failed.sort();
        Ok(failed)
    }

    fn one(&self, step: &Step, name: &str) -> anyhow::Result<Verdict> {
        let start = step.recorder().elapsed();
        let command = step.command(self.executable).args(["--exact", name, "--nocapture"]);
        // A backtrace pushes the message out of the lines that are kept, and says little of a test that asks a service.
        let command = command.env("E2E_RUN_FILE", self.run_file).env("RUST_BACKTRACE", "0");
        let result = command.deadline(self.test_within).log(self.log).run(step.cancel());
        let took = step.recorder().elapsed().saturating_sub(start);
        let (verdict, output) = match result {
            // libtest ends well too when no test has the name: then nothing was tested.
            Ok(output) if output.tail.iter().any(|line| line.contains(" 1 passed;")) => (Verdict::Passed, None),
            Ok(output) => {
                let failure = Failure::new(format!("the suite did not run its own test `{name}`"));
                anyhow::bail!(failure.evidence(output.tail).log(self.log));
            }
            Err(error) => match error.kind {
                CmdErrorKind::Exit(_) => (Verdict::Failed, Some(error.tail)),
                CmdErrorKind::Deadline(limit) => {
                    let mut tail = error.tail;
                    tail.push(format!(
                        "the test did not end within {} s and was killed; `--test-within SECONDS` gives it longer",
                        limit.as_secs()
                    ));
                    (Verdict::Failed, Some(tail))
                }
                _ => return Err(error).context(format!("run the test `{name}`")),
            },
        };
        step.event(Event::Test {
            service: step.service().to_owned(),
            name: name.to_owned(),
            verdict,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            output: output.map(|lines| lines[lines.len().saturating_sub(KEPT_LINES)..].join("\n")),
        });
        Ok(verdict)
    }
}

/// The names of the tests, and whether each is marked as ignored.
fn list(step: &Step, executable: &Path, filter: &[String]) -> anyhow::Result<Vec<(String, bool)>> {
    let names = |ignored: bool| -> anyhow::Result<Vec<String>> {
        let mut command = step.command(executable).args(["--list", "--format", "terse"]);
        if ignored {
            command = command.arg("--ignored");
        }
        let output = command
            .args(filter)
            .capture_stdout()
            .deadline(LIST_LIMIT)
            .run(step.cancel())
            .context("list the tests of the suite")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    };
    let ignored = names(true)?;
    Ok(names(false)?.into_iter().map(|name| (name.clone(), ignored.contains(&name))).collect())
}

fn skip(step: &Step, name: &str) -> Verdict {
    step.event(Event::Test {
        service: step.service().to_owned(),
        name: name.to_owned(),
        verdict: Verdict::Skipped,
        took_us: 0,
        output: None,
    });
    Verdict::Skipped
}
