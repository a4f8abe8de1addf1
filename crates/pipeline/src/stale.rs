//! Suites that cargo takes for up to date although their source has changed: it goes by the time of modification.
//!
//! After each build, what cargo did not compile is compared by content with what it was compiled from. If that differs, or
//! is not known, the artefact is removed and the build is repeated. Nothing is compared beforehand: which files a suite
//! consists of is known only from what the compiler wrote. Giving the files the time of now, as the builder of the programs
//! does, was rejected: cargo keeps the path of a file outside of its package as it was in the first workspace that used the
//! target directory, and looks there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use image::{Digest, lock_file};
use serde_json::Value;
use supervise::Cancel;

use crate::rundir::{private_dir, write_atomically};

/// What each artefact was compiled from: content by file, by the compiler's list of its inputs.
type Known = BTreeMap<PathBuf, BTreeMap<PathBuf, Digest>>;

/// The sources of what lies in the target directory of the suites. Who has it is the only run that builds suites.
pub(crate) struct Sources {
    record: PathBuf,
    workspace: PathBuf,
    known: Known,
    _lock: File,
}

impl Sources {
    /// Waits for other runs, and reads the record in a directory. One that is not there or damaged knows nothing.
    ///
    /// # Errors
    /// If the directory cannot be used, or the run is cancelled.
    pub(crate) fn open(dir: &Path, workspace: &Path, cancel: &Cancel) -> anyhow::Result<Sources> {
        private_dir(dir)?;
        let path = dir.join("suites.lock");
        let what = || format!("lock `{}`", path.display());
        let lock = File::create(&path).with_context(what)?;
        lock_file(&lock, cancel).with_context(what)?;
        let record = dir.join("suites-record.json");
        let known = fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Sources { record, workspace: workspace.to_owned(), known: known.unwrap_or_default(), _lock: lock })
    }

    /// Takes over what a build compiled, and removes what was not compiled from the source as it is now. Gives a name of
    /// what was removed: then it is to be built again.
    ///
    /// # Errors
    /// If something cannot be removed, or the record cannot be written.
    pub(crate) fn look(&mut self, stdout: &[u8]) -> anyhow::Result<Option<String>> {
        let mut stale = Vec::new();
        for artefact in artefacts(stdout) {
            // The target directory may be reached by several names.
            let list = fs::canonicalize(&artefact.list).unwrap_or_else(|_| artefact.list.clone());
            let files = self.inputs(&list);
            if !artefact.fresh {
                self.known.insert(list, files);
            } else if self.known.get(&list) != Some(&files) {
                self.known.remove(&list);
                stale.push(artefact);
            }
        }
        write_atomically(&self.record, 0o644, &serde_json::to_vec(&self.known)?)?;
        for path in stale.iter().flat_map(|artefact| &artefact.files) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("remove `{}`, so that cargo compiles it", path.display()));
                }
                _ => {}
            }
        }
        Ok(stale.into_iter().next().map(|artefact| artefact.name))
    }

    /// The files in a list of the compiler's, which are relative to where cargo ran, with their content now. What is pinned by
    /// the lock file, or made by a build script, does not change under a name.
    fn inputs(&self, list: &Path) -> BTreeMap<PathBuf, Digest> {
        let text = fs::read_to_string(list).unwrap_or_default();
        let files = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.strip_suffix(':'));
        let files = files.map(|file| PathBuf::from(file.replace("\\ ", " "))).filter(|file| file.is_relative());
        files.filter_map(|file| Some((file.clone(), Digest::of(&fs::read(self.workspace.join(file)).ok()?)))).collect()
    }
}

/// What cargo has of a target of a package in a folder.
struct Artefact {
    name: String,
    /// The compiler's list of its inputs.
    list: PathBuf,
    files: Vec<PathBuf>,
    /// Cargo left it as it was.
    fresh: bool,
}

fn artefacts(stdout: &[u8]) -> Vec<Artefact> {
    let messages = stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let local = messages.filter(|message| {
        message["reason"] == "compiler-artifact"
            && message["package_id"].as_str().is_some_and(|id| id.starts_with("path+"))
            && message["target"]["kind"][0] != "custom-build"
    });
    local
        .filter_map(|message| {
            let files: Vec<_> =
                message["filenames"].as_array()?.iter().filter_map(Value::as_str).map(PathBuf::from).collect();
            let file = files.first()?;
            let stem = file.file_stem()?.to_str()?;
            // `libname-hash.rlib` was made from what `name-hash.d` lists.
            let stem = if message["executable"].is_null() { stem.strip_prefix("lib").unwrap_or(stem) } else { stem };
            let name = message["target"]["src_path"].as_str()?.to_owned();
            let list = file.with_file_name(format!("{stem}.d"));
            Some(Artefact { name, list, files, fresh: message["fresh"] == true })
        })
        .collect()
}
