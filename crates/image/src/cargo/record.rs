//! What is known of a target directory: the content that its artefacts were made from. It lives in that directory, so that it
//! goes where they go, and is deleted when they are.
//!
//! Also the lock that one build at a time holds, from before the inputs are read until the programs are copied out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use supervise::Cancel;

use crate::Digest;

/// The form of the file. Another one is not understood, which costs a rebuild of the workspace's own packages.
const VERSION: u32 = 1;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// Set while cargo runs. If it is still set when the next build starts, that build's end is unknown.
    pub(super) running: bool,
    /// Commit at the last build.
    pub(super) head: Option<String>,
    /// The content of every input that cargo judges by mtime, as it was when it was last made visible to cargo.
    pub(super) inputs: BTreeMap<String, Digest>,
    /// Inputs whose artefacts may be of another content than `inputs` says, because a build ended early.
    pub(super) unsure: BTreeSet<String>,
    /// Folder of each local package with a build script, and the script's source.
    pub(super) scripts: BTreeMap<String, String>,
    /// By package.
    pub(super) programs: BTreeMap<String, ProgramRecord>,
}

/// A program as it was last built.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProgramRecord {
    pub(super) binary: Option<Digest>,
    pub(super) inputs: BTreeMap<String, Digest>,
}

impl Record {
    /// The record, unless there is none that can be trusted.
    pub(super) fn read(path: &Path) -> Option<Record> {
        let record: Record = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        (record.version == VERSION && !record.running).then_some(record)
    }

    /// Replaces the file in one step.
    pub(super) fn write(&mut self, path: &Path) -> anyhow::Result<()> {
        self.version = VERSION;
        let new = path.with_extension("new");
        let text = serde_json::to_vec(self).context("write the build record as JSON")?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, path))
            .with_context(|| format!("write `{}`", path.display()))
    }
}

/// The right to build in a target directory. Released on drop, and by the kernel when the process ends.
pub(super) struct BuildLock {
    file: File,
    path: PathBuf,
}

impl BuildLock {
    /// Waits for another build to end. `on_wait` is told once who holds the lock.
    pub(super) fn take(
        target_dir: &Path,
        limit: Duration,
        cancel: &Cancel,
        on_wait: &dyn Fn(String),
    ) -> anyhow::Result<BuildLock> {
        let path = target_dir.join("build.lock");
        let context = || format!("lock `{}`", path.display());
        let mut file =
            File::options().create(true).read(true).write(true).truncate(false).open(&path).with_context(context)?;
        let start = Instant::now();
        let mut told = false;
        loop {
            cancel.check()?;
            match file.try_lock() {
                Ok(()) => return Ok(BuildLock { file, path }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| {
                        format!("{}: is it on a network file system? choose a local target directory", context())
                    });
                }
            }
            let mut holder = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut holder)).with_context(context)?;
            if !told {
                on_wait(holder.trim_end().to_owned());
                told = true;
            }
            if start.elapsed() > limit {
                bail!(
                    "another build ({}) holds `{}` for longer than {limit:?}: end it",
                    holder.trim_end(),
                    path.display()
                );
            }
            cancel.wait(Duration::from_millis(20));
        }
    }

    /// The time on the clock of this file system, which is the one that mtimes are compared with; also says who holds the lock.
    pub(super) fn now(&mut self) -> anyhow::Result<SystemTime> {
        let note = format!("process {}\n", std::process::id());
        let written =
            self.file.rewind().and_then(|()| self.file.set_len(0)).and_then(|()| self.file.write_all(note.as_bytes()));
        written
            .and_then(|()| self.file.metadata()?.modified())
            .with_context(|| format!("write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_damaged_or_unfinished_is_not_trusted() {
        let folder = std::env::temp_dir().join(format!("image-record-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("record.json");
        let mut record = Record { head: Some("c".into()), ..Record::default() };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).as_ref(), Some(&record));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(Record::read(&path), None);
        record.running = true;
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path), None);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(Record::read(&path), None);
    }
}
