//! The ledger of a run: what it makes is written down before it is made, and crossed out when it is gone.
//!
//! Teardown and `cargo xtask clean` remove what the ledger lists, by the same code and nothing else: there is no search for
//! things with a likely name, and no prune.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use supervise::Cancel;

use crate::recorder::lock;

/// The environment variable, with the run's id as value, that every process of a run carries.
pub const RUN_MARK: &str = "E2E_RUN";

/// Something that a run makes and must remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Resource {
    /// Every process that carries the mark of the run.
    Processes {
        /// The run's id.
        run: String,
    },
    /// A directory with all that is in it.
    Directory {
        /// Where.
        path: PathBuf,
    },
    /// An image in an engine, and what the build of it leaves there when it is killed.
    EngineImage {
        /// The engine.
        engine: image::Engine,
        /// The tag.
        reference: String,
        /// The log of the build, which tells what else it made.
        log: PathBuf,
    },
    /// A cluster that `kind` makes.
    KindCluster {
        /// Its name.
        name: String,
        /// The engine of its nodes.
        provider: crate::kind::Provider,
        /// Its kubeconfig, which is its own.
        kubeconfig: PathBuf,
    },
    /// A namespace of a cluster.
    Namespace {
        /// Its name.
        name: String,
        /// A kubeconfig of the cluster.
        kubeconfig: PathBuf,
    },
}

impl Resource {
    /// In words, for the record.
    pub fn describe(&self) -> String {
        match self {
            Resource::Processes { .. } => "processes of the run".to_owned(),
            Resource::Directory { path } => format!("directory `{}`", path.display()),
            Resource::EngineImage { engine, reference, .. } => format!("image `{reference}` in {}", engine.name()),
            Resource::KindCluster { name, .. } => format!("cluster `{name}`"),
            Resource::Namespace { name, .. } => format!("namespace `{name}`"),
        }
    }

    /// Removes it; it is no error if it is gone already.
    ///
    /// # Errors
    /// If it is still there afterwards.
    pub fn remove(&self) -> anyhow::Result<()> {
        match self {
            Resource::Processes { run } => {
                let left = supervise::end_marked(RUN_MARK, run, Duration::from_secs(2), &Cancel::new());
                anyhow::ensure!(left.is_empty(), "the processes {left:?} do not end, although they were killed");
                Ok(())
            }
            Resource::Directory { path } => match fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("remove the directory `{}`", path.display()))
                }
                _ => Ok(()),
            },
            Resource::EngineImage { engine, reference, log } => crate::containerfile::remove(*engine, reference, log),
            Resource::KindCluster { name, provider, kubeconfig } => crate::kind::delete(name, *provider, kubeconfig),
            Resource::Namespace { name, kubeconfig } => crate::kind::delete_namespace(name, kubeconfig),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Will {
        n: u64,
        owner: Option<String>,
        resource: Resource,
    },
    Gone {
        n: u64,
    },
    /// The user asked to leave everything running.
    Kept,
}

/// The ledger of this run.
pub struct Ledger(Mutex<Inner>);

struct Inner {
    file: File,
    next: u64,
    open: BTreeMap<u64, (Option<String>, Resource)>,
}

impl Ledger {
    /// Starts the ledger of a new run.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn create(run: &Path) -> anyhow::Result<Ledger> {
        let path = run.join("ledger.jsonl");
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("make the ledger `{}`", path.display()))?;
        Ok(Ledger(Mutex::new(Inner { file, next: 0, open: BTreeMap::new() })))
    }

    /// Writes down what will be made, and for which pipeline (none: for the run). It is on the disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written: then it must not be made.
    pub fn will_make(&self, owner: Option<&str>, resource: Resource) -> anyhow::Result<u64> {
        let mut inner = lock(&self.0);
        let n = inner.next;
        inner.next += 1;
        let owner = owner.map(str::to_owned);
        write(&mut inner.file, &Entry::Will { n, owner: owner.clone(), resource: resource.clone() })?;
        inner.file.sync_data().context("write the ledger of the run")?;
        inner.open.insert(n, (owner, resource));
        Ok(n)
    }

    /// Crosses out what is gone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn gone(&self, n: u64) -> anyhow::Result<()> {
        let mut inner = lock(&self.0);
        write(&mut inner.file, &Entry::Gone { n })?;
        inner.open.remove(&n);
        Ok(())
    }

    /// Writes down that everything stays, because the user asked for it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self) -> anyhow::Result<()> {
        write(&mut lock(&self.0).file, &Entry::Kept)
    }

    /// What is there of a pipeline (none: of the run), newest first: the order in which to remove it.
    pub fn open(&self, owner: Option<&str>) -> Vec<(u64, Resource)> {
        let inner = lock(&self.0);
        let mine = inner.open.iter().filter(|(_, (of, _))| of.as_deref() == owner);
        mine.rev().map(|(n, (_, resource))| (*n, resource.clone())).collect()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        lock(&self.0).open.is_empty()
    }
}

