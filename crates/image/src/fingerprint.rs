//! Content of the inputs of a build, under names that are the same on every machine.
//!
//! An [`Input`] is a name and a way to read what it names *now*: the same list can be read again later, on this machine or on
//! another one, and compared. Neither a time, a user nor an absolute path goes into a name or a digest. Everything is read in
//! full each time: that costs less than the stat cache and its rules would (a few milliseconds for a workspace).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;

use crate::Digest;
use crate::cargo::LockFile;

/// What a build takes in. Its text form is what [`Source::inputs`](crate::Source::inputs) holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Input {
    /// A file, or a folder with all that is in it. Relative to the workspace, or `cargo-home:` and relative to that.
    Path(String),
    /// All files of a package but those that version control ignores: what cargo watches for a build script that names nothing.
    Package(String),
    /// What `Cargo.lock` pins for a package.
    Lock(String),
    /// An environment variable.
    Env(String),
    /// Cargo configuration from outside the workspace, as far as it has a say in what is compiled.
    OuterConfig,
    /// The commit that is checked out: build scripts may ask for it in ways that cargo does not see.
    Head,
}

const LOCK: &str = "Cargo.lock#";
const ENV: &str = "env:";
const PACKAGE: &str = "/**";
const OUTER_CONFIG: &str = "cargo-config:outside";
const HEAD: &str = "git:HEAD";
const CARGO_HOME: &str = "cargo-home:";

impl Input {
    pub(crate) fn parse(name: &str) -> Input {
        if let Some(package) = name.strip_prefix(LOCK) {
            Input::Lock(package.to_owned())
        } else if let Some(variable) = name.strip_prefix(ENV) {
            Input::Env(variable.to_owned())
        } else if let Some(folder) = name.strip_suffix(PACKAGE) {
            Input::Package(folder.to_owned())
        } else {
            match name {
                OUTER_CONFIG => Input::OuterConfig,
                HEAD => Input::Head,
                path => Input::Path(path.to_owned()),
            }
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Path(path) => f.write_str(path),
            Input::Package(folder) => write!(f, "{folder}{PACKAGE}"),
            Input::Lock(package) => write!(f, "{LOCK}{package}"),
            Input::Env(name) => write!(f, "{ENV}{name}"),
            Input::OuterConfig => f.write_str(OUTER_CONFIG),
            Input::Head => f.write_str(HEAD),
        }
    }
}

/// The folders that names are relative to.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    pub(crate) workspace: PathBuf,
    pub(crate) cargo_home: PathBuf,
}

impl Roots {
    /// The name of an absolute path.
    pub(crate) fn name(&self, path: &Path) -> anyhow::Result<String> {
        let text = |path: &Path| {
            path.to_str()
                .map(str::to_owned)
                .with_context(|| format!("the file name `{}` is not UTF-8: rename it", path.display()))
        };
        if let Ok(inside) = path.strip_prefix(&self.workspace) {
            // The workspace folder itself, as a package's folder.
            return Ok(if inside.as_os_str().is_empty() { ".".to_owned() } else { text(inside)? });
        }
        if let Ok(inside) = path.strip_prefix(&self.cargo_home) {
            return Ok(format!("{CARGO_HOME}{}", text(inside)?));
        }
        let common = self.workspace.components().zip(path.components()).take_while(|(one, two)| one == two).count();
        let up = self.workspace.components().skip(common).map(|_| Component::ParentDir);
        text(&up.chain(path.components().skip(common)).collect::<PathBuf>())
    }

    /// The path that a name stands for.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match name.strip_prefix(CARGO_HOME) {
            Some(inside) => self.cargo_home.join(inside),
            None => self.workspace.join(name),
        }
    }
}

