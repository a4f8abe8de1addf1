//! Images as a stream of bytes: the tar files that engines, tools and cluster nodes read.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;

use crate::blobs::{Blob, blob_path};
use crate::layer::header;
use crate::oci::{CONTAINERD_NAME, Content, Index, LAYOUT, MANIFEST, REF_NAME};
use crate::{BuiltImage, Digest, Transfer};

impl BuiltImage {
    /// Writes the image as one tar file that is an OCI layout and a docker archive at once: `podman load`, `docker load`,
    /// `skopeo` (`oci-archive:` and `docker-archive:`), `ctr images import` and, unpacked, every reader of OCI layouts take it.
    ///
    /// # Errors
    /// If a blob is missing or damaged, or if the writer fails. What was written then is not an image.
    pub fn write_archive(&self, writer: impl Write) -> anyhow::Result<()> {
        let named = self.entry(self.reference()).annotated(REF_NAME, self.reference());
        // docker before 29 knows no OCI layout without its containerd store, so it gets its own list of contents.
        let layers: Vec<_> = self.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
        let docker =
            json!([{ "Config": blob_path(&self.config_digest), "RepoTags": [self.reference()], "Layers": layers }]);
        self.write(writer, vec![named], Some(serde_json::to_vec(&docker)?), &HashSet::new())?;
        Ok(())
    }

    /// Writes the image for the containerd of a cluster's node: an OCI layout without the blobs in `skip`, which the node has
    /// already. It names the image twice, by its tag and as `NAME@sha256:<manifest>`, by which a pod can ask for exactly
    /// these bytes; so it is not for `podman load`, which refuses two names.
    ///
    /// # Errors
    /// As [`BuiltImage::write_archive`].
    pub fn write_stream(&self, writer: impl Write, skip: &HashSet<Digest>) -> anyhow::Result<Transfer> {
        let (name, _) = self.reference().rsplit_once(':').context("a reference without a tag")?;
        let pinned = format!("{name}@{}", self.manifest_digest);
        self.write(writer, vec![self.entry(self.reference()), self.entry(&pinned)], None, skip)
    }

    fn entry(&self, name: &str) -> Content {
        Content::new(MANIFEST, self.manifest_blob()).annotated(CONTAINERD_NAME, name)
    }

    fn write(
        &self,
        writer: impl Write,
        entries: Vec<Content>,
        docker: Option<Vec<u8>>,
        skip: &HashSet<Digest>,
    ) -> anyhow::Result<Transfer> {
        let mut archive = Archive { tar: tar::Builder::new(Counted { inner: writer, count: 0 }) };
        archive.bytes("oci-layout", LAYOUT.as_bytes())?;
        archive.json("index.json", &Index::new(entries))?;
        if let Some(docker) = docker {
            archive.bytes("manifest.json", &docker)?;
        }
        // A user who is not root can read the archive with skopeo only if it does not have to make up these directories: it
        // would give them to root.
        for path in ["blobs/", "blobs/sha256/"] {
            let header = header(path, tar::EntryType::Directory, 0, 0o755, (0, 0))?;
            archive
                .tar
                .append(&header, io::empty())
                .with_context(|| format!("write `{path}` of an image's archive"))?;
        }
        let mut transfer = Transfer::default();
        let mut written = HashSet::new();
        for blob in self.all_blobs() {
            if !written.insert(blob.digest) {
                continue;
            }
            if skip.contains(&blob.digest) {
                transfer.blobs_skipped += 1;
            } else {
                archive.blob(self, blob)?;
                transfer.blobs_sent += 1;
            }
        }
        let mut writer = archive.tar.into_inner().context("end the archive of an image")?;
        writer.flush().context("end the archive of an image")?;
        transfer.bytes_sent = writer.count;
        Ok(transfer)
    }
}

struct Archive<W: Write> {
    tar: tar::Builder<Counted<W>>,
}

impl<W: Write> Archive<W> {
    fn json(&mut self, path: &str, value: &impl Serialize) -> anyhow::Result<()> {
        self.bytes(path, &serde_json::to_vec(value)?)
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let header = header(path, tar::EntryType::Regular, bytes.len() as u64, 0o644, (0, 0))?;
        self.tar.append(&header, bytes).with_context(|| format!("write `{path}` of an image's archive"))
    }

    fn blob(&mut self, image: &BuiltImage, blob: Blob) -> anyhow::Result<()> {
        let path = blob_path(&blob.digest);
        let header = header(&path, tar::EntryType::Regular, blob.size, 0o644, (0, 0))?;
        // The tar crate reads; the store writes and checks. An empty entry, then the bytes and their padding, joins the two.
        self.tar.append(&header, io::empty()).with_context(|| format!("write `{path}` of an image's archive"))?;
        let writer = self.tar.get_mut();
        image.blobs.copy_to(blob, writer)?;
        let padding = blob.size.next_multiple_of(512) - blob.size;
        io::copy(&mut io::repeat(0).take(padding), writer)
            .with_context(|| format!("write `{path}` of an image's archive"))?;
        Ok(())
    }
}

struct Counted<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
