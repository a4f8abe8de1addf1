//! The images of platform `local`: a directory of the run, in the form of an OCI image layout.
//!
//! It trusts nothing that it was not told by a digest: blobs are copied and checked on the way in, hashed anew whenever it is
//! asked what it holds, and checked once more while they are unpacked. Blobs are copied and not linked, so that nothing that
//! happens to the builder's copy can change what runs. The layout is a standard one: `skopeo inspect oci:DIR:NAME` reads it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};

use crate::blobs::write_atomically;
use crate::load::read_back;
use crate::oci::{self, Config, Content, Index, Manifest};
use crate::unpack::unpack_layers;
use crate::{BlobStore, BuiltImage, Held, Holder, LoadedImage, Transfer};

/// A directory of images that were loaded. Shared by the threads of one process; its directory belongs to it alone.
#[derive(Debug)]
pub struct LocalStore {
    blobs: BlobStore,
    /// Held while the index is read and written.
    index: Mutex<()>,
}

/// An image that was unpacked: its files, and how its config says they are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// The directory with the files.
    pub root: PathBuf,
    /// Program, as an absolute path in the image, and its arguments.
    pub entrypoint: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// User and group to run as.
    pub user: (u32, u32),
    /// Absolute path in the image.
    pub working_dir: String,
}

impl LocalStore {
    /// Opens the store in a directory, which is made (mode 0700) if it does not exist.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(dir: &Path) -> anyhow::Result<LocalStore> {
        let store = LocalStore { blobs: BlobStore::create(dir)?, index: Mutex::new(()) };
        write_atomically(dir, "oci-layout", oci::LAYOUT.as_bytes())?;
        if !dir.join("index.json").exists() {
            store.write_index(&Index::new(Vec::new()))?;
        }
        Ok(store)
    }

    /// Unpacks a loaded image into a directory, which must not exist yet. Files have the owners that the image gives them if
    /// this process is root, else they are this user's own.
    ///
    /// # Errors
    /// A [`NotAsBuilt`](crate::NotAsBuilt) if the store does not hold the image any more, a blob of it is damaged, or something
    /// is in the place of the directory; if a layer holds what must not be unpacked.
    pub fn unpack(&self, image: &LoadedImage, dest: &Path) -> anyhow::Result<Rootfs> {
        let reference = image.image().reference();
        let unpacked = self.unpack_to(image, dest);
        unpacked.map_err(|error| match read_back(image.image(), self) {
            Err(not_held) => not_held,
            Ok(_) => error.context(format!("unpack `{reference}` into `{}`", dest.display())),
        })
    }

    fn unpack_to(&self, image: &LoadedImage, dest: &Path) -> anyhow::Result<Rootfs> {
        let (_, manifest) = self.manifest(image.image().reference())?;
        let (held, built) = (manifest.config.digest, image.image().config_digest());
        ensure!(held == built, "the store holds config {held} under this name, and {built} was loaded: run again");
        let config = self.blobs.read(manifest.config.blob()).context("read its config")?;
        let config: Config = serde_json::from_slice(&config).context("read its config")?;
        unpack_layers(&self.blobs, &manifest.layers, &config.rootfs.diff_ids, dest)?;

        let execution = config.config;
        let user =
            execution.user.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
        let env = execution.env.iter().map(|line| {
            let (name, value) = line.split_once('=').with_context(|| format!("its variable `{line}` has no value"))?;
            Ok((name.to_owned(), value.to_owned()))
        });
        Ok(Rootfs {
            root: dest.to_owned(),
            entrypoint: execution.entrypoint,
            env: env.collect::<anyhow::Result<_>>()?,
            user: user.with_context(|| {
                format!("its user `{}` is not given as numbers, such as 65532:65532", execution.user)
            })?,
            working_dir: execution.working_dir,
        })
    }

    /// The manifest under a reference, checked, with what names it.
    fn manifest(&self, reference: &str) -> anyhow::Result<(Content, Manifest)> {
        let index = self.read_index()?;
        let entry = index.manifests.into_iter().find(|entry| is_named(entry, reference));
        let entry = entry.with_context(|| format!("there is no image `{reference}` in {}", self.describe()))?;
        let manifest = self.blobs.read(entry.blob()).context("read its manifest")?;
        Ok((entry, serde_json::from_slice(&manifest).context("read its manifest")?))
    }

    fn read_index(&self) -> anyhow::Result<Index> {
        let path = self.blobs.dir().join("index.json");
        let what = || format!("read the list of images `{}`", path.display());
        serde_json::from_slice(&fs::read(&path).with_context(what)?).with_context(what)
    }

    fn write_index(&self, index: &Index) -> anyhow::Result<()> {
        write_atomically(self.blobs.dir(), "index.json", &serde_json::to_vec(index)?)
    }
}

impl Holder for LocalStore {
    fn describe(&self) -> String {
        format!("directory `{}`", self.blobs.dir().display())
    }

    fn receive(&self, image: &BuiltImage) -> anyhow::Result<Transfer> {
        let mut transfer = Transfer::default();
        for blob in image.all_blobs() {
            if self.blobs.check(blob).is_ok() {
                transfer.blobs_skipped += 1;
                continue;
            }
            self.blobs.put_from(image.blobs(), blob)?;
            transfer.blobs_sent += 1;
            transfer.bytes_sent += blob.size;
        }
        let _guard = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.read_index()?;
        let reference = image.reference();
        index.manifests.retain(|entry| !is_named(entry, reference));
        index.manifests.push(Content::new(oci::MANIFEST, image.manifest_blob()).annotated(oci::REF_NAME, reference));
        self.write_index(&index)?;
        Ok(transfer)
    }

    fn held(&self, reference: &str) -> anyhow::Result<Held> {
        let (entry, manifest) = self.manifest(reference)?;
        let complete = [&manifest.config]
            .into_iter()
            .chain(&manifest.layers)
            .try_for_each(|content| self.blobs.check(content.blob()));
        Ok(Held {
            config_digest: manifest.config.digest,
            manifest_digest: Some(entry.digest),
            complete: complete.map_err(|error| format!("{error:#}")),
        })
    }
}

fn is_named(entry: &Content, reference: &str) -> bool {
    entry.annotations.get(oci::REF_NAME).is_some_and(|name| name == reference)
}
