//! The directory of a run: what it leaves for people and machines, and what it removes.
//!
//! `target/e2e/runs/<run id>/` holds the record and the reports, which stay; `work/` in it holds everything that goes when
//! the run ends (blobs, unpacked images, data, secrets). The lock on it tells a run in progress from one that was killed:
//! the kernel gives it back however the process ends.

use std::env;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context;
use image::RunId;

/// Paths of the tool below the target directory of the workspace.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// The home below this target directory.
    pub fn in_target(target: &Path) -> Home {
        Home(target.join("e2e"))
    }

    /// The home of a workspace: below its target directory, or the one that CARGO_TARGET_DIR names.
    pub fn of_workspace(workspace: &Path) -> Home {
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |dir| workspace.join(dir));
        Home::in_target(&target)
    }

    /// The directory with a directory per run.
    pub fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// The target directory of the builds that go into images.
    pub fn build(&self) -> PathBuf {
        self.0.join("build")
    }

    /// The link to the newest run.
    pub fn latest(&self) -> PathBuf {
        self.0.join("latest")
    }

    /// The run of this id, or the newest.
    ///
    /// # Errors
    /// If there is none; the error names those that exist.
    pub fn find(&self, run: Option<&str>) -> anyhow::Result<PathBuf> {
        let path = match run {
            Some(run) => self.runs().join(run),
            None => fs::canonicalize(self.latest())
                .context("there is no run yet: start one with `cargo xtask e2e gateway`")?,
        };
        if path.join("events.jsonl").is_file() {
            return Ok(path);
        }
        let mut known: Vec<_> = self.ids();
        let all = known.len();
        known.reverse();
        known.truncate(5);
        let known =
            if all == 0 { "there are none".to_owned() } else { format!("the newest of {all}: {}", known.join(", ")) };
        anyhow::bail!("there is no run `{}` in `{}` ({known})", run.unwrap_or("latest"), self.runs().display())
    }

    /// The ids of all runs, oldest first.
    pub fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.runs()).into_iter().flatten().flatten();
        let mut ids: Vec<_> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.parse::<RunId>().is_ok())
            .collect();
        ids.sort();
        ids
    }
}

/// The directory of one run, held by this process.
pub struct RunDir {
    path: PathBuf,
    /// Held until the process ends.
    _lock: File,
}

impl RunDir {
    /// Makes the directory of a new run and takes its lock.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(home: &Home, run: &RunId) -> anyhow::Result<RunDir> {
        let path = home.runs().join(run.to_string());
        private_dir(&path)?;
        private_dir(&path.join("work"))?;
        private_dir(&path.join("logs"))?;
        let file = path.join("lock");
        let lock = File::create(&file).with_context(|| format!("make `{}`", file.display()))?;
        lock.lock().with_context(|| format!("lock `{}`", file.display()))?;
        // A new name and a rename: another run that does the same never finds the link missing.
        let (latest, new) = (home.latest(), home.0.join(format!(".latest-{}", run.short())));
        symlink(Path::new("runs").join(run.to_string()), &new)
            .and_then(|()| fs::rename(&new, &latest))
            .with_context(|| format!("point `{}` to the run", latest.display()))?;
        Ok(RunDir { path, _lock: lock })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What goes when the run ends.
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The log of a workload or a step: its directory is made.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn log(&self, pipeline: &str, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.path.join("logs").join(pipeline);
        private_dir(&dir)?;
        Ok(dir.join(format!("{name}.log")))
    }
}

/// Whether a process still holds this run.
pub fn in_progress(run: &Path) -> bool {
    let Ok(lock) = File::open(run.join("lock")) else { return false };
    matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
}

/// Makes a directory, and those above it, that only its owner can use.
///
/// # Errors
/// If it cannot be made; the error names it.
pub fn private_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make the directory `{}`", path.display()))
}

/// Writes a file that is either there whole or not at all.
///
/// # Errors
/// If it cannot be written; the error names it.
pub fn write_atomically(path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_in_progress_as_long_as_its_owner_lives() {
        let target = std::env::temp_dir().join(format!("rundir-{}", RunId::new()));
        let home = Home::in_target(&target);
        assert!(home.find(None).unwrap_err().to_string().contains("there is no run yet"));
        let run = RunId::new();
        let dir = RunDir::create(&home, &run).unwrap();
        assert!(in_progress(dir.path()));
        assert_eq!(home.ids(), [run.to_string()]);
        assert_eq!(fs::canonicalize(home.latest()).unwrap(), fs::canonicalize(dir.path()).unwrap());
        let path = dir.path().to_owned();
        drop(dir);
        assert!(!in_progress(&path));
        fs::remove_dir_all(target).unwrap();
    }
}
