//! The two builds that serve all pipelines of a run: the programs that go into images, and the suites.
//!
//! One `cargo build` each: cargo overlaps what it can. A package that does not compile fails the pipelines that need it, and
//! no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use image::{BuildError, CargoOutcome, Program, Progress};
use supervise::{CmdError, CmdErrorKind};

use crate::Failure;
use crate::event::{Event, Phase};
use crate::one::Shared;
use crate::plan::names;
use crate::rundir::{RunDir, private_dir};
use crate::stale::Sources;
use crate::step::Step;
use crate::workload::{Builder, Pipeline};

/// How long one build may take: a cold one on a small machine takes minutes, and one that hangs must end.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

/// A build of the suites and two more.
const ATTEMPTS: u32 = 3;

/// What was built of something, by name of its package.
struct Built<T>(BTreeMap<String, Result<T, Failure>>);

impl<T: Clone> Built<T> {
    fn get(&self, package: &str) -> anyhow::Result<T> {
        match self.0.get(package) {
            Some(Ok(built)) => Ok(built.clone()),
            Some(Err(failure)) => Err(failure.clone().into()),
            None => Err(Failure::new(format!("`{package}` was not built")).into()),
        }
    }
}

/// The programs of a run.
pub(crate) struct Programs(Built<Arc<Program>>);

impl Programs {
    pub(crate) fn build(shared: &Shared, dir: &RunDir) -> Programs {
        let workloads = shared.config.pipelines.iter().flat_map(Pipeline::workloads);
        let packages: BTreeSet<_> = workloads
            .filter_map(|workload| match workload.builder() {
                Builder::Cargo { package } => Some(package.clone()),
                Builder::Containerfile(_) | Builder::Image { .. } => None,
            })
            .collect();
        if packages.is_empty() {
            return Programs(Built(BTreeMap::new()));
        }
        let packages: Vec<_> = packages.into_iter().collect();
        let built = shared.steps.step(Phase::Build, names::PROGRAMS, |step| programs(step, shared, dir, &packages));
        Programs(Built(built.unwrap_or_else(|error| {
            let failure = Failure::of(&error);
            packages.iter().map(|package| (package.clone(), Err(failure.clone()))).collect()
        })))
    }

    pub(crate) fn get(&self, package: &str) -> anyhow::Result<Arc<Program>> {
        self.0.get(package)
    }
}

/// All programs in one build; if that fails, each by itself, so that those that can be built are, and the others are told apart.
fn programs(
    step: &Step,
    shared: &Shared,
    dir: &RunDir,
    packages: &[String],
) -> anyhow::Result<BTreeMap<String, Result<Arc<Program>, Failure>>> {
    let log = dir.log("run", "programs")?;
    let build = |packages: &[String]| {
        let build = shared.cargo_build(packages.to_vec());
        build.run(&dir.work().join(".programs"), step.cancel(), step.observer(), &log, progress(step))
    };
    let mut built = BTreeMap::new();
    let groups: Vec<Vec<String>> = match build(packages) {
        Ok(outcome) => {
            note(step, outcome, &mut built);
            return Ok(built);
        }
        Err(BuildError::Failed { .. }) if packages.len() > 1 => {
            packages.iter().map(|package| vec![package.clone()]).collect()
        }
        Err(error) => {
            // Who ends the run is told so, and not that the build failed.
            step.cancel().check()?;
            return Err(failure(error).into());
        }
    };
    for group in groups {
        match build(&group) {
            Ok(outcome) => note(step, outcome, &mut built),
            Err(error) => drop(built.insert(group[0].clone(), Err(failure(error)))),
        }
    }
    Ok(built)
}

fn note(step: &Step, outcome: CargoOutcome, built: &mut BTreeMap<String, Result<Arc<Program>, Failure>>) {
    for (package, program) in outcome.programs {
        step.event(Event::Fingerprinted {
            image: package.clone(),
            fingerprint: program.source.fingerprint,
            files: program.source.inputs.len() as u64,
            made_visible: outcome.made_visible.clone(),
            took_us: u64::try_from(outcome.fingerprint_time.as_micros()).unwrap_or(u64::MAX),
        });
        built.insert(package, Ok(Arc::new(program)));
    }
}

pub(crate) fn failure(error: BuildError) -> Failure {
    let cause = error.to_string();
    match error {
        BuildError::Failed { tail, log, .. } => Failure::new(cause).evidence(tail).log(log),
        _ => Failure::new(cause),
    }
}

fn progress(step: &Step) -> Arc<dyn Fn(Progress) + Send + Sync> {
    let recorder = Arc::clone(step.recorder());
    Arc::new(move |progress| {
        let text = match progress {
            Progress::Waiting { holder } => format!("another build uses the target directory; waiting for {holder}"),
            Progress::Again { reason } => format!("building again: {reason}"),
            Progress::Cleaning { reason } => format!("cleaning what was built before: {reason}"),
            Progress::Line(_) | Progress::Compiled { .. } => return,
        };
        recorder.event(Event::Note { service: None, text });
    })
}

/// The executables of the suites.
pub(crate) struct Suites(Built<PathBuf>);

impl Suites {
    pub(crate) fn build(shared: &Shared, dir: &RunDir) -> Suites {
        let packages: BTreeSet<_> = shared.config.pipelines.iter().filter_map(Pipeline::suite_package).collect();
        let packages: Vec<_> = packages.into_iter().collect();
        if packages.is_empty() {
            return Suites(Built(BTreeMap::new()));
        }
        let built = shared.steps.step(Phase::Build, names::SUITES, |step| suites(step, shared, dir, &packages));
        Suites(Built(built.unwrap_or_else(|error| {
            let failure = Failure::of(&error);
            packages.iter().map(|package| ((*package).to_owned(), Err(failure.clone()))).collect()
        })))
    }

