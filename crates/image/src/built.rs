//! Phase 1's result: an image that was built, which only [`build`](crate::build) and
//! [`ContainerfileBuild`](crate::ContainerfileBuild) make.

use std::os::unix::fs::FileExt;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::blobs::Blob;
use crate::containerfile::files;
use crate::{BlobStore, Digest, ImageTag, RunId, Source, elf};

/// The section of the executable that holds what it was built from, as JSON.
pub(crate) const SECTION: &str = ".e2e.source";

/// An image that was built under its tag. Its blobs are in a [`BlobStore`].
#[derive(Debug)]
#[must_use = "an image that is not loaded runs nowhere"]
pub struct BuiltImage {
    pub(crate) tag: ImageTag,
    pub(crate) source: Source,
    pub(crate) manifest: Vec<u8>,
    pub(crate) manifest_digest: Digest,
    pub(crate) config: Vec<u8>,
    pub(crate) config_digest: Digest,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) executable: Executable,
    pub(crate) blobs: BlobStore,
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// How it is packed.
    pub media_type: String,
    /// sha256 of the blob.
    pub digest: Digest,
    /// Length of the blob in bytes.
    pub size: u64,
    /// sha256 of the layer when it is not compressed.
    pub diff_id: Digest,
}

impl Descriptor {
    pub(crate) fn blob(&self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }
}

/// The executable that the image is started with.
#[derive(Debug)]
pub(crate) enum Executable {
    /// Packed here, with the section [`SECTION`].
    Packed {
        path: String,
        digest: Digest,
        layer: Digest,
        /// Where its bytes begin in the layer.
        offset: u64,
        size: u64,
    },
    /// Any file of an image that an engine built.
    Any,
}

/// What the executable says of itself, in the section [`SECTION`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceRecord {
    pub(crate) fingerprint: Digest,
    pub(crate) revision: Option<String>,
    pub(crate) service: String,
}

impl BuiltImage {
    /// The whole name.
    pub fn reference(&self) -> &str {
        self.tag.reference()
    }

    /// The image, without host and tag.
    pub fn image(&self) -> &str {
        self.tag.image()
    }

    /// Whom it was built for.
    pub fn consumer(&self) -> &str {
        self.tag.consumer()
    }

    /// The run that built it.
    pub fn run(&self) -> RunId {
        self.tag.run()
    }

    /// Digest of the manifest: this image in this packaging. Engines that compress layers make another.
    pub fn manifest_digest(&self) -> Digest {
        self.manifest_digest
    }

    /// Digest of the config: the identity of the image. It is the same in every engine.
    pub fn config_digest(&self) -> Digest {
        self.config_digest
    }

    /// sha256 of the executable as it is in the image, which is what runs. None for an image that an engine built: which of its
    /// files runs is seen when it runs, and [`BuiltImage::file_digest`] tells what the image holds there.
    pub fn executable_digest(&self) -> Option<Digest> {
        match &self.executable {
            Executable::Packed { digest, .. } => Some(*digest),
            Executable::Any => None,
        }
    }

    /// Absolute path of the executable in the image; none as for [`BuiltImage::executable_digest`].
    pub fn executable_path(&self) -> Option<&str> {
        match &self.executable {
            Executable::Packed { path, .. } => Some(path),
            Executable::Any => None,
        }
    }

    /// sha256 of the regular file that the image holds at an absolute path without links in it; none if there is none.
    ///
    /// # Errors
    /// If the engine gave the layers compressed, or one cannot be read.
    pub fn file_digest(&self, path: &str) -> anyhow::Result<Option<Digest>> {
        files::digest_at(path, &self.layers, &self.blobs)
            .with_context(|| format!("look for `{path}` in `{}`", self.reference()))
    }

    /// The source fingerprint that the executable in the image carries, read from the blob; none in an image that an engine
    /// built, whose executable is not ours to write to.
    ///
    /// # Errors
    /// If the blob or the section cannot be read.
    pub fn executable_fingerprint(&self) -> anyhow::Result<Option<Digest>> {
        let Executable::Packed { path, layer, offset, size, .. } = &self.executable else { return Ok(None) };
        let what = || format!("read the section `{SECTION}` of `{path}` in `{}`", self.reference());
        let blob = self.blobs.reader(layer).with_context(what)?;
        let read = |buffer: &mut [u8], at: u64| blob.read_exact_at(buffer, offset.saturating_add(at));
        let section = elf::section(&read, *size, SECTION).with_context(what)?;
        let section = section.context("there is no such section").with_context(what)?;
        Ok(Some(serde_json::from_slice::<SourceRecord>(&section).with_context(what)?.fingerprint))
    }

    /// What it was built from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The layers, lowest first: from what changes least to what changes most.
    pub fn layers(&self) -> &[Descriptor] {
        &self.layers
    }

    /// The config, as JSON.
    pub fn config_bytes(&self) -> &[u8] {
        &self.config
    }

    /// The manifest, as JSON.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest
    }

    /// Where its blobs are.
    pub fn blobs(&self) -> &BlobStore {
        &self.blobs
    }

    /// Every blob: layers, config, manifest.
    pub(crate) fn all_blobs(&self) -> Vec<Blob> {
        let mut blobs: Vec<_> = self.layers.iter().map(Descriptor::blob).collect();
        blobs.push(Blob { digest: self.config_digest, size: self.config.len() as u64 });
        blobs.push(self.manifest_blob());
        blobs
    }

    pub(crate) fn manifest_blob(&self) -> Blob {
        Blob { digest: self.manifest_digest, size: self.manifest.len() as u64 }
    }
}
