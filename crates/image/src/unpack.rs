//! Layers become files.
//!
//! Only what this crate packs is unpacked: directories and regular files, at paths that stay below the root. Links, devices
//! and whiteouts are refused rather than handled, because a link is how an archive escapes the directory that it is unpacked
//! into, and no image of ours has one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail, ensure};
use tar::EntryType;

use crate::blobs::Tee;
use crate::not_as_built::LOOK;
use crate::oci::{self, Content};
use crate::{BlobStore, Digest, Handover, NotAsBuilt};

/// How many names are told of what lies where nothing should be.
const MOST_NAMES: usize = 8;

/// Unpacks the layers, lowest first, into a directory that is made for them.
///
/// # Errors
/// A [`NotAsBuilt`] if the directory exists; if a layer is damaged or compressed, or an entry must not be unpacked.
pub(crate) fn unpack_layers(
    blobs: &BlobStore,
    layers: &[Content],
    diff_ids: &[Digest],
    dest: &Path,
) -> anyhow::Result<()> {
    ensure!(
        layers.len() == diff_ids.len(),
        "its config names {} layers and its manifest {}",
        diff_ids.len(),
        layers.len()
    );
    // Open to everybody: the workload runs as another user. The directory above is the run's and private.
    match DirBuilder::new().mode(0o755).create(dest) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(planted(dest).into()),
        made => made.with_context(|| format!("make the directory `{}`", dest.display()))?,
    }
    fs::set_permissions(dest, Permissions::from_mode(0o755))?;
    // Who made the directory owns it: no need to ask the system for the effective user.
    let root = Root { path: dest, keep_owners: fs::metadata(dest)?.uid() == 0 };
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let (digest, kind) = (layer.digest, &layer.media_type);
        ensure!(
            kind == oci::LAYER,
            "the layer {digest} is of type `{kind}`: only `{}` can be unpacked here",
            oci::LAYER
        );
        root.apply(blobs.reader(&digest)?, diff_id).with_context(|| format!("unpack the layer {digest}"))?;
    }
    Ok(())
}

/// Something lies where an image is about to be unpacked: what starts there would not be started from the image alone.
fn planted(dest: &Path) -> NotAsBuilt {
    let names = fs::read_dir(dest).map(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.take(MOST_NAMES).map(|name| format!("`{name}`")).collect();
        names.sort();
        if names.is_empty() {
            "an empty directory".to_owned()
        } else {
            format!("a directory with {}", names.join(", "))
        }
    });
    NotAsBuilt {
        handover: Handover::Unpacking,
        cause: format!("the directory `{}` must be new, and something is there already", dest.display()),
        expected: "nothing".to_owned(),
        found: names.or_else(|error| match error.kind() {
            io::ErrorKind::NotADirectory => Ok("a file".to_owned()),
            _ => Err(error.to_string()),
        }),
        remedy: LOOK,
    }
}

struct Root<'a> {
    path: &'a Path,
    keep_owners: bool,
}

