//! Removes what killed runs left behind: exactly what their ledgers list.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::ledger::{leftovers, remove_leftover};
use crate::rundir::{Home, in_progress};

/// What was found of one run.
#[derive(Debug, Default)]
pub struct Cleaned {
    /// The run.
    pub run: String,
    /// What was removed.
    pub removed: Vec<String>,
    /// What is still there, and why.
    pub faults: Vec<String>,
    /// Why nothing was touched.
    pub skipped: Option<String>,
}

/// Removes what is left of one run, or of every run that ended without removing it. A run in progress is never touched; one
/// that was kept on purpose only if it is named.
///
/// # Errors
/// If the named run does not exist or is in progress.
pub fn clean(home: &Home, run: Option<&str>) -> anyhow::Result<Vec<Cleaned>> {
    if let Some(run) = run {
        let path = home.find(Some(run))?;
        if in_progress(&path) {
            bail!("the run `{run}` is in progress: end it with Ctrl-C in its terminal first");
        }
        return Ok(vec![one(&path, run)?]);
    }
    let mut all = Vec::new();
    for run in home.ids() {
        let path = home.runs().join(&run);
        if in_progress(&path) {
            all.push(Cleaned { run, skipped: Some("it is in progress".to_owned()), ..Cleaned::default() });
        } else if leftovers(&path)?.is_kept() {
            let how = format!("it was kept on purpose; `cargo xtask clean {run}` ends it");
            all.push(Cleaned { run, skipped: Some(how), ..Cleaned::default() });
        } else {
            all.push(one(&path, &run)?);
        }
    }
    all.retain(|of| !of.removed.is_empty() || !of.faults.is_empty() || of.skipped.is_some());
    Ok(all)
}

fn one(path: &Path, run: &str) -> anyhow::Result<Cleaned> {
    // Held while cleaning: a second `clean` at the same time leaves this run to the first.
    let lock =
        fs::OpenOptions::new().append(true).create(true).open(path.join("lock")).context("open the lock of the run")?;
    let mut cleaned = Cleaned { run: run.to_owned(), ..Cleaned::default() };
    if lock.try_lock().is_err() {
        cleaned.skipped = Some("another `cargo xtask clean` is at it".to_owned());
        return Ok(cleaned);
    }
    for (n, resource) in leftovers(path)?.resources {
        match remove_leftover(path, n, &resource) {
            Ok(()) => cleaned.removed.push(resource.describe()),
            Err(error) => cleaned.faults.push(format!("{error:#}")),
        }
    }
    Ok(cleaned)
}
