//! `cargo xtask tidy`: the rules of the design, checked on the sources. `cargo test` runs it too.

mod directions;
mod pattern;
mod style;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::console::say;
use crate::paths;

/// A text file of the workspace, by its path from the root.
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) content: String,
}

pub(crate) fn run() -> anyhow::Result<u8> {
    let faults = check(&paths::workspace()?)?;
    for fault in &faults {
        say(&format!("{fault}\n"));
    }
    say(&format!(
        "tidy: {}\n",
        if faults.is_empty() { "all rules hold".to_owned() } else { format!("{} faults", faults.len()) }
    ));
    Ok(u8::from(!faults.is_empty()))
}

/// Every fault, as `path:line: what is wrong and what to do`.
pub(crate) fn check(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let mut texts = Vec::new();
    for top in ["Cargo.toml", "README.md", ".cargo", ".ci", ".github", "xtask", "crates"] {
        read(workspace, &workspace.join(top), &mut texts)?;
    }
    let mut faults: Vec<String> = texts.iter().flat_map(style::check).collect();
    faults.extend(texts.iter().flat_map(pattern::check));
    faults.extend(directions::check(&texts));
    faults.extend(directions::weight(workspace)?);
    Ok(faults)
}

fn read(root: &Path, path: &PathBuf, texts: &mut Vec<Text>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("read `{}`", path.display()))? {
            read(root, &entry?.path(), texts)?;
        }
        return Ok(());
    }
    let wanted = ["rs", "toml", "md", "yml", "yaml", "sh", "json"];
    let named = path.extension().and_then(|extension| extension.to_str());
    if path.is_file() && (named.is_none() || named.is_some_and(|extension| wanted.contains(&extension))) {
        let path_from_root = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let bytes = fs::read(path).with_context(|| format!("read `{path_from_root}`"))?;
        // What is no text is nothing that a person wrote here.
        if let Ok(content) = String::from_utf8(bytes) {
            texts.push(Text { path: path_from_root, content });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_hold_here() {
        let faults = check(&paths::workspace().unwrap()).unwrap();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
