//! Where things are.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;
use xshell::{Shell, cmd};

/// The root of the workspace that this binary was built from.
pub(crate) fn workspace() -> anyhow::Result<PathBuf> {
    // cargo sets the variable when it runs the alias, so a moved checkout is found; the fallback is for a binary run by hand.
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = manifest.parent().context("the package `xtask` lies in a workspace")?;
    root.canonicalize().with_context(|| format!("find the workspace `{}`", root.display()))
}

/// The commit of the checkout, and whether the checkout differs from it; none outside a checkout or without git.
pub(crate) fn revision(workspace: &Path) -> Option<(String, bool)> {
    let shell = Shell::new().ok()?;
    shell.change_dir(workspace);
    let revision = cmd!(shell, "git rev-parse HEAD").quiet().ignore_stderr().read().ok()?;
    let changes = cmd!(shell, "git status --porcelain").quiet().ignore_stderr().read().ok()?;
    Some((revision, !changes.is_empty()))
}
