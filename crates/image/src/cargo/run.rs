//! The steps of a build, and when they are repeated. The reasons are in the module above.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use supervise::{Cancel, Cmd, CmdErrorKind, Observer};

use super::artefacts::{copy_out, pull_back, remove_folder, set_modified};
use super::checkout::Checkout;
use super::error::Diagnosis;
use super::inputs::{collect, flags, parameters, scripts};
use super::made::{Made, differing, digests};
use super::messages::Messages;
use super::record::{BuildLock, Record};
use super::toolchain::Toolchain;
use super::{BuildError, CargoBuild, CargoOutcome, LockFile, Progress};
use crate::fingerprint::{Input, State, fingerprint, if_exists, missing, snapshot};
use crate::{Digest, Program, Source};

/// A build and three more. An editor that saves many files is done by then; what still changes does not stop by itself.
const ATTEMPTS: u32 = 4;

/// What the caller gave for one run.
pub(super) struct Caller<'a> {
    pub(super) out_dir: &'a Path,
    pub(super) cancel: &'a Cancel,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) log: &'a Path,
    pub(super) on_progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

struct Run<'a> {
    build: CargoBuild,
    caller: &'a Caller<'a>,
    checkout: Checkout,
    toolchain: Toolchain,
    flags: String,
    cargo_time: Duration,
}

pub(super) fn run(build: &CargoBuild, caller: &Caller<'_>) -> Result<CargoOutcome, BuildError> {
    for folder in [&build.target_dir, caller.out_dir] {
        fs::create_dir_all(folder).with_context(|| format!("create `{}`", folder.display()))?;
    }
    let mut build = build.clone();
    let target_dir = fs::canonicalize(&build.target_dir).context("open the target directory")?;
    build.target_dir = target_dir.clone();
    let on_wait = |holder| (caller.on_progress)(Progress::Waiting { holder });
    let mut lock = BuildLock::take(&target_dir, build.limit, caller.cancel, &on_wait)?;
    let start = Instant::now();
    let record_path = target_dir.join("build-record.json");
    let record = Record::read(&record_path);
    let checkout = Checkout::open(&build.workspace, &build.env, caller.cancel, Some(caller.observer.clone()))?;
    let known: Vec<Input> = record.iter().flat_map(|r| r.inputs.keys()).map(|name| Input::parse(name)).collect();
    let (toolchain, head, before) = thread::scope(|scope| {
        let toolchain = scope.spawn(|| Toolchain::find(&|cmd| checkout.prepare(cmd), caller.cancel));
        let head = scope.spawn(|| checkout.read_head());
        let before = snapshot(&checkout, &known);
        (join(toolchain), join(head), before)
    });
    let (toolchain, mut before) = (toolchain?, before?);
    let flags = flags(&build, &checkout, &toolchain)?;
    let mut run = Run { build, caller, checkout, toolchain, flags, cargo_time: Duration::ZERO };
    run.checkout.head = head;

    let now = lock.now()?;
    let mut clean = record.is_none().then(|| "there is no record of what is in the target directory".to_owned());
    let from_future = fs::metadata(&record_path).and_then(|m| m.modified()).is_ok_and(|time| time > now);
    if from_future || clean.is_some() {
        for folder in run.profile_folders() {
            pull_back(&folder, now)?;
        }
    }
    let mut record = record.unwrap_or_default();
    let mut hidden: BTreeSet<Input> = record.unsure.iter().map(|name| Input::parse(name)).collect();
    hidden.extend(differing(&record.inputs, &before));
    if record.head != run.checkout.head {
        hidden.insert(Input::Head);
    }
    let mut made_visible = BTreeSet::new();

    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut touched = BTreeSet::new();
        if clean.is_none() {
            match run.make_visible(&record, &hidden, lock.now()?, &mut before)? {
                Ok(paths) => touched = paths,
                Err(reason) => clean = Some(reason),
            }
        }
        if let Some(reason) = clean.take() {
            run.clean(&reason)?;
        }
        made_visible.extend(touched.iter().cloned());
        record.running = true;
        record.write(&record_path)?;
        let started = nanos(lock.now()?);
        let built = run.cargo();
        record.running = false;
        let (messages, dirty) = match built {
            Ok(built) => built,
            Err((error, messages)) => {
                record.doubt(&BTreeSet::new(), run.unsure(&messages)?);
                record.write(&record_path)?;
                return Err(error);
            }
        };
        (caller.on_progress)(Progress::Compiled { attempt });

        let made = run.read_back(&messages)?;
        let mut moved = made.moved(&before, started, attempt == 1);
        if made.head != run.checkout.head && made.states.contains_key(&Input::Head) {
            moved.insert(Input::Head);
        }
        run.checkout.head.clone_from(&made.head);
        let stale = made.stale(&run.checkout.roots, &record, &messages, &touched, &moved)?;
        before.extend(made.states.iter().map(|(input, state)| (input.clone(), *state)));
        record.scripts.extend(scripts(&run.checkout, &messages)?);
        if stale.is_none() {
            record.update(&made, &before);
        }
        if stale.is_none() && moved.is_empty() {
            record.write(&record_path)?;
            let cargo_time = run.cargo_time;
            return Ok(CargoOutcome {
                programs: run.programs(&made, dirty),
                made_visible: made_visible.into_iter().collect(),
                attempts: attempt,
                fingerprint_time: start.elapsed().saturating_sub(cargo_time),
                cargo_time,
            });
        }
        // What was compiled may be of a content that was not read. If the next attempt fails, the build after it must know.
        record.doubt(&moved, run.unsure(&messages)?);
        record.write(&record_path)?;
        let reason = match &stale {
            Some(what) => what.clone(),
            None => format!("{} changed while it was built", list(&moved)),
        };
        if attempt == ATTEMPTS {
            let inputs = moved.iter().map(Input::to_string).collect();
            let folder = run.build.target_dir.display();
            return Err(match stale {
                None => BuildError::SourceKeepsChanging { inputs, attempts: attempt },
                Some(what) => {
                    BuildError::Other(anyhow!("cargo does not build what it must ({what}): remove `{folder}`"))
                }
            });
        }
        (caller.on_progress)(Progress::Again { reason });
        (clean, hidden) = (stale, moved);
    }
}