impl Root<'_> {
    fn apply(&self, layer: impl Read, diff_id: &Digest) -> anyhow::Result<()> {
        let mut archive = tar::Archive::new(Tee::new(layer));
        for entry in archive.entries()? {
            let mut entry = entry.context("read its next entry")?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            self.entry(&mut entry, &name).with_context(|| format!("unpack `{name}`"))?;
        }
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).context("read its end")?;
        let (found, _) = rest.finish();
        ensure!(found == *diff_id, "it is damaged: its content is {found} and its config names {diff_id}");
        Ok(())
    }

    fn entry(&self, entry: &mut tar::Entry<'_, impl Read>, name: &str) -> anyhow::Result<()> {
        let path = self.path.join(inside(name)?);
        let header = entry.header();
        let (mode, kind) = (header.mode()? & 0o7777, header.entry_type());
        let owner = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
        match kind {
            EntryType::Directory => match fs::symlink_metadata(&path) {
                Ok(meta) => ensure!(meta.is_dir(), "a lower layer has a file there"),
                Err(_) => fs::create_dir(&path)?,
            },
            EntryType::Regular => self.file(entry, &path)?,
            other => bail!("it is a {other:?}: only directories and files are unpacked"),
        }
        // The owner first: changing it clears the set-user-ID bits.
        if self.keep_owners {
            chown(&path, Some(owner.0), Some(owner.1))
                .with_context(|| format!("give it to {}:{}", owner.0, owner.1))?;
        }
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(())
    }

    fn file(&self, entry: &mut impl Read, path: &PathBuf) -> anyhow::Result<()> {
        match fs::symlink_metadata(path) {
            Ok(meta) => {
                ensure!(meta.is_file(), "a lower layer has a directory there");
                fs::remove_file(path)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        io::copy(entry, &mut file)?;
        Ok(())
    }
}

/// The path below the root.
fn inside(name: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(name);
    let safe = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(safe && !name.contains('\0'), "the path leaves the image");
    // OCI image specification, "Whiteouts".
    let whiteout = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b".wh."));
    ensure!(!whiteout, "it removes a file of a lower layer: only directories and files are unpacked");
    // Put together anew, without a slash at the end: `x/` would be what a link `x` points to.
    Ok(path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunId;

    /// Unpacks layers of single entries, given as path, type and mode; each file holds its path.
    fn unpack(layers: &[(&str, EntryType, u32)]) -> Result<PathBuf, String> {
        let dir = std::env::temp_dir().join(format!("unpack-{}", RunId::new()));
        let blobs = BlobStore::create(&dir).unwrap();
        let mut contents = Vec::new();
        for (path, kind, mode) in layers {
            let mut header = tar::Header::new_ustar();
            // Written past the tar crate, which makes no dangerous path.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
            header.set_entry_type(*kind);
            header.set_size(if *kind == EntryType::Regular { path.len() as u64 } else { 0 });
            header.set_mode(*mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_cksum();
            let data = if *kind == EntryType::Regular { path.as_bytes() } else { &[] };
            let layer = |writer: &mut dyn io::Write| {
                let mut tar = tar::Builder::new(writer);
                tar.append(&header, data)?;
                Ok(tar.finish()?)
            };
            contents.push(Content::new(oci::LAYER, blobs.put_with(layer).unwrap().0));
        }
        let diff_ids: Vec<_> = contents.iter().map(|layer| layer.digest).collect();
        let root = dir.join("root");
        let result = unpack_layers(&blobs, &contents, &diff_ids, &root);
        let outside = [dir.join("x"), dir.join("blobs/x")].iter().any(|path| path.exists());
        assert!(!outside, "something was written outside the root");
        result.map(|()| root).map_err(|error| {
            fs::remove_dir_all(&dir).unwrap();
            format!("{error:#}")
        })
    }

    #[test]
    fn what_leaves_the_image_or_is_no_file_is_refused() {
        let regular = EntryType::Regular;
        for (path, kind, reason) in [
            ("../x", regular, "leaves the image"),
            ("a/../../x", regular, "leaves the image"),
            ("/x", regular, "leaves the image"),
            ("..", EntryType::Directory, "leaves the image"),
            ("x", EntryType::Symlink, "only directories and files"),
            ("x", EntryType::Link, "only directories and files"),
            ("x", EntryType::Char, "only directories and files"),
            ("x", EntryType::Block, "only directories and files"),
            ("x", EntryType::Fifo, "only directories and files"),
            (".wh.x", regular, "removes a file"),
        ] {
            let error = unpack(&[(path, kind, 0o644)]).unwrap_err();
            assert!(error.contains(reason) && error.contains(path), "{path} {kind:?}: {error}");
        }
    }

    #[test]
    fn an_upper_layer_replaces_files_and_keeps_directories() {
        let (file, directory) = (EntryType::Regular, EntryType::Directory);
        let root =
            unpack(&[("d/", directory, 0o755), ("d/f", file, 0o600), ("d/", directory, 0o750), ("d/f", file, 0o4755)]);
        let root = root.unwrap();
        let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("d"), mode("d/f")), (0o750, 0o4755));
        assert_eq!(fs::read_to_string(root.join("d/f")).unwrap(), "d/f");
        fs::remove_dir_all(root.parent().unwrap()).unwrap();
        let error = unpack(&[("x", file, 0o644), ("x/", directory, 0o755)]).unwrap_err();
        assert!(error.contains("a lower layer has a file there"), "{error}");
        let error = unpack(&[("x/", directory, 0o755), ("x", file, 0o644)]).unwrap_err();
        assert!(error.contains("a lower layer has a directory there"), "{error}");
    }

    #[test]
    fn a_layer_that_is_not_what_the_config_names_is_refused() {
        let dir = std::env::temp_dir().join(format!("unpack-{}", RunId::new()));
        let blobs = BlobStore::create(&dir).unwrap();
        let blob = blobs.put(&[0; 1024]).unwrap();
        let refused = |layer: &Content, diff_ids: &[Digest], name: &str| {
            format!("{:#}", unpack_layers(&blobs, std::slice::from_ref(layer), diff_ids, &dir.join(name)).unwrap_err())
        };
        let layer = Content::new(oci::LAYER, blob);
        let other = Digest::of("other");
        let error = refused(&layer, &[other], "a");
        assert!(error.contains(&other.to_string()) && error.contains(&blob.digest.to_string()), "{error}");
        assert!(refused(&layer, &[], "b").contains("0 layers"));
        let packed = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert!(refused(&Content::new(packed, blob), &[blob.digest], "c").contains(packed));
        fs::remove_dir_all(dir).unwrap();
    }
}
