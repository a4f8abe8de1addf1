//! Which crate may use which, and what xtask may weigh.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use xshell::{Shell, cmd};

use super::Text;

/// What each crate of the tool may use, besides packages from the registry. `e2e-*` stands for every pipeline.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("supervise", &[]),
    ("image", &["supervise"]),
    ("event", &["image"]),
    ("pipeline", &["event", "image", "supervise"]),
    ("report", &["event", "image"]),
    ("datastorage-image", &["image", "pipeline"]),
    ("e2e-suite", &[]),
    ("e2e-*", &["datastorage-image", "pipeline", "e2e-suite"]),
    ("bench", &["image", "pipeline", "supervise"]),
    ("xtask", &["datastorage-image", "e2e-*", "image", "pipeline", "report", "supervise"]),
];

/// Packages that xtask must never pull in: each costs a newcomer more than the whole tool (research: `cargo build --timings`).
const TOO_HEAVY: [&str; 9] =
    ["tokio", "hyper", "axum", "reqwest", "rusqlite", "libsqlite3-sys", "tokio-postgres", "ureq", "kube-client"];

/// Most packages that xtask may consist of, our own included.
const MOST_PACKAGES: usize = 75;

pub(super) fn check(texts: &[Text]) -> Vec<String> {
    let manifests: Vec<_> = texts.iter().filter_map(|text| Some((name_of(&text.path)?, text))).collect();
    let ours: BTreeSet<_> = manifests.iter().map(|(name, _)| *name).collect();
    let mut faults = Vec::new();
    for (name, manifest) in &manifests {
        let is_service = manifest.path.starts_with("crates/services/");
        let is_pipeline = |name: &str| name.starts_with("e2e-") && name != "e2e-suite";
        for (number, line) in manifest.content.lines().enumerate() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !ours.contains(dependency) || dependency == *name {
                continue;
            }
            let rule = MAY_USE.iter().find(|(of, _)| of == name || *of == "e2e-*" && is_pipeline(name));
            let allowed = if is_service {
                // DataStorage passes the contract that the suites hold it to.
                dependency == "service-kit" || dependency == "e2e-suite"
            } else {
                rule.is_some_and(|(_, may)| {
                    may.iter().any(|one| *one == dependency || *one == "e2e-*" && is_pipeline(dependency))
                })
            };
            if !allowed {
                let at = format!("{}:{}", manifest.path, number + 1);
                faults.push(format!("{at}: `{name}` may not use `{dependency}`; crates/README.md has the directions"));
            }
        }
    }
    faults
}

/// The package whose manifest this is: folders are called like their packages.
fn name_of(path: &str) -> Option<&str> {
    path.strip_suffix("/Cargo.toml")?.rsplit('/').next()
}

/// Asks cargo what xtask consists of.
pub(super) fn weight(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let shell = Shell::new()?;
    shell.change_dir(workspace);
    let tree = cmd!(shell, "cargo tree --package xtask --edges normal,build --prefix none").quiet().read();
    let tree = tree.context("ask cargo what xtask consists of")?;
    let packages: BTreeSet<_> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty()).collect();
    let mut faults = Vec::new();
    if packages.len() > MOST_PACKAGES {
        faults.push(format!("xtask consists of {} packages; {MOST_PACKAGES} are the most", packages.len()));
    }
    for heavy in TOO_HEAVY.iter().filter(|heavy| packages.contains(*heavy)) {
        faults.push(format!(
            "xtask reaches `{heavy}`, which is too heavy for it: `cargo tree -p xtask -i {heavy}` says how"
        ));
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_direction_is_found() {
        let manifest = |path: &str, content: &str| Text { path: path.to_owned(), content: content.to_owned() };
        let base = || {
            vec![
                manifest("xtask/Cargo.toml", ""),
                manifest("crates/image/Cargo.toml", ""),
                manifest("crates/pipeline/Cargo.toml", ""),
                manifest("crates/e2e-gateway/Cargo.toml", "pipeline.workspace = true\n"),
                manifest("crates/services/gateway/Cargo.toml", ""),
            ]
        };
        assert!(check(&base()).is_empty(), "{:?}", check(&base()));
        for (index, line) in
            [(1, "pipeline.workspace = true"), (3, "xtask = {}"), (4, "image.workspace = true"), (0, "gateway = {}")]
        {
            let mut texts = base();
            texts[index].content.push_str(line);
            assert_eq!(check(&texts).len(), 1, "{line}");
        }
    }
}
