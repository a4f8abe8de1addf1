//! The engine's cache of the steps of a build: kept, since without it each build starts anew, and kept small.
//!
//! An engine keeps an image for each step. podman never removes any of them; so a build remembers the last one that it made
//! (its tip), and the next build with another tip removes that and what hangs on it alone. docker sees to its cache itself.
//! Builds of one service wait for each other: the second finds all steps of the first, and none is removed under it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use supervise::{Cancel, Cmd};

use super::engine::Engine;
use crate::lock_file;

const LIMIT: Duration = Duration::from_secs(60);

/// The cache of one service's build, held until it is dropped.
pub(super) struct Cache {
    tip: PathBuf,
    _lock: File,
}

impl Cache {
    /// Waits for the builds of the same service in this checkout.
    ///
    /// # Errors
    /// If the lock cannot be made, or `cancel` ends the wait.
    pub(super) fn lock(dir: &Path, service: &str, cancel: &Cancel) -> anyhow::Result<Cache> {
        fs::create_dir_all(dir).with_context(|| format!("make the directory `{}`", dir.display()))?;
        let path = dir.join(format!("{service}.lock"));
        let what = || format!("lock `{}`", path.display());
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).with_context(what)?;
        lock_file(&file, cancel).with_context(what)?;
        Ok(Cache { tip: dir.join(format!("{service}.tip")), _lock: file })
    }

    /// Remembers the last step of a build instead of the one before. What cannot be removed is used by someone.
    pub(super) fn keep(&self, engine: Engine, command: &Cmd, tip: &str) -> anyhow::Result<()> {
        let before = fs::read_to_string(&self.tip).unwrap_or_default();
        if before == tip {
            return Ok(());
        }
        let what = || format!("write `{}`", self.tip.display());
        let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&self.tip);
        file.and_then(|mut file| file.write_all(tip.as_bytes())).with_context(what)?;
        let cancel = Cancel::new();
        // An image with a name is somebody's, whoever made it.
        let unnamed =
            engine.inspect(command, &before, "{{len .RepoTags}}", &cancel).is_ok_and(|n| n.as_deref() == Some("0"));
        if !before.is_empty() && unnamed {
            drop(command.clone().args(["image", "rm", &before]).deadline(LIMIT).run(&cancel));
        }
        Ok(())
    }
}