/// What inputs other than files are read from.
pub(crate) trait Surroundings: Sync {
    fn roots(&self) -> &Roots;
    /// A variable as the build sees it.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// The commit that is checked out.
    fn head(&self) -> Option<String>;
    /// The files of a folder, without those that version control ignores.
    fn files(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>>;
    /// Configuration from outside the workspace that has a say.
    fn outer_config(&self) -> anyhow::Result<Vec<u8>>;
}

/// An input as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) digest: Digest,
    /// The newest status-change time of what was read, in nanoseconds since the epoch. No program can set it, so it shows a
    /// change that was undone. It is compared with itself only, and never part of a fingerprint.
    pub(crate) changed: Option<i128>,
}

impl State {
    /// The state of [`Input::Head`] at this commit.
    pub(crate) fn of_head(commit: Option<&str>) -> State {
        State { digest: commit.map_or_else(missing, Digest::of), changed: None }
    }
}

/// Reads all inputs, on as many threads as there are processors, four at most: the disk cache gives no more.
pub(crate) fn snapshot<'a>(
    around: &dyn Surroundings,
    inputs: impl IntoIterator<Item = &'a Input>,
) -> anyhow::Result<BTreeMap<Input, State>> {
    let inputs: Vec<&Input> = inputs.into_iter().collect();
    let lock =
        inputs.iter().any(|input| matches!(input, Input::Lock(_))).then(|| Lock::read(around.roots())).transpose()?;
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<Vec<(Input, State)>> {
        let mut done = Vec::new();
        while let Some(input) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let state = state(around, input, lock.as_ref()).with_context(|| format!("fingerprint `{input}`"))?;
            done.push(((*input).clone(), state));
        }
        Ok(done)
    };
    // A thread costs more than the few files of a small package.
    let threads = if inputs.len() < 32 { 1 } else { thread::available_parallelism().map_or(1, |n| n.get().min(4)) };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all: BTreeMap<Input, State> = work()?.into_iter().collect();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// The digest that stands for something that does not exist. No content has it but this text.
pub(crate) fn missing() -> Digest {
    Digest::of("\0missing")
}

/// The fingerprint of a list of parameters and inputs. Lengths are part of it, so that no two lists are written alike.
pub(crate) fn fingerprint(parameters: &[(String, String)], inputs: &[(String, Digest)]) -> Digest {
    let mut text = String::from("fingerprint 1\n");
    for (name, value) in parameters {
        text += &format!("parameter {} {name} {} {value}\n", name.len(), value.len());
    }
    for (name, digest) in inputs {
        text += &format!("input {} {name} {digest}\n", name.len());
    }
    Digest::of(text)
}

struct Lock {
    file: Option<LockFile>,
    changed: Option<i128>,
}

impl Lock {
    fn read(roots: &Roots) -> anyhow::Result<Lock> {
        let path = roots.workspace.join("Cargo.lock");
        let Some(bytes) = if_exists(fs::read(&path)).with_context(|| format!("read `{}`", path.display()))? else {
            return Ok(Lock { file: None, changed: None });
        };
        Ok(Lock { file: Some(LockFile::parse(&String::from_utf8_lossy(&bytes))), changed: ctime(&path)? })
    }
}

fn state(around: &dyn Surroundings, input: &Input, lock: Option<&Lock>) -> anyhow::Result<State> {
    let value = |digest| Ok(State { digest, changed: None });
    match input {
        Input::Path(name) => tree(&around.roots().path(name)),
        Input::Package(folder) => package(around, &around.roots().path(folder)),
        Input::Lock(package) => match lock {
            // A package that is missing from an outdated lock file is put there by the build that follows.
            Some(Lock { file: Some(file), changed }) => {
                let digest = file.closure(package).map_or_else(|_| missing(), Digest::of);
                Ok(State { digest, changed: *changed })
            }
            _ => value(missing()),
        },
        Input::Env(name) => value(around.variable(name).map_or_else(missing, |v| Digest::of(v.as_encoded_bytes()))),
        Input::OuterConfig => value(Digest::of(around.outer_config()?)),
        Input::Head => Ok(State::of_head(around.head().as_deref())),
    }
}

