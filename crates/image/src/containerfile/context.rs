//! The context of a build: its files, read once, hashed and put where the engine finds them and nothing else.
//!
//! What is hashed is what the engine gets: a file that is edited meanwhile cannot make the fingerprint and the image differ,
//! and the engine's own reading of the ignore file has no say. Nothing of a file goes into the image but its name, its mode and
//! its content, so nothing else goes into the fingerprint.
//!
//! What the engine was given for the last build stays, and a file of it is written again only if it is another, byte for byte:
//! making thousands of files anew takes longer than reading all of them twice.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, ensure};

use super::ignore::Rules;
use crate::blobs::{BUFFER, Tee};
use crate::{Digest, Hasher};

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
    /// What was put where the engine finds it.
    staged: BTreeSet<PathBuf>,
}

impl Context<'_> {
    /// Reads the files, and makes `dest` a copy of them, whatever it held before. Gives name and digest of each file, and of the list of all
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
        dest.map_or(Ok(()), |dest| tidy(&dest.join(folder), &contents.staged))
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
                dest.map_or(Ok(()), |dest| make_folder(dest, path, contents)).with_context(what)?;
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
        if let (Some(dest), Some((parent, _))) = (dest, path.rsplit_once('/')) {
            make_folder(dest, parent, contents).with_context(what)?;
        }
        contents.staged.extend(to.clone());
        if kind.is_symlink() {
            let target = fs::read_link(&from).with_context(what)?;
            let text = target.to_str().context("the target of the link is not UTF-8").with_context(what)?;
            contents.list += &format!("link {path} {text}\n");
            if let Some(to) = to.filter(|to| fs::read_link(to).ok().as_ref() != Some(&target)) {
                remove(&to).and_then(|()| symlink(&target, to)).with_context(what)?;
            }
        } else if kind.is_file() {
            contents.list += &format!("file {mode:o} {path}\n");
            let digest = copy(&from, to, mode).with_context(what)?;
            contents.inputs.push((self.name_of(path), digest));
        }
        // A socket, a pipe or a device is no content: engines pass them over.
        Ok(())
    }
}

/// Makes a folder in `dest`, and those above it. Whatever else has its place goes, and no link is followed.
fn make_folder(dest: &Path, folder: &str, contents: &mut Contents) -> io::Result<()> {
    let path = dest.join(folder);
    if contents.staged.contains(&path) {
        return Ok(());
    }
    if let Some((parent, _)) = folder.rsplit_once('/') {
        make_folder(dest, parent, contents)?;
    }
    if !fs::symlink_metadata(&path).is_ok_and(|there| there.is_dir()) {
        remove(&path)?;
        fs::create_dir(&path)?;
    }
    contents.staged.insert(path);
    Ok(())
}

/// Removes what there is; it is no error if there is nothing.
fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Removes what is in a folder, if there is one, and is not wanted.
fn tidy(folder: &Path, wanted: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let what = || format!("tidy `{}`", folder.display());
    // One that was left out is not there.
    if !fs::symlink_metadata(folder).is_ok_and(|there| there.is_dir()) {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(what)? {
        let path = entry.with_context(what)?.path();
        if !wanted.contains(&path) {
            remove(&path).with_context(what)?;
        }
    }
    Ok(())
}

/// The digest of a file, which is copied unless the copy is there.
fn copy(from: &Path, to: Option<PathBuf>, mode: u32) -> anyhow::Result<Digest> {
    let Some(to) = to else { return Digest::of_file(from) };
    let what = || format!("copy it to `{}`", to.display());
    let (digest, file) = match same(from, &to)? {
        Some(same) => same,
        None => {
            remove(&to).with_context(what)?;
            let mut source = Tee::new(File::open(from)?);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to).with_context(what)?;
            io::copy(&mut source, &mut file).with_context(what)?;
            (source.finish().0, file)
        }
    };
    let there = file.metadata()?;
    if there.permissions().mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode)).with_context(what)?;
    }
    // BuildKit keeps times: with the same ones an image is the same on every machine.
    if there.modified()? != UNIX_EPOCH {
        file.set_modified(UNIX_EPOCH).with_context(what)?;
    }
    Ok(digest)
}

/// The digest of a file and the copy of it, if that holds the same.
fn same(from: &Path, to: &Path) -> io::Result<Option<(Digest, File)>> {
    // A link is not followed: what it leads to is not ours.
    if !fs::symlink_metadata(to).is_ok_and(|there| there.is_file()) {
        return Ok(None);
    }
    let (mut source, Ok(mut copy)) = (File::open(from)?, File::open(to)) else { return Ok(None) };
    if source.metadata()?.len() != copy.metadata()?.len() {
        return Ok(None);
    }
    let mut hasher = Hasher::default();
    let (mut one, mut other) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let read = source.read(&mut one)?;
        if read == 0 {
            let whole = copy.read(&mut other[..1])? == 0;
            return Ok(whole.then(|| (hasher.finish(), copy)));
        }
        if copy.read_exact(&mut other[..read]).is_err() || one[..read] != other[..read] {
            return Ok(None);
        }
        hasher.write_all(&one[..read])?;
    }
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
