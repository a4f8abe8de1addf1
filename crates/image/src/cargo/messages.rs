//! What `cargo build --message-format=json` says (The Cargo Book, "External tools", "JSON messages").

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(Artifact),
    BuildScriptExecuted(ScriptRun),
    #[serde(other)]
    Other,
}

/// One compiled target.
#[derive(Deserialize)]
pub(super) struct Artifact {
    package_id: String,
    pub(super) manifest_path: PathBuf,
    pub(super) target: Target,
    filenames: Vec<PathBuf>,
    pub(super) executable: Option<PathBuf>,
    /// Cargo found it up to date and compiled nothing.
    pub(super) fresh: bool,
}

#[derive(Deserialize)]
pub(super) struct Target {
    pub(super) kind: Vec<String>,
    pub(super) name: String,
    pub(super) src_path: PathBuf,
}

/// One run of a build script, now or before.
#[derive(Deserialize)]
pub(super) struct ScriptRun {
    package_id: String,
    /// What it sets for the compiler.
    pub(super) env: Vec<(String, String)>,
    pub(super) out_dir: PathBuf,
}

/// What cargo said of the packages whose source is in a folder: those of the workspace and path dependencies. All others are
/// pinned by a checksum or a commit in the lock file.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) artifacts: Vec<Artifact>,
    pub(super) scripts: Vec<ScriptRun>,
}

impl Messages {
    /// Lines that are not messages are passed over: a build script's child may have written to our pipe.
    pub(super) fn parse(stdout: &[u8]) -> Messages {
        let mut messages = Messages::default();
        for line in stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
            match serde_json::from_slice(line) {
                Ok(Message::CompilerArtifact(artifact)) if is_local(&artifact.package_id) => {
                    messages.artifacts.push(artifact)
                }
                Ok(Message::BuildScriptExecuted(run)) if is_local(&run.package_id) => messages.scripts.push(run),
                Ok(_) | Err(_) => {}
            }
        }
        messages
    }

    pub(super) fn program(&self, package: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|a| a.target.name == package && a.target.kind == ["bin"] && a.executable.is_some())
    }

    /// The folder of the package that ran this script.
    pub(super) fn folder_of(&self, run: &ScriptRun) -> Option<&Path> {
        self.artifacts.iter().find(|a| a.package_id == run.package_id)?.manifest_path.parent()
    }
}

impl Artifact {
    pub(super) fn is_build_script(&self) -> bool {
        self.target.kind == ["custom-build"]
    }

    /// The `.d` file that rustc wrote for it: next to the artefact, named like it with the hash that only the name in
    /// `deps` has. A program is a hard link to that name; if it is a copy (no hard links here) all that could be it are given.
    pub(super) fn rustc_dep_infos(&self) -> Vec<PathBuf> {
        let Some(file) = self.executable.as_ref().or_else(|| self.filenames.first()) else { return Vec::new() };
        let (Some(folder), Some(stem)) = (file.parent(), file.file_stem().and_then(|stem| stem.to_str())) else {
            return Vec::new();
        };
        let dep_info = |folder: &Path, stem: &str| folder.join(format!("{stem}.d"));
        if self.executable.is_none() && !self.is_build_script() {
            return vec![dep_info(folder, stem.strip_prefix("lib").unwrap_or(stem))];
        }
        // A build script has a folder of its own with one `.d` file in it.
        let (folder, prefix) = match &self.executable {
            Some(_) => (folder.join("deps"), format!("{}-", stem.replace('-', "_"))),
            None => (folder.to_path_buf(), String::new()),
        };
        let stems: BTreeSet<String> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".d")?.to_owned()))
            .filter(|stem| stem.starts_with(&prefix))
            .collect();
        let same = |stem: &&String| {
            let (one, two) = (fs::metadata(file), fs::metadata(folder.join(stem)));
            one.ok().zip(two.ok()).is_some_and(|(one, two)| (one.dev(), one.ino()) == (two.dev(), two.ino()))
        };
        match stems.iter().find(same) {
            Some(stem) => vec![dep_info(&folder, stem)],
            None => stems.iter().map(|stem| dep_info(&folder, stem)).collect(),
        }
    }
}

fn is_local(package_id: &str) -> bool {
    package_id.starts_with("path+")
}