/// A file's content; of a folder the names and digests of all that is in it.
fn tree(path: &Path) -> anyhow::Result<State> {
    let context = || format!("read `{}`", path.display());
    let Some(metadata) = if_exists(fs::metadata(path)).with_context(context)? else {
        return Ok(State { digest: missing(), changed: None });
    };
    let mut newest = changed(&metadata);
    if !metadata.is_dir() && !metadata.is_file() {
        // A socket or a pipe has no content, and reading it could wait for ever.
        return Ok(State { digest: Digest::of("\0special"), changed: Some(newest) });
    }
    if metadata.is_file() {
        // Reading in one go is fastest for source files; an asset of any size must not be held in memory.
        let digest = match metadata.len() {
            0..0x10_0000 => fs::read(path).map(Digest::of),
            _ => fs::File::open(path).and_then(Digest::of_reader),
        };
        // Gone between the two calls: missing.
        let digest = if_exists(digest).with_context(context)?.unwrap_or_else(missing);
        return Ok(State { digest, changed: Some(newest) });
    }
    let mut lines = Vec::new();
    for entry in fs::read_dir(path).with_context(context)? {
        let entry = entry.with_context(context)?;
        // A link that leads to a folder may lead back up: its target's name is its content.
        let state = match entry.path().read_link() {
            Ok(target) if entry.path().is_dir() => {
                State { digest: Digest::of(target.as_os_str().as_encoded_bytes()), changed: None }
            }
            _ => tree(&entry.path())?,
        };
        newest = newest.max(state.changed.unwrap_or(newest));
        lines.push(format!("{} {}\n", state.digest, entry.file_name().to_string_lossy()));
    }
    lines.sort();
    Ok(State { digest: Digest::of(lines.concat()), changed: Some(newest) })
}

fn package(around: &dyn Surroundings, folder: &Path) -> anyhow::Result<State> {
    let mut newest: Option<i128> = None;
    let mut lines = Vec::new();
    for file in around.files(folder)? {
        let state = tree(&folder.join(&file))?;
        // Version control still lists what was deleted.
        if state.digest != missing() {
            newest = newest.max(state.changed);
            lines.push(format!("{} {}\n", state.digest, file.to_string_lossy()));
        }
    }
    lines.sort();
    Ok(State { digest: Digest::of(lines.concat()), changed: newest })
}

fn ctime(path: &Path) -> anyhow::Result<Option<i128>> {
    Ok(if_exists(fs::metadata(path)).with_context(|| format!("read `{}`", path.display()))?.as_ref().map(changed))
}

fn changed(metadata: &fs::Metadata) -> i128 {
    i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
}

/// `None` for a file that is not there, which is a state of an input and not a fault.
pub(crate) fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        let roots = Roots { workspace: "/home/a/work".into(), cargo_home: "/home/a/.cargo".into() };
        for (path, name) in [
            ("/home/a/work/crates/x/src/lib.rs", "crates/x/src/lib.rs"),
            ("/home/a/work", "."),
            ("/home/a/shared/lib.rs", "../shared/lib.rs"),
            ("/home/a/.cargo/config.toml", "cargo-home:config.toml"),
        ] {
            assert_eq!(roots.name(Path::new(path)).unwrap(), name);
            let back = crate::cargo::normal(Path::new("/"), &roots.path(name));
            assert_eq!(back, Path::new(path));
        }
        for name in ["a/b.rs", "crates/x/**", "Cargo.lock#gateway", "env:V", "cargo-config:outside", "git:HEAD"] {
            assert_eq!(Input::parse(name).to_string(), name);
        }
    }

    #[test]
    fn no_two_lists_have_the_same_fingerprint() {
        let one = [("a".to_owned(), "b\nparameter 1 c 1 d".to_owned())];
        let two = [("a".to_owned(), "b".to_owned()), ("c".to_owned(), "d".to_owned())];
        assert_ne!(fingerprint(&one, &[]), fingerprint(&two, &[]));
        assert_ne!(fingerprint(&[], &[("a".into(), Digest::of("x"))]), fingerprint(&[], &[("a".into(), missing())]));
    }
}
