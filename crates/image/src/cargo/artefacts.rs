//! Files in and around a target directory: their times, their removal, their copies.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use crate::Digest;
use crate::fingerprint::if_exists;

/// Gives a file or folder this time of modification. One that is not there needs none: cargo sees that by itself.
pub(super) fn set_modified(path: &Path, time: SystemTime) -> io::Result<()> {
    if_exists(File::open(path).and_then(|file| file.set_modified(time))).map(drop)
}

/// Takes what has a time in the future back to just before now. Cargo compares sources with these times, so an edit
/// would go unseen until the clock has caught up.
pub(super) fn pull_back(folder: &Path, now: SystemTime) -> anyhow::Result<()> {
    let Some(entries) = if_exists(fs::read_dir(folder)).with_context(|| format!("list `{}`", folder.display()))? else {
        return Ok(());
    };
    let context = || format!("set times below `{}`", folder.display());
    for entry in entries {
        let path = entry.with_context(context)?.path();
        let metadata = fs::symlink_metadata(&path).with_context(context)?;
        if metadata.is_dir() {
            pull_back(&path, now)?;
        }
        if !metadata.is_symlink() && metadata.modified().with_context(context)? > now {
            // Two seconds: the coarsest clock of a file system in use (exFAT).
            set_modified(&path, now - Duration::from_secs(2)).with_context(context)?;
        }
    }
    Ok(())
}

/// Copies a program out and measures the copy: whatever happens in the target directory afterwards, this file stays.
/// A hard link would not do, since linkers and people write to existing files.
pub(super) fn copy_out(executable: &Path, copy: &Path) -> anyhow::Result<Digest> {
    let context = || format!("copy `{}` to `{}`", executable.display(), copy.display());
    let new = copy.with_file_name(format!(".{}.new", copy.file_name().unwrap_or_default().to_string_lossy()));
    if_exists(fs::remove_file(&new)).with_context(context)?;
    fs::copy(executable, &new).with_context(context)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o555)).with_context(context)?;
    let digest = Digest::of_file(&new)?;
    fs::rename(&new, copy).with_context(context)?;
    Ok(digest)
}

/// Removes a folder with all that is in it, if it is there.
pub(super) fn remove_folder(path: &Path) -> anyhow::Result<()> {
    if_exists(fs::remove_dir_all(path)).map(drop).with_context(|| format!("remove `{}`", path.display()))
}