fn write(file: &mut File, entry: &Entry) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line).context("write the ledger of the run")
}

/// What the ledger of an earlier run says is still there.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Resources, in the order in which to remove them.
    pub resources: Vec<(u64, Resource)>,
    /// Whether they are there because the user asked to keep them.
    pub kept: bool,
}

impl Leftovers {
    /// Whether something is there that the user asked to keep.
    pub fn is_kept(&self) -> bool {
        self.kept && !self.resources.is_empty()
    }
}

/// Reads the ledger of a run. A line that a kill cut short is the last, and says of something that it was never made.
///
/// # Errors
/// If the file cannot be read, or a line in it is not one of a ledger.
pub fn leftovers(run: &Path) -> anyhow::Result<Leftovers> {
    let path = run.join("ledger.jsonl");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Leftovers::default()),
        text => text.with_context(|| format!("read `{}`", path.display()))?,
    };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let (mut open, mut kept) = (BTreeMap::new(), false);
    for (number, line) in whole.lines().enumerate() {
        let entry = serde_json::from_str(line);
        match entry
            .with_context(|| format!("line {} of `{}` is not an entry of a ledger", number + 1, path.display()))?
        {
            Entry::Will { n, resource, .. } => drop(open.insert(n, resource)),
            Entry::Gone { n } => drop(open.remove(&n)),
            Entry::Kept => kept = true,
        }
    }
    Ok(Leftovers { kept: kept && !open.is_empty(), resources: open.into_iter().rev().collect() })
}

/// Removes one resource of an earlier run and crosses it out.
///
/// # Errors
/// If it is still there afterwards, or the ledger cannot be written.
pub fn remove_leftover(run: &Path, n: u64, resource: &Resource) -> anyhow::Result<()> {
    resource.remove()?;
    let path = run.join("ledger.jsonl");
    let mut file = OpenOptions::new().append(true).open(&path).with_context(|| format!("open `{}`", path.display()))?;
    write(&mut file, &Entry::Gone { n })
}

#[cfg(test)]
mod tests {
    use image::RunId;

    use super::*;

    #[test]
    fn what_is_listed_and_not_crossed_out_is_left_over_and_removed() {
        let run = std::env::temp_dir().join(format!("ledger-{}", RunId::new()));
        fs::create_dir_all(run.join("a/b")).unwrap();
        fs::create_dir_all(run.join("mine")).unwrap();
        let ledger = Ledger::create(&run).unwrap();
        let first = ledger.will_make(Some("p"), Resource::Directory { path: run.join("a") }).unwrap();
        let second = ledger.will_make(Some("p"), Resource::Directory { path: run.join("never-made") }).unwrap();
        assert_eq!(ledger.open(Some("p")).iter().map(|(n, _)| *n).collect::<Vec<_>>(), [second, first]);
        ledger.gone(second).unwrap();
        // A kill in the middle of a line.
        OpenOptions::new()
            .append(true)
            .open(run.join("ledger.jsonl"))
            .unwrap()
            .write_all(b"{\"will\":{\"n\":9")
            .unwrap();
        let left = leftovers(&run).unwrap();
        assert!(!left.kept);
        assert_eq!(left.resources, [(first, Resource::Directory { path: run.join("a") })]);
        left.resources[0].1.remove().unwrap();
        assert!(!run.join("a").exists() && run.join("mine").exists());
        fs::remove_dir_all(run).unwrap();
    }
}
