//! The cargo builder: static programs from the workspace as it is now, and the exact list of what they were made from.
//!
//! What must hold: a program that [`CargoBuild::run`] gives was made from the inputs that its [`Source`] lists, with the content
//! that it lists. Cargo alone does not give that. It compares times of modification, so an edit whose time is in the past is
//! not seen, nor a program that was replaced in the target directory. So:
//!
//! 1. The content of every input is recorded with the artefacts (`record`). Before cargo runs, all of it is read; what differs
//!    gets the time of now, which cargo does see. What may be wrong after a build that ended early does too.
//! 2. After cargo ran, inputs are taken from its dep-info and read again. A change in between means: build again.
//! 3. What cargo calls fresh must have the recorded inputs and the recorded digest. Otherwise, and when there is no record, the
//!    workspace's packages are cleaned and built: packages from registries are pinned by checksum and stay.
//! 4. Programs are copied out while the lock on the target directory is held, and it is the copy that is measured.
//!
//! Why not `-Z checksum-freshness`: it needs a nightly cargo, and it misses what build scripts read. Why not a clean build each
//! time: it takes a minute where an edit takes a second.
//!
//! Not seen by any of this: files that a procedural macro or a build script reads and does not tell cargo of, unless the whole
//! package is watched because its build script tells nothing; an edited source in cargo's own registry cache; the linker and
//! the static C library of this machine. Flags in `build.rustflags` and `target.*.rustflags` of cargo's configuration do not
//! apply, since ours replace them; nor does a compiler wrapper, whose cache could not be vouched for.

mod artefacts;
mod checkout;
mod depinfo;
mod error;
mod inputs;
mod lockfile;
mod made;
mod messages;
mod record;
mod run;
mod toolchain;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use supervise::{Cancel, Observer};

use crate::fingerprint::{Input, fingerprint, snapshot};
use crate::{Digest, Program, Source};

pub use error::BuildError;

#[cfg(test)]
pub(crate) use depinfo::normal;
pub(crate) use lockfile::LockFile;

/// One `cargo build` for all programs of a run.
#[derive(Clone, Debug)]
pub struct CargoBuild {
    /// The folder with the workspace's `Cargo.toml` and `Cargo.lock`.
    pub workspace: PathBuf,
    /// A target directory of our own: one shared with other builds would be rebuilt at each change of flags.
    pub target_dir: PathBuf,
    /// Profile in the workspace's manifest.
    pub profile: String,
    /// Packages; each has a binary of its own name.
    pub packages: Vec<String>,
    /// How many jobs cargo may run at once; as many as there are processors if not given.
    pub jobs: Option<usize>,
    /// Variables for the build on top of the caller's, for programs that take them in with `env!`. Those that steer cargo or
    /// the compiler are left out, like the caller's own.
    pub env: Vec<(String, String)>,
    /// How long cargo may take, and how long another build in the target directory is waited for.
    pub limit: Duration,
}

/// What a build made.
#[derive(Debug)]
pub struct CargoOutcome {
    /// By package.
    pub programs: BTreeMap<String, Program>,
    /// Inputs that cargo would have passed over, or might have: they were given the time of now. Names as in
    /// [`Source::inputs`].
    pub made_visible: Vec<String>,
    /// How often cargo built: more than once if the source changed meanwhile or artefacts could not be trusted.
    pub attempts: u32,
    /// What freshness cost: reading inputs, asking compiler and git, measuring and copying programs.
    pub fingerprint_time: Duration,
    /// What cargo itself took.
    pub cargo_time: Duration,
}

/// What a build is doing, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Another build uses the target directory.
    Waiting {
        /// Who it is, as far as it said.
        holder: String,
    },
    /// Nothing of the workspace's own packages is kept.
    Cleaning {
        /// Why, in a sentence.
        reason: String,
    },
    /// A line that cargo wrote for people.
    Line(String),
    /// Cargo ended well; its inputs are read again now.
    Compiled {
        /// Counted from 1.
        attempt: u32,
    },
    /// Cargo builds once more.
    Again {
        /// Why, in a sentence.
        reason: String,
    },
}

impl Source {
    /// The same source with more inputs: files that an image holds besides the program, by their name relative to the workspace.
    #[must_use]
    pub fn with_files(mut self, files: &[(String, Digest)]) -> Source {
        for file in files {
            if !self.inputs.contains(file) {
                self.inputs.push(file.clone());
            }
        }
        self.inputs.sort();
        self.fingerprint = fingerprint(&self.parameters, &self.inputs);
        self
    }
}

/// A source compared with what it was at a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceNow {
    /// What a build now would have; equal to that of the build if and only if `changed` is empty.
    pub fingerprint: Digest,
    /// Names of the inputs and parameters that differ.
    pub changed: Vec<String>,
}

/// The commit that is checked out in a workspace, and whether the workspace differs from it.
pub(crate) fn revision(workspace: &Path, cancel: &Cancel) -> anyhow::Result<(Option<String>, bool)> {
    let checkout = checkout::Checkout::open(workspace, &[], cancel, None)?;
    Ok((checkout.read_head(), checkout.is_dirty()))
}

impl CargoBuild {
    /// Builds the programs from the source as it is now, and puts a copy of each into `out_dir`, named like its package.
    /// No other build writes to those copies. Cargo's output is appended to `log`. A build that runs in the same target
    /// directory is waited for.
    ///
    /// # Errors
    /// If a program does not compile, something is missing to do it, the source changes during each attempt, or `cancel` ends it.
    pub fn run(
        &self,
        out_dir: &Path,
        cancel: &Cancel,
        observer: Arc<dyn Observer>,
        log: &Path,
        on_progress: Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> Result<CargoOutcome, BuildError> {
        run::run(self, &run::Caller { out_dir, cancel, observer, log, on_progress })
    }

    /// Reads the inputs of a program's source as they are now.
    ///
    /// # Errors
    /// If an input cannot be read or the compiler cannot be asked. One that does not exist any more has changed.
    pub fn fingerprint_now(&self, source: &Source, cancel: &Cancel) -> anyhow::Result<SourceNow> {
        let mut checkout = checkout::Checkout::open(&self.workspace, &self.env, cancel, None)?;
        let names: Vec<Input> = source.inputs.iter().map(|(name, _)| Input::parse(name)).collect();
        if names.contains(&Input::Head) {
            checkout.head = checkout.read_head();
        }
        let (toolchain, states) = thread::scope(|scope| {
            let toolchain = scope.spawn(|| toolchain::Toolchain::find(&|cmd| checkout.prepare(cmd), cancel));
            let states = snapshot(&checkout, &names);
            (toolchain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), states)
        });
        let (toolchain, states) = (toolchain?, states?);
        let package = source.parameters.iter().find(|(name, _)| name == "package").map_or("", |(_, value)| value);
        let parameters = inputs::parameters(self, &toolchain, package);
        let inputs: Vec<(String, Digest)> =
            names.iter().filter_map(|input| Some((input.to_string(), states.get(input)?.digest))).collect();

        let before: BTreeSet<_> = source.inputs.iter().collect();
        let mut changed: Vec<String> =
            inputs.iter().filter(|input| !before.contains(input)).map(|(name, _)| name.clone()).collect();
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (source.parameters.iter().collect(), parameters.iter().collect());
        let names: BTreeSet<&String> = old.symmetric_difference(&new).map(|(name, _)| name).collect();
        changed.extend(names.into_iter().map(|name| format!("parameter {name}")));
        Ok(SourceNow { fingerprint: fingerprint(&parameters, &inputs), changed })
    }
}