    pub(crate) fn get(&self, package: &str) -> anyhow::Result<PathBuf> {
        self.0.get(package)
    }
}

fn suites(
    step: &Step,
    shared: &Shared,
    dir: &RunDir,
    packages: &[&str],
) -> anyhow::Result<BTreeMap<String, Result<PathBuf, Failure>>> {
    let log = dir.log("run", "suites")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = step.command(cargo).current_dir(&shared.config.workspace);
    command = command.args(["build", "--keep-going", "--message-format=json", "--test", "suite"]);
    for package in packages {
        command = command.args(["--package", package]);
    }
    let command =
        command.args(["--jobs", &shared.config.jobs.to_string()]).capture_stdout().deadline(BUILD_LIMIT).log(&log);
    let mut sources = Sources::open(shared.config, step.cancel())?;
    let mut attempt = 1;
    let (stdout, fault) = loop {
        let (stdout, fault) = match command.clone().run(step.cancel()) {
            Ok(output) => (output.stdout, None),
            Err(error) if matches!(error.kind, CmdErrorKind::Exit(_)) => (error.stdout.clone(), Some(error)),
            Err(error) => return Err(error).context("build the suites"),
        };
        let Some(stale) = sources.look(&stdout)? else { break (stdout, fault) };
        anyhow::ensure!(attempt < ATTEMPTS, "`{stale}` changed during each of {ATTEMPTS} builds of the suites");
        attempt += 1;
        step.note(format!("building the suites again: cargo would have passed over a change of `{stale}`"));
    };
    drop(sources);
    let messages = Messages::parse(&stdout);
    let mut built = BTreeMap::new();
    for package in packages {
        let result = match (messages.tests.get(*package), messages.errors.get(*package), &fault) {
            (Some(executable), _, _) => Ok(pin(executable, &dir.work(), package)?),
            (None, Some(error), _) => Err(compile_failure(package, error).log(&log)),
            // Cargo may have stopped at another package, before it came to this one.
            (None, None, Some(_)) if packages.len() > 1 => {
                built.extend(suites(step, shared, dir, &[package])?);
                continue;
            }
            (None, None, Some(fault)) => Err(unbuilt(package, &messages, fault).log(&log)),
            (None, None, None) => Err(no_suite(package)),
        };
        built.insert((*package).to_owned(), result);
    }
    Ok(built)
}

/// Why there is no suite, where its package has no error of its own.
fn unbuilt(package: &str, messages: &Messages, fault: &CmdError) -> Failure {
    if let Some((dependency, error)) = messages.errors.first_key_value() {
        return compile_failure(dependency, error);
    }
    match fault.tail.iter().find_map(|line| line.strip_prefix("error: ")) {
        Some(said) if said.starts_with("no test target named") => no_suite(package),
        Some(said) => {
            Failure::new(format!("cargo cannot build the suite `{package}`: {said}")).evidence(fault.tail.clone())
        }
        None => Failure::new(fault.to_string()).evidence(fault.tail.clone()),
    }
}

fn no_suite(package: &str) -> Failure {
    Failure::new(format!("`{package}` has no integration test called `suite`"))
        .hint("add `tests/suite.rs` and a `[[test]]` of that name with `test = false`, as in `crates/e2e-gateway`")
}

/// What a compile error is to a pipeline: its first line is the cause.
pub(crate) fn compile_failure(package: &str, rendered: &str) -> Failure {
    let mut lines = rendered.lines().map(str::trim_end);
    let first = lines.next().unwrap_or_default();
    let place = rendered.lines().find_map(|line| line.trim_start().strip_prefix("--> "));
    let place = place.map_or(String::new(), |place| format!(" ({place})"));
    Failure::new(format!("`{package}` does not compile: {first}{place}"))
        .evidence(rendered.lines().map(str::to_owned).collect())
}

/// A second name for the file in the run's directory: a later build replaces the first name, and this run keeps what it built.
fn pin(executable: &Path, work: &Path, package: &str) -> anyhow::Result<PathBuf> {
    // Not among the pipelines' directories: no service is called like this.
    let dir = work.join(".suites");
    private_dir(&dir)?;
    let pinned = dir.join(package);
    let linked = std::fs::hard_link(executable, &pinned).or_else(|error| match error.kind() {
        // A copy over a second name of the same file would empty both.
        std::io::ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::copy(executable, &pinned).map(drop),
    });
    linked.with_context(|| format!("keep `{}` for this run", executable.display()))?;
    Ok(pinned)
}

/// What `cargo build --message-format=json` said (The Cargo Book, "External tools").
#[derive(Default)]
struct Messages {
    /// Executables of integration tests, by package.
    tests: BTreeMap<String, PathBuf>,
    /// The first error of each package, as rustc rendered it.
    errors: BTreeMap<String, String>,
}

impl Messages {
    fn parse(stdout: &[u8]) -> Messages {
        let mut messages = Messages::default();
        for line in stdout.split(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            let manifest = message["manifest_path"].as_str().unwrap_or_default();
            // Folders are called like their packages: `cargo xtask tidy` checks it.
            let Some(package) = Path::new(manifest).parent().and_then(Path::file_name) else { continue };
            let package = package.to_string_lossy().into_owned();
            match message["reason"].as_str() {
                Some("compiler-artifact") if message["target"]["kind"][0] == "test" => {
                    messages.tests.extend(message["executable"].as_str().map(|path| (package, PathBuf::from(path))));
                }
                Some("compiler-message") if message["message"]["level"] == "error" => {
                    let rendered = message["message"]["rendered"].as_str().unwrap_or_default().to_owned();
                    messages.errors.entry(package).or_insert(rendered);
                }
                _ => {}
            }
        }
        messages
    }
}
