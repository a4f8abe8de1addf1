//! The context of a build: its files, read once, hashed and put where the engine finds them and nothing else.
//!
//! What is hashed is what the engine gets: a file that is edited meanwhile cannot make the fingerprint and the image differ,
//! and the engine's own reading of the ignore file has no say. Nothing of a file goes into the image but its name, its mode and
//! its content, so nothing else goes into the fingerprint.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, ensure};

use super::ignore::Rules;
use crate::Digest;
use crate::blobs::Tee;

/// A folder whose files a Containerfile can copy.
pub(super) struct Context<'a> {
    /// Where it is.
    pub(super) root: &'a Path,
    /// Its name, relative to the workspace: what the names of its files begin with.
    pub(super) name: &'a str,
    pub(super) rules: &'a Rules,
    /// Folders that builds write to, and that must not be part of it.
    pub(super) own: &'a [PathBuf],
}

#[derive(Default)]
struct Contents {
    inputs: Vec<(String, Digest)>,
    /// All names, modes and links.
    list: String,
}

impl Context<'_> {
    /// Reads the files, and copies them to `dest`, which must be new. Gives name and digest of each file, and of the list of all
    /// names, modes and links.
    ///
    /// # Errors
    /// If one cannot be read or copied.
    pub(super) fn read(&self, dest: Option<&Path>) -> anyhow::Result<Vec<(String, Digest)>> {
        let mut contents = Contents::default();
        if let Some(dest) = dest {
            fs::create_dir_all(dest).with_context(|| format!("make the directory `{}`", dest.display()))?;
        }
        self.folder("", dest, &mut contents)?;
        contents.inputs.push((self.name_of("**#names"), Digest::of(&contents.list)));
        Ok(contents.inputs)
    }

    /// The name of a file, relative to the workspace.
    pub(super) fn name_of(&self, path: &str) -> String {
        if self.name == "." { path.to_owned() } else { format!("{}/{path}", self.name) }
    }

    fn folder(&self, folder: &str, dest: Option<&Path>, contents: &mut Contents) -> anyhow::Result<()> {
        let path = self.root.join(folder);
        let what = || format!("read the build context `{}`", path.display());
        let mut entries = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>).with_context(what)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_str().with_context(|| {
                format!("the file name `{}` is not UTF-8: rename it or ignore it", entry.path().display())
            })?;
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            self.entry(&path, dest, contents)?;
        }
        Ok(())
    }

    fn entry(&self, path: &str, dest: Option<&Path>, contents: &mut Contents) -> anyhow::Result<()> {
        let from = self.root.join(path);
        let what = || format!("read `{}`", from.display());
        let excluded = self.rules.exclude(path);
        let metadata = fs::symlink_metadata(&from).with_context(what)?;
        let (kind, mode) = (metadata.file_type(), metadata.permissions().mode() & 0o7777);
        if excluded && !(kind.is_dir() && self.rules.bring_back()) {
            return Ok(());
        }
        let to = dest.map(|dest| dest.join(path));
        if kind.is_dir() {
            if let Some(own) = self.own.iter().find(|own| own.starts_with(&from)) {
                let own = own.display();
                ensure!(
                    excluded,
                    "the build context holds `{own}`, where this tool builds: write `{path}` into `.containerignore`"
                );
                return Ok(());
            }
            if !excluded {
                contents.list += &format!("folder {mode:o} {path}\n");
                to.as_deref().map_or(Ok(()), fs::create_dir_all).with_context(what)?;
            }
            self.folder(path, dest, contents)?;
            if let (Some(to), false) = (&to, excluded) {
                // Last, so that a folder that nobody may write to can be filled; and its owner must be able to remove it.
                fs::set_permissions(to, Permissions::from_mode(mode | 0o700)).with_context(what)?;
                File::open(to).and_then(|folder| folder.set_modified(UNIX_EPOCH)).with_context(what)?;
            }
            return Ok(());
        }
        // The folder may be left out itself.
        to.as_deref().and_then(Path::parent).map_or(Ok(()), fs::create_dir_all).with_context(what)?;
        if kind.is_symlink() {
            let target = fs::read_link(&from).with_context(what)?;
            let text = target.to_str().context("the target of the link is not UTF-8").with_context(what)?;
            contents.list += &format!("link {path} {text}\n");
            to.map_or(Ok(()), |to| symlink(&target, to)).with_context(what)?;
        } else if kind.is_file() {
            contents.list += &format!("file {mode:o} {path}\n");
            let digest = copy(&from, to, mode).with_context(what)?;
            contents.inputs.push((self.name_of(path), digest));
        }
        // A socket, a pipe or a device is no content: engines pass them over.
        Ok(())
    }
}

fn copy(from: &Path, to: Option<PathBuf>, mode: u32) -> anyhow::Result<Digest> {
    let mut source = Tee::new(File::open(from)?);
    match to {
        None => drop(io::copy(&mut source, &mut io::sink())?),
        Some(to) => {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
            io::copy(&mut source, &mut file).with_context(|| format!("copy it to `{}`", to.display()))?;
            file.set_permissions(Permissions::from_mode(mode))?;
            // BuildKit keeps times: with the same ones an image is the same on every machine.
            file.set_modified(UNIX_EPOCH)?;
        }
    }
    Ok(source.finish().0)
}

/// Finds the ignore file of a context: one of the Containerfile's own, or the context's.
///
/// # Errors
/// If it cannot be read, or a line of it is no pattern.
pub(super) fn rules(root: &Path, containerfile: &Path) -> anyhow::Result<Rules> {
    let beside = |ending: &str| {
        let mut name = containerfile.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let candidates = [
        beside(".containerignore"),
        beside(".dockerignore"),
        root.join(".containerignore"),
        root.join(".dockerignore"),
    ];
    let Some(path) = candidates.into_iter().find(|path| path.is_file()) else { return Ok(Rules::default()) };
    let what = || format!("read `{}`", path.display());
    Rules::parse(&fs::read_to_string(&path).with_context(what)?).with_context(what)
}

/// The Containerfile of a context: the one that was named, or the first of the usual names.
///
/// # Errors
/// If there is none.
pub(super) fn containerfile(root: &Path, named: Option<&str>) -> anyhow::Result<PathBuf> {
    let names = named.map_or_else(|| vec!["Containerfile", "Dockerfile"], |name| vec![name]);
    let found = names.iter().map(|name| root.join(name)).find(|path| path.is_file());
    let found = found.with_context(|| format!("there is no `{}` in `{}`", names.join("` or `"), root.display()))?;
    ensure!(found.metadata()?.len() < 1024 * 1024, "`{}` has more than 1 MiB: it is no Containerfile", found.display());
    Ok(found)
}
