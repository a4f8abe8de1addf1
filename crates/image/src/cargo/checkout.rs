//! The checkout around a build: its version control, its folders, its environment.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use supervise::{Cancel, Cmd, Observer};

use super::toolchain::{cargo_home, shapes_the_build, withheld, withheld_now};
use crate::fingerprint::{Roots, Surroundings, if_exists};

/// Git answers in milliseconds; on a cold disk with a very large checkout, in seconds.
const QUERY: Duration = Duration::from_mins(1);

pub(super) struct Checkout {
    pub(super) roots: Roots,
    /// Variables on top of the caller's.
    pub(super) env: Vec<(String, String)>,
    pub(super) cancel: Cancel,
    pub(super) observer: Option<Arc<dyn Observer>>,
    withheld: Vec<OsString>,
    /// As it was last read; see [`Checkout::read_head`].
    pub(super) head: Option<String>,
}

impl Checkout {
    /// # Errors
    /// If the folder is not there.
    pub(super) fn open(
        workspace: &Path,
        env: &[(String, String)],
        cancel: &Cancel,
        observer: Option<Arc<dyn Observer>>,
    ) -> anyhow::Result<Checkout> {
        // Cargo resolves links too, and names are made by comparing with what it writes.
        let workspace =
            fs::canonicalize(workspace).with_context(|| format!("open the workspace `{}`", workspace.display()))?;
        let cargo_home = cargo_home();
        let cargo_home = fs::canonicalize(&cargo_home).unwrap_or(cargo_home);
        let roots = Roots { workspace, cargo_home };
        let env = env.iter().filter(|(name, _)| !withheld(name)).cloned().collect();
        Ok(Checkout { roots, env, cancel: cancel.clone(), observer, withheld: withheld_now(), head: None })
    }

    /// The command as everything here runs: in the workspace, with the environment that is let through.
    pub(super) fn prepare(&self, cmd: Cmd) -> Cmd {
        let cmd = self.withheld.iter().fold(cmd.current_dir(&self.roots.workspace), |cmd, name| cmd.env_remove(name));
        match &self.observer {
            Some(observer) => cmd.observer(observer.clone()),
            None => cmd,
        }
    }

    /// The commit that is checked out; `None` without git, outside a repository, or before the first commit.
    pub(super) fn read_head(&self) -> Option<String> {
        let output = self.git(&self.roots.workspace, &["rev-parse", "--verify", "--quiet", "HEAD"])?;
        String::from_utf8(output).ok().map(|text| text.trim_end().to_owned())
    }

    /// Whether the workspace differs from its commit, by changed or by new files. Without a commit: no.
    pub(super) fn is_dirty(&self) -> bool {
        self.git(&self.roots.workspace, &["status", "--porcelain", "--untracked-files=normal", "--", "."])
            .is_some_and(|output| !output.is_empty())
    }

    fn git(&self, folder: &Path, args: &[&str]) -> Option<Vec<u8>> {
        // Git must not refresh its index for us: that would write into the user's repository.
        let cmd = Cmd::new("git").arg("--no-optional-locks").args(args.iter().copied());
        let cmd = self.prepare(cmd).current_dir(folder).capture_stdout().deadline(QUERY);
        Some(cmd.run(&self.cancel).ok()?.stdout)
    }
}

impl Surroundings for Checkout {
    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        let given = self.env.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.into());
        given.or_else(|| std::env::var_os(name).filter(|_| !withheld(name)))
    }

    fn head(&self) -> Option<String> {
        self.head.clone()
    }

    /// Like cargo's own list (The Cargo Book, "The manifest format", `exclude` and `include`): what git knows or does not ignore,
    /// without packages inside the package; outside a repository every file but those in `target`.
    fn files(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let mut inner = BTreeSet::new();
        let mut files = match self.git(folder, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]) {
            Some(list) => list
                .split(|byte| *byte == 0)
                .filter(|n| !n.is_empty())
                .map(|n| PathBuf::from(OsStr::from_bytes(n)))
                .collect(),
            None => {
                let mut files = Vec::new();
                walk(folder, Path::new(""), &mut files).with_context(|| format!("list `{}`", folder.display()))?;
                files
            }
        };
        for file in &files {
            if let (Some("Cargo.toml"), Some(parent)) = (file.file_name().and_then(OsStr::to_str), file.parent()) {
                inner.insert(parent.to_path_buf());
            }
        }
        files.retain(|file| {
            file.ancestors().skip(1).filter(|at| !at.as_os_str().is_empty()).all(|at| !inner.contains(at))
        });
        files.sort();
        files.dedup();
        Ok(files)
    }

    fn outer_config(&self) -> anyhow::Result<Vec<u8>> {
        let outside = self.roots.workspace.ancestors().skip(1).map(|folder| folder.join(".cargo"));
        let mut text = Vec::new();
        let mut seen = BTreeSet::new();
        for folder in outside.chain([self.roots.cargo_home.clone()]).filter(|folder| seen.insert(folder.clone())) {
            // The old name is read first where both exist (The Cargo Book, "Configuration").
            for path in [folder.join("config"), folder.join("config.toml")] {
                if let Some(content) =
                    if_exists(fs::read(&path)).with_context(|| format!("read `{}`", path.display()))?
                {
                    if shapes_the_build(&String::from_utf8_lossy(&content)) {
                        text.extend(content);
                    }
                    break;
                }
            }
        }
        Ok(text)
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = folder.join(&name);
        if !entry.file_type()?.is_dir() {
            files.push(path);
        } else if name != "target" && name != ".git" {
            walk(root, &path, files)?;
        }
    }
    Ok(())
}
