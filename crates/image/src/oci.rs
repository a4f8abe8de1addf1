//! The documents of an image, as the OCI image specification (v1.1) has them, as far as this crate writes and reads them.
//!
//! Fields are written in the order in which they stand here: the bytes are the identity, so the order must never depend on
//! anything else. Written by hand because the crate made for it brings 40 packages and changes its types often.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::blobs::Blob;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer that is not compressed: its digest is its diff id.
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The annotation by which containerd names an image when it imports an archive; it is taken literally.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The annotation by which everybody else does (OCI image specification, "Annotations").
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Content of the file `oci-layout`.
pub(crate) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Names a blob in a document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Content {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Content {
    pub(crate) fn new(media_type: &str, blob: Blob) -> Content {
        Content {
            media_type: media_type.to_owned(),
            digest: blob.digest,
            size: blob.size,
            annotations: BTreeMap::new(),
        }
    }

    pub(crate) fn blob(&self) -> Blob {
        Blob { digest: self.digest, size: self.size }
    }

    pub(crate) fn annotated(mut self, name: &str, value: &str) -> Content {
        self.annotations.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// What an image consists of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    // podman leaves it out.
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) config: Content,
    pub(crate) layers: Vec<Content>,
}

/// The manifests of a layout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Content>,
}

impl Index {
    pub(crate) fn new(manifests: Vec<Content>) -> Index {
        Index { schema_version: 2, media_type: INDEX.to_owned(), manifests }
    }
}

/// How an image is run, and what its layers hold.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) created: String,
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) config: Execution,
    pub(crate) rootfs: RootFs,
    pub(crate) history: Vec<History>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Execution {
    pub(crate) user: String,
    pub(crate) exposed_ports: BTreeMap<String, Empty>,
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) labels: BTreeMap<String, String>,
}

/// `{}`: sets are objects with empty members here, as in Go.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Empty {}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) diff_ids: Vec<Digest>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct History {
    pub(crate) created: String,
    pub(crate) created_by: String,
}