impl Run<'_> {
    /// Gives what cargo would pass over the time of now; the answer names the files. If that is not allowed: the reason
    /// to clean instead.
    fn make_visible(
        &self,
        record: &Record,
        hidden: &BTreeSet<Input>,
        now: SystemTime,
        before: &mut BTreeMap<Input, State>,
    ) -> anyhow::Result<Result<BTreeSet<String>, String>> {
        let mut names = BTreeSet::new();
        for input in hidden {
            match input {
                Input::Path(name) => names.extend([name]),
                Input::Package(folder) => names.extend(record.scripts.get(folder)),
                Input::Head => names.extend(record.scripts.values()),
                Input::Lock(_) | Input::Env(_) | Input::OuterConfig => {}
            }
        }
        for name in &names {
            if let Err(error) = set_modified(&self.checkout.roots.path(name), now) {
                return Ok(Err(format!("the time of `{name}` cannot be set: {error}")));
            }
        }
        if !names.is_empty() {
            // Setting a time changes the status. The content stays what it was read as, so that a change since is noticed.
            let again = snapshot(&self.checkout, before.keys())?;
            for (input, state) in before {
                state.changed = again.get(input).and_then(|state| state.changed);
            }
        }
        Ok(Ok(names.into_iter().cloned().collect()))
    }

    /// Makes cargo build the local packages from nothing.
    fn clean(&mut self, reason: &str) -> anyhow::Result<()> {
        if !self.profile_folders().iter().any(|folder| folder.exists()) {
            return Ok(());
        }
        (self.caller.on_progress)(Progress::Cleaning { reason: reason.to_owned() });
        let lock = if_exists(fs::read_to_string(self.checkout.roots.workspace.join("Cargo.lock")))
            .context("read `Cargo.lock`")?;
        let packages = lock.map(|text| LockFile::parse(&text).local_packages()).unwrap_or_default();
        let cmd = packages.iter().fold(self.command("clean"), |cmd, package| cmd.arg("-p").arg(package));
        let start = Instant::now();
        let cleaned =
            !packages.is_empty() && cmd.log(self.caller.log).deadline(self.build.limit).run(self.caller.cancel).is_ok();
        self.cargo_time += start.elapsed();
        self.caller.cancel.check()?;
        // Without a lock file, or with one that is too old for cargo to clean by, all of it goes.
        if !cleaned {
            self.profile_folders().iter().try_for_each(|folder| remove_folder(folder))?;
        }
        Ok(())
    }

    /// Runs cargo, and asks git meanwhile whether the checkout is clean.
    fn cargo(&mut self) -> Result<(Messages, bool), (BuildError, Messages)> {
        let diagnosis = Arc::new(Mutex::new(Diagnosis::default()));
        let (seen, on_progress) = (diagnosis.clone(), self.caller.on_progress.clone());
        let mut cmd = self.command("build").arg("--message-format=json-render-diagnostics");
        for package in &self.build.packages {
            cmd = cmd.args(["-p", package, "--bin", package]);
        }
        if let Some(jobs) = self.build.jobs {
            cmd = cmd.arg("--jobs").arg(jobs.to_string());
        }
        let cmd = cmd.capture_stdout().deadline(self.build.limit).log(self.caller.log).on_line(move |line| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).line(line);
            on_progress(Progress::Line(line.to_owned()));
        });
        let start = Instant::now();
        let (result, dirty) = thread::scope(|scope| {
            let dirty = scope.spawn(|| self.checkout.is_dirty());
            (cmd.run(self.caller.cancel), join(dirty))
        });
        self.cargo_time += start.elapsed();
        let error = match result {
            Ok(output) => return Ok((Messages::parse(&output.stdout), dirty)),
            Err(error) => error,
        };
        let messages = Messages::parse(&error.stdout);
        if matches!(error.kind, CmdErrorKind::Cancelled) {
            return Err((BuildError::Cancelled, messages));
        }
        let cause = diagnosis.lock().unwrap_or_else(PoisonError::into_inner).cause(&error);
        Err((BuildError::Failed { cause, tail: error.tail, log: self.caller.log.to_path_buf() }, messages))
    }

    fn command(&self, what: &str) -> Cmd {
        let target_dir = &self.build.target_dir;
        let cmd = Cmd::new(&self.toolchain.cargo).arg(what).args(["--profile", &self.build.profile]);
        let cmd = cmd.args(["--target", &self.toolchain.target, "--target-dir"]).arg(target_dir);
        let mut cmd = self
            .checkout
            .prepare(cmd)
            // Before those of the configuration, which are then not used.
            .env("CARGO_ENCODED_RUSTFLAGS", &self.flags)
            // Empty: none, whatever the configuration says.
            .env("RUSTC_WRAPPER", "")
            .env("RUSTC_WORKSPACE_WRAPPER", "")
            // Configuration may set it apart; then what we record and clean would not be what cargo uses.
            .env("CARGO_BUILD_BUILD_DIR", target_dir)
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_PROGRESS_WHEN", "never");
        if let Some(rustc) = &self.toolchain.rustc {
            cmd = cmd.env("RUSTC", rustc);
        }
        self.checkout.env.iter().fold(cmd, |cmd, (name, value)| cmd.env(name, value))
    }

    /// Where cargo puts what it makes for the target, and for this machine (build scripts, procedural macros).
    fn profile_folders(&self) -> [PathBuf; 2] {
        // The Cargo Book, "Build cache": the folder is named like the profile, for historical reasons not so for `dev`.
        let profile = if self.build.profile == "dev" { "debug" } else { &self.build.profile };
        let target_dir = &self.build.target_dir;
        [target_dir.join(&self.toolchain.target).join(profile), target_dir.join(profile)]
    }

    /// Inputs as they are now, and copies of the programs.
    fn read_back(&self, messages: &Messages) -> anyhow::Result<Made> {
        let mut programs = BTreeMap::new();
        let mut executables = BTreeMap::new();
        for package in &self.build.packages {
            let found =
                messages.program(package).and_then(|artifact| Some((artifact, artifact.executable.as_deref()?)));
            let (artifact, executable) =
                found.with_context(|| format!("cargo made no program: `{package}` needs a binary of its own name"))?;
            programs.insert(package.clone(), collect(&self.checkout, &self.build.target_dir, messages, artifact)?);
            executables.insert(package.clone(), executable);
        }
        let (copies, head, states) = thread::scope(|scope| {
            let mut copies = Vec::new();
            for (package, &executable) in &executables {
                let copy = self.caller.out_dir.join(package);
                copies.push(scope.spawn(move || {
                    let digest = copy_out(executable, &copy)?;
                    anyhow::Ok((package.clone(), (copy, digest)))
                }));
            }
            let head = scope.spawn(|| self.checkout.read_head());
            let inputs: BTreeSet<&Input> = programs.values().flat_map(|inputs| &inputs.all).collect();
            let states = snapshot(&self.checkout, inputs.into_iter().filter(|input| **input != Input::Head));
            let copies: anyhow::Result<BTreeMap<_, _>> = copies.into_iter().map(join).collect();
            (copies, join(head), states)
        });
        let (copies, mut states) = (copies?, states?);
        if programs.values().any(|inputs| inputs.all.contains(&Input::Head)) {
            states.insert(Input::Head, State::of_head(head.as_deref()));
        }
        for package in programs.keys() {
            let state = states.get(&Input::Lock(package.clone()));
            if state.is_none_or(|state| state.digest == missing()) {
                bail!("`Cargo.lock` does not have the packages of `{package}` in the form that cargo writes");
            }
        }
        Ok(Made { programs, copies, states, head })
    }

    /// What was compiled from a content that is not recorded: the sources that the next build must not pass over. Of a build
    /// script it is not known whether it ran, so each counts.
    fn unsure(&self, messages: &Messages) -> anyhow::Result<Vec<String>> {
        let compiled = messages.artifacts.iter().filter(|artifact| !artifact.fresh || artifact.is_build_script());
        compiled.map(|artifact| self.checkout.roots.name(&artifact.target.src_path)).collect()
    }

    fn programs(&self, made: &Made, dirty: bool) -> BTreeMap<String, Program> {
        let mut programs = BTreeMap::new();
        for (package, found) in &made.programs {
            let mut inputs: Vec<(String, Digest)> = digests(&found.all, &made.states).collect();
            inputs.sort();
            let parameters = parameters(&self.build, &self.toolchain, package);
            let fingerprint = fingerprint(&parameters, &inputs);
            let source = Source { fingerprint, inputs, revision: made.head.clone(), dirty, parameters };
            if let Some((path, digest)) = made.copies.get(package).cloned() {
                programs.insert(package.clone(), Program { package: package.clone(), path, digest, source });
            }
        }
        programs
    }
}

/// At most three names: with a whole branch switched there may be hundreds.
fn list(inputs: &BTreeSet<Input>) -> String {
    let names: Vec<String> = inputs.iter().take(3).map(|input| format!("`{input}`")).collect();
    let more = if inputs.len() > 3 { format!(" and {} more", inputs.len() - 3) } else { String::new() };
    format!("{}{more}", names.join(", "))
}

fn nanos(time: SystemTime) -> i128 {
    // Before 1970 by a broken clock: then every file counts as changed since, which is the safe answer.
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(0))
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
