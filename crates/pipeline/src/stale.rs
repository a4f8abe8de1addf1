//! Suites that cargo takes for up to date although their source has changed: it goes by the time of modification.
//!
//! After each build, what cargo did not compile is compared by content with what it was compiled from. If that differs, or
//! is not known, the artefact is removed and the build is repeated. It is known without a record where cargo compiled it just
//! now, for this program, from files that nobody has touched since cargo began: then a newcomer does not compile the tool a
//! second time for the suites' sake. Nothing is compared beforehand: which files a suite
//! consists of is known only from what the compiler wrote. Giving the files the time of now, as the builder of the programs
//! does, was rejected: cargo keeps the path of a file outside of its package as it was in the first workspace that used the
//! target directory, and looks there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use image::{Digest, lock_file};
use serde_json::Value;
use supervise::Cancel;

use crate::run::Config;
use crate::rundir::{private_dir, write_atomically};

/// How much earlier than a build a file must have changed to be counted as older: more than any of the clocks is off.
const MARGIN: Duration = Duration::from_secs(1);

/// What each artefact was compiled from: content by file, by the compiler's list of its inputs.
type Known = BTreeMap<PathBuf, BTreeMap<PathBuf, Digest>>;

/// The sources of what lies in the target directory of the suites. Who has it is the only run that builds suites.
pub(crate) struct Sources {
    record: PathBuf,
    workspace: PathBuf,
    /// When the build of this program began.
    began: Option<SystemTime>,
    known: Known,
    _lock: File,
}

impl Sources {
    /// Waits for other runs, and reads the record in a directory. One that is not there or damaged knows nothing.
    ///
    /// # Errors
    /// If the directory cannot be used, or the run is cancelled.
    pub(crate) fn open(config: &Config, cancel: &Cancel) -> anyhow::Result<Sources> {
        let dir = &config.home.build();
        private_dir(dir)?;
        let path = dir.join("suites.lock");
        let what = || format!("lock `{}`", path.display());
        let lock = File::create(&path).with_context(what)?;
        lock_file(&lock, cancel).with_context(what)?;
        let record = dir.join("suites-record.json");
        let known = fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let (workspace, known) = (config.workspace.clone(), known.unwrap_or_default());
        Ok(Sources { record, workspace, began: config.began, known, _lock: lock })
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
            let is_from_them = match self.known.get(&list) {
                _ if !artefact.fresh => true,
                Some(known) => *known == files,
                None => self.is_of_this_build(&artefact, &files),
            };
            if is_from_them {
                self.known.insert(list, files);
            } else {
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

    /// Whether an artefact was made since the build of this program began, from files that are as they were then. The kernel
    /// notes every change of a file and of what a folder holds, whatever time of modification they are given.
    fn is_of_this_build(&self, artefact: &Artefact, files: &BTreeMap<PathBuf, Digest>) -> bool {
        let Some(began) = self.began else { return false };
        let made = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).is_ok_and(|made| made > began);
        let untouched = |path: &Path| {
            let changed = fs::metadata(self.workspace.join(path)).ok().and_then(|file| {
                UNIX_EPOCH.checked_add(Duration::new(file.ctime().try_into().ok()?, file.ctime_nsec().try_into().ok()?))
            });
            changed.is_some_and(|changed| changed + MARGIN < began)
        };
        // The workspace itself changes when cargo makes its target directory.
        let folders = |path: &Path| path.ancestors().filter(|folder| !folder.as_os_str().is_empty()).all(untouched);
        artefact.files.iter().all(made) && !files.is_empty() && files.keys().all(|path| folders(path))
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

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;

    /// What a build says that has left alone what lay in the target directory.
    fn look(folder: &Path, began: Option<SystemTime>, made: SystemTime) -> (Option<String>, bool) {
        let (list, file) = (folder.join("a-1.d"), folder.join("liba-1.rlib"));
        fs::write(&list, "a-1.d: a/src/lib.rs\n\na/src/lib.rs:\n").unwrap();
        fs::write(&file, "").unwrap();
        File::options().write(true).open(&file).unwrap().set_times(FileTimes::new().set_modified(made)).unwrap();
        let message = serde_json::json!({
            "reason": "compiler-artifact", "package_id": "path+file:///a", "fresh": true, "executable": null,
            "target": { "kind": ["lib"], "src_path": "a/src/lib.rs" }, "filenames": [file],
        });
        let mut sources = Sources {
            record: folder.join("record"),
            workspace: folder.to_owned(),
            began,
            known: Known::default(),
            _lock: File::create(folder.join("lock")).unwrap(),
        };
        let stale = sources.look(message.to_string().as_bytes()).unwrap();
        // What was taken over is known from then on.
        let known = fs::read(&sources.record).unwrap();
        let known = serde_json::from_slice::<Known>(&known).unwrap().contains_key(&list.canonicalize().unwrap());
        assert_eq!(known, stale.is_none());
        (stale, file.exists())
    }

    #[test]
    fn only_what_this_build_made_from_files_that_are_older_is_taken_over_unseen() {
        let folder = std::env::temp_dir().join(format!("e2e-stale-{}", image::RunId::new().short()));
        fs::create_dir_all(folder.join("a/src")).unwrap();
        let source = folder.join("a/src/lib.rs");
        fs::write(&source, "").unwrap();
        // The kernel's time of the change can be set by nobody; the build and what it made are put around it.
        let changed = fs::metadata(&source).unwrap().modified().unwrap();
        let after = |seconds| changed + Duration::from_secs(seconds);
        let stale = (Some("a/src/lib.rs".to_owned()), false);
        assert_eq!(look(&folder, Some(after(10)), after(11)), (None, true));
        assert_eq!(look(&folder, None, after(11)), stale, "nothing is known of when this program was built");
        assert_eq!(look(&folder, Some(after(10)), after(9)), stale, "it lay there before");
        assert_eq!(look(&folder, Some(changed - Duration::from_secs(10)), after(11)), stale, "changed meanwhile");
        // However old the file claims to be.
        let old = FileTimes::new().set_modified(UNIX_EPOCH);
        File::options().write(true).open(&source).unwrap().set_times(old).unwrap();
        assert_eq!(look(&folder, Some(changed - Duration::from_secs(10)), after(11)), stale, "changed meanwhile");
        fs::remove_dir_all(&folder).unwrap();
    }
}
