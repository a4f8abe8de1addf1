//! The exact inputs of a program, from what cargo and rustc wrote while they made it, and the parameters of the build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::CargoBuild;
use super::checkout::Checkout;
use super::depinfo::{ScriptOutput, env_dependencies, normal, prerequisites};
use super::messages::{Artifact, Messages};
use super::toolchain::{Toolchain, names_the_machine, sets_c_toolchain};
use crate::fingerprint::Input;

/// What a program was made from.
#[derive(Debug, Default)]
pub(super) struct ProgramInputs {
    /// Those for which cargo goes by the time of modification, and variables, which it compares.
    pub(super) watched: BTreeSet<Input>,
    /// All of them.
    pub(super) all: BTreeSet<Input>,
}

/// Collects the inputs of one program after a build.
pub(super) fn collect(
    checkout: &Checkout,
    target_dir: &Path,
    messages: &Messages,
    artifact: &Artifact,
) -> anyhow::Result<ProgramInputs> {
    let roots = &checkout.roots;
    let executable = artifact.executable.as_deref().context("cargo named no executable")?;
    let files = files_of(&roots.workspace, &executable.with_extension("d"))?;
    let mut inputs = ProgramInputs::default();
    let mut packages = BTreeSet::new();
    for file in &files {
        // What a build script wrote follows from its inputs, and what a lock file pins is listed there.
        let pinned = ["registry", "git"].iter().any(|folder| file.starts_with(roots.cargo_home.join(folder)));
        if pinned || file.starts_with(target_dir) {
            continue;
        }
        inputs.watched.insert(Input::Path(roots.name(file)?));
        if let Some(folder) = file.ancestors().skip(1).find(|folder| folder.join("Cargo.toml").is_file()) {
            packages.insert(folder.to_path_buf());
        }
    }
    for name in watched_variables(&roots.workspace, messages, &files, &packages) {
        inputs.watched.insert(Input::Env(name));
    }
    for run in &messages.scripts {
        let Some(folder) = messages.folder_of(run).filter(|folder| packages.contains(*folder)) else { continue };
        inputs.all.insert(Input::Head);
        if !script_output(&run.out_dir).says {
            inputs.watched.insert(Input::Package(roots.name(folder)?));
        }
    }
    for folder in &packages {
        inputs.all.insert(Input::Path(roots.name(&folder.join("Cargo.toml"))?));
    }
    for name in ["Cargo.toml", ".cargo/config", ".cargo/config.toml", "rust-toolchain", "rust-toolchain.toml"] {
        inputs.all.insert(Input::Path(name.to_owned()));
    }
    inputs.all.insert(Input::OuterConfig);
    inputs.all.insert(Input::Lock(artifact.target.name.clone()));
    inputs.all.extend(inputs.watched.iter().cloned());
    Ok(inputs)
}

/// The files in a `.d` file. Relative ones are relative to where cargo ran.
pub(super) fn files_of(workspace: &Path, dep_info: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let text = fs::read_to_string(dep_info)
        .with_context(|| format!("read cargo's list of inputs `{}`", dep_info.display()))?;
    Ok(prerequisites(&text).iter().map(|path| normal(workspace, path)).collect())
}

/// Folder and source of each build script.
pub(super) fn scripts(checkout: &Checkout, messages: &Messages) -> anyhow::Result<Vec<(String, String)>> {
    let scripts = messages.artifacts.iter().filter(|artifact| artifact.is_build_script());
    scripts
        .filter_map(|artifact| Some((artifact.manifest_path.parent()?, &artifact.target.src_path)))
        .map(|(folder, source)| Ok((checkout.roots.name(folder)?, checkout.roots.name(source)?)))
        .collect()
}

/// Variables that the packages' sources and build scripts read.
fn watched_variables(
    workspace: &Path,
    messages: &Messages,
    files: &BTreeSet<PathBuf>,
    packages: &BTreeSet<PathBuf>,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for artifact in messages.artifacts.iter().filter(|a| files.contains(&normal(workspace, &a.target.src_path))) {
        for dep_info in artifact.rustc_dep_infos() {
            // A file that went away between two builds at the same time tells nothing that cargo's own list does not.
            let text = fs::read_to_string(dep_info).unwrap_or_default();
            names.extend(env_dependencies(&text).map(str::to_owned));
        }
    }
    for run in &messages.scripts {
        if messages.folder_of(run).is_some_and(|folder| packages.contains(folder)) {
            // What a script sets for the compiler comes from the script, not from the environment.
            for (name, _) in &run.env {
                names.remove(name);
            }
            names.extend(script_output(&run.out_dir).env);
        }
    }
    names.retain(|name| !names_the_machine(name));
    names
}

/// Cargo keeps what a build script printed next to its output folder (The Cargo Book, "Build Scripts"). If that is not there,
/// nothing is known of the script, and all of the package is watched.
fn script_output(out_dir: &Path) -> ScriptOutput {
    fs::read_to_string(out_dir.with_file_name("output")).map(|text| ScriptOutput::parse(&text)).unwrap_or_default()
}

/// Flags for the compiler, separated by 0x1f as cargo wants them in `CARGO_ENCODED_RUSTFLAGS`. What they mean for a program is
/// told by [`parameters`], without the paths of this machine.
pub(super) fn flags(build: &CargoBuild, checkout: &Checkout, toolchain: &Toolchain) -> anyhow::Result<String> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("the path `{}` is not UTF-8", path.display()))
    };
    // The last that fits is applied, so what may lie in the workspace comes after it.
    let remapped = [
        (checkout.roots.workspace.clone(), "/workspace".to_owned()),
        (checkout.roots.cargo_home.clone(), "/cargo".to_owned()),
        (build.target_dir.clone(), "/target".to_owned()),
        (toolchain.sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{}", toolchain.commit())),
    ];
    let mut flags = vec!["-C".to_owned(), "target-feature=+crt-static".to_owned()];
    for (from, to) in &remapped {
        flags.push(format!("--remap-path-prefix={}={to}", text(from)?));
    }
    Ok(flags.join("\u{1f}"))
}

/// What the builder was told, for the fingerprint and the provenance record: sorted, and the same on every machine.
pub(super) fn parameters(build: &CargoBuild, toolchain: &Toolchain, package: &str) -> Vec<(String, String)> {
    let flags = "-C target-feature=+crt-static, paths remapped to /workspace /cargo /target /rustc";
    let mut parameters = vec![
        ("builder".to_owned(), "cargo".to_owned()),
        ("features".to_owned(), "default".to_owned()),
        ("flags".to_owned(), flags.to_owned()),
        ("package".to_owned(), package.to_owned()),
        ("profile".to_owned(), build.profile.clone()),
        ("rustc".to_owned(), toolchain.version.clone()),
        ("target".to_owned(), toolchain.target.clone()),
    ];
    let set = std::env::vars().chain(build.env.iter().cloned()).filter(|(name, _)| sets_c_toolchain(name));
    parameters.extend(set.map(|(name, value)| (format!("env.{name}"), value)));
    parameters.sort();
    parameters
}
