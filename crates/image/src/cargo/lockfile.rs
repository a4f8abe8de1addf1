//! Which packages of `Cargo.lock` a package reaches: its part of the lock file, so that an update elsewhere in the
//! workspace does not change its fingerprint.
//!
//! The file is written by cargo in one fixed form, a table per package with one value a line, so a reader of those few lines
//! is enough; a TOML parser would be the largest dependency of this crate. What it does not know it keeps out, and a
//! package that it cannot find is an error, never an empty closure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};

/// The packages of a lock file.
pub(crate) struct LockFile {
    packages: Vec<Package>,
}

#[derive(Default)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    dependencies: Vec<String>,
}

impl LockFile {
    pub(crate) fn parse(text: &str) -> LockFile {
        let mut packages: Vec<Package> = Vec::new();
        let mut inside = false;
        let mut in_dependencies = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[[package]]";
                in_dependencies = false;
                if inside {
                    packages.push(Package::default());
                }
                continue;
            }
            let Some(package) = packages.last_mut().filter(|_| inside) else { continue };
            if in_dependencies {
                in_dependencies = line != "]";
                package.dependencies.extend(all_quoted(line));
            } else if let Some((key, value)) = line.split_once('=') {
                match key.trim() {
                    "name" => package.name = quoted(value).unwrap_or_default(),
                    "version" => package.version = quoted(value).unwrap_or_default(),
                    "source" => package.source = quoted(value),
                    "checksum" => package.checksum = quoted(value),
                    "dependencies" => in_dependencies = !value.trim_end().ends_with(']'),
                    _ => {}
                }
            }
        }
        LockFile { packages }
    }

    /// `name@version` of each package that has no source: the ones of this workspace and its path dependencies.
    pub(crate) fn local_packages(&self) -> Vec<String> {
        self.packages.iter().filter(|p| p.source.is_none()).map(|p| format!("{}@{}", p.name, p.version)).collect()
    }

    /// One line (name, version, source, checksum) for each package that the local package `root` reaches, itself included, sorted.
    /// Cargo does not write which of them only tests need or which features are on, so this may be more than is compiled in.
    pub(crate) fn closure(&self, root: &str) -> anyhow::Result<String> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, package) in self.packages.iter().enumerate() {
            by_name.entry(&package.name).or_default().push(index);
        }
        let start = self.packages.iter().position(|p| p.name == root && p.source.is_none());
        let start =
            start.with_context(|| format!("`Cargo.lock` has no package `{root}`: run `cargo update --workspace`"))?;
        let mut seen = BTreeSet::from([start]);
        let mut todo = vec![start];
        while let Some(index) = todo.pop() {
            for dependency in &self.packages[index].dependencies {
                let found = self.find(by_name.get(name_of(dependency)).map_or(&[], Vec::as_slice), dependency);
                let Some(found) = found else {
                    bail!("`Cargo.lock` names `{dependency}` but does not have it: run `cargo update --workspace`");
                };
                if seen.insert(found) {
                    todo.push(found);
                }
            }
        }
        let mut lines: Vec<String> = seen.into_iter().map(|index| self.packages[index].line()).collect();
        lines.sort();
        Ok(lines.concat())
    }

    /// A dependency is written `name`, `name version` or `name version (source)`, as much as tells it from the others.
    fn find(&self, candidates: &[usize], dependency: &str) -> Option<usize> {
        let mut words = dependency.splitn(3, ' ').skip(1);
        let version = words.next();
        let source = words.next().map(|word| word.trim_matches(['(', ')']));
        candidates.iter().copied().find(|&index| {
            let package = &self.packages[index];
            version.is_none_or(|v| v == package.version)
                // A git source ends with `#commit` in the package's own table only.
                && source.is_none_or(|s| package.source.as_deref().is_some_and(|p| p == s || p.split('#').next() == Some(s)))
        })
    }
}

impl Package {
    fn line(&self) -> String {
        let source = self.source.as_deref().unwrap_or("local");
        format!("{} {} {source} {}\n", self.name, self.version, self.checksum.as_deref().unwrap_or("-"))
    }
}

fn name_of(dependency: &str) -> &str {
    dependency.split(' ').next().unwrap_or(dependency)
}

fn quoted(text: &str) -> Option<String> {
    all_quoted(text).next()
}

/// The content of each quoted string of a line. Cargo escapes nothing in names, versions, sources and checksums.
fn all_quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('"').skip(1).step_by(2).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"# This file is automatically @generated by Cargo.
version = 4

[[package]]
name = "app"
version = "0.1.0"
dependencies = [
 "kit",
 "rand 0.9.1",
]

[[package]]
name = "kit"
version = "0.1.0"
dependencies = ["app"]

[[package]]
name = "other"
version = "0.1.0"
dependencies = [
 "rand 0.8.0 (registry+https://github.com/rust-lang/crates.io-index)",
]

[[package]]
name = "rand"
version = "0.8.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "08"

[[package]]
name = "rand"
version = "0.9.1"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "09"

[metadata]
name = "not a package"
"#;

    #[test]
    fn only_what_a_package_reaches_counts() {
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        let lock = LockFile::parse(LOCK);
        let app = format!("app 0.1.0 local -\nkit 0.1.0 local -\nrand 0.9.1 {registry} 09\n");
        assert_eq!(lock.closure("app").unwrap(), app);
        assert_eq!(lock.closure("other").unwrap(), format!("other 0.1.0 local -\nrand 0.8.0 {registry} 08\n"));
        // An update of a package that it does not use leaves it alone; one of a package that it uses does not.
        let updated = LockFile::parse(&LOCK.replace("\"08\"", "\"88\""));
        assert_eq!(updated.closure("app").unwrap(), app);
        assert_ne!(updated.closure("other").unwrap(), lock.closure("other").unwrap());
        assert_eq!(lock.local_packages(), ["app@0.1.0", "kit@0.1.0", "other@0.1.0"]);
    }

    #[test]
    fn an_unknown_package_is_an_error() {
        let error = LockFile::parse(LOCK).closure("gateway").unwrap_err().to_string();
        assert!(error.contains("no package `gateway`"), "{error}");
        let error =
            LockFile::parse(&LOCK.replace("\"rand 0.9.1\"", "\"rand 0.7.0\"")).closure("app").unwrap_err().to_string();
        assert!(error.contains("`rand 0.7.0`"), "{error}");
    }
}
