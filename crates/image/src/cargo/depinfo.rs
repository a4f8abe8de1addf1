//! Reads what cargo and rustc write about inputs: their `.d` files and the output of build scripts.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The prerequisites in a `.d` file, in its order, without repeats. Cargo and rustc escape only spaces, as `\ `; a line of
/// its own for each prerequisite (`path:`) repeats them for make and is passed over.
pub(super) fn prerequisites(text: &str) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, list)) = line.split_once(": ") else { continue };
        let mut path = String::new();
        for word in list.split(' ') {
            if let Some(start) = word.strip_suffix('\\') {
                path.push_str(start);
                path.push(' ');
                continue;
            }
            path.push_str(word);
            let path = PathBuf::from(std::mem::take(&mut path));
            if !path.as_os_str().is_empty() && seen.insert(path.clone()) {
                paths.push(path);
            }
        }
    }
    paths
}

/// Names of the environment variables that the source reads with `env!` and `option_env!`, from a `.d` file of rustc.
pub(super) fn env_dependencies(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_prefix("# env-dep:")).map(|rest| rest.split('=').next().unwrap_or(rest))
}

/// What a build script told cargo to watch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ScriptOutput {
    /// Names of environment variables.
    pub(super) env: BTreeSet<String>,
    /// Whether it named anything at all. If not, cargo reruns it when any file of the package has another mtime (The Cargo
    /// Book, "Build Scripts", `rerun-if-changed`).
    pub(super) says: bool,
}

impl ScriptOutput {
    pub(super) fn parse(text: &str) -> ScriptOutput {
        let mut output = ScriptOutput::default();
        for line in text.lines() {
            let Some(line) = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:")) else { continue };
            if let Some(name) = line.strip_prefix("rerun-if-env-changed=") {
                output.env.insert(name.trim_end().to_owned());
                output.says = true;
            }
            output.says |= line.starts_with("rerun-if-changed=");
        }
        output
    }
}

/// `base/path` without `.` and `..`. By name only: a `..` after a symbolic link is rare in a build script and resolving links
/// would put the folders of this machine into names.
pub(crate) fn normal(base: &Path, path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargos_and_rustcs_files() {
        let cargo = "/t/app: /w/.git/HEAD /w/app/src/te\\ xt\\ #$.txt /w/dep:x/lib.rs\n";
        let paths: Vec<PathBuf> =
            ["/w/.git/HEAD", "/w/app/src/te xt #$.txt", "/w/dep:x/lib.rs"].map(PathBuf::from).into();
        assert_eq!(prerequisites(cargo), paths);
        let rustc = "/t/deps/app.d: src/a.rs src/b\\ c.rs\n\n/t/deps/app: src/a.rs src/b\\ c.rs\n\nsrc/a.rs:\nsrc/b\\ c.rs:\n\n# env-dep:V\n# env-dep:W=a=b\n";
        assert_eq!(prerequisites(rustc), ["src/a.rs", "src/b c.rs"].map(PathBuf::from));
        assert_eq!(env_dependencies(rustc).collect::<Vec<_>>(), ["V", "W"]);
        assert_eq!(prerequisites("/t/app:\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_script_that_names_nothing_is_told_apart() {
        assert!(!ScriptOutput::parse("cargo::rustc-env=A=b\nnoise rerun-if-changed=x\n").says);
        assert!(ScriptOutput::parse("cargo:rerun-if-changed=x\n").says);
        let output = ScriptOutput::parse("cargo::rerun-if-env-changed=FOO\n");
        assert!(output.says && output.env.contains("FOO"));
    }

    #[test]
    fn names_have_no_dots() {
        assert_eq!(normal(Path::new("/w/app"), Path::new("../.git/./HEAD")), Path::new("/w/.git/HEAD"));
        assert_eq!(normal(Path::new("/w/app"), Path::new("/x/../y")), Path::new("/y"));
    }
}
