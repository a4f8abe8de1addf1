//! Phase 3: an image is brought to where it will run, and read back.
//!
//! A [`LoadedImage`] exists only after the place has said, from what it holds itself, that it holds what was built. Nothing
//! else makes one.

use anyhow::{Context, anyhow};

use crate::{BuiltImage, Digest};

/// A place that holds images: a directory, a node of a cluster, a registry.
pub trait Holder {
    /// What it is, for messages: "node `kind-worker`".
    fn describe(&self) -> String;

    /// Takes the image in, under its own reference.
    ///
    /// # Errors
    /// Why it could not.
    fn receive(&self, image: &BuiltImage) -> anyhow::Result<Transfer>;

    /// Tells what is held under a reference, from the bytes that are there and not from memory.
    ///
    /// # Errors
    /// If nothing is held under that name, or if it cannot be told.
    fn held(&self, reference: &str) -> anyhow::Result<Held>;
}

/// What a transfer took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes that went over.
    pub bytes_sent: u64,
    /// Blobs that went over.
    pub blobs_sent: u64,
    /// Blobs that were there already.
    pub blobs_skipped: u64,
}

/// What is held under a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Digest of the config.
    pub config_digest: Digest,
    /// Digest of the manifest, where the place keeps the one that it was given.
    pub manifest_digest: Option<Digest>,
    /// Whether every blob is there and is what its name says; if not, what is wrong.
    pub complete: Result<(), String>,
}

/// An image that was built and loaded, and whose holder has said so. The only thing that can be deployed.
#[derive(Debug)]
#[must_use = "an image that is not deployed runs nowhere"]
pub struct LoadedImage {
    image: BuiltImage,
    holder: String,
    transfer: Transfer,
    held: Held,
}

impl LoadedImage {
    /// The image.
    pub fn image(&self) -> &BuiltImage {
        &self.image
    }

    /// What holds it.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// What loading it took.
    pub fn transfer(&self) -> Transfer {
        self.transfer
    }

    /// What the holder said when it was read back.
    pub fn held(&self) -> &Held {
        &self.held
    }
}

/// Loads an image and reads back what the holder then has.
///
/// # Errors
/// If the holder cannot take it, or holds something else afterwards; the error names both digests.
pub fn load(image: BuiltImage, holder: &dyn Holder) -> anyhow::Result<LoadedImage> {
    let place = holder.describe();
    let transfer = holder.receive(&image).with_context(|| format!("load `{}` into {place}", image.reference()))?;
    let held =
        holder.held(image.reference()).with_context(|| format!("read back `{}` from {place}", image.reference()))?;
    if let Some(cause) = difference(&image, &held) {
        let found = held.config_digest;
        return Err(anyhow!(
            "`{}` was loaded, but {place} does not hold what was built: {cause} (built config {}, held config {found}); \
             look for another program that writes there, and run again",
            image.reference(),
            image.config_digest()
        ));
    }
    Ok(LoadedImage { image, holder: place, transfer, held })
}

fn difference(image: &BuiltImage, held: &Held) -> Option<String> {
    if held.config_digest != image.config_digest() {
        return Some("something else is there under the same name".to_owned());
    }
    if let Some(found) = held.manifest_digest
        && found != image.manifest_digest()
    {
        return Some(format!("its manifest is {found} and should be {}", image.manifest_digest()));
    }
    held.complete.clone().err()
}
