//! Phase 3: an image is brought to where it will run, and read back.
//!
//! A [`LoadedImage`] exists only after the place has said, from what it holds itself, that it holds what was built. Nothing
//! else makes one.

use anyhow::Context;

use crate::not_as_built::LOOK;
use crate::{BuiltImage, Digest, Handover, NotAsBuilt};

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
/// If the holder cannot take it; a [`NotAsBuilt`] if a blob of the image was damaged before, or if the holder has something else
/// afterwards.
pub fn load(image: BuiltImage, holder: &dyn Holder) -> anyhow::Result<LoadedImage> {
    let place = holder.describe();
    let transfer = holder
        .receive(&image)
        .map_err(|error| damaged(&image).map_or(error, anyhow::Error::new))
        .with_context(|| format!("load `{}` into {place}", image.reference()))?;
    let held = read_back(&image, holder)?;
    Ok(LoadedImage { image, holder: place, transfer, held })
}

/// The first blob that is not as it was built. Asked only when a load has failed, and then for every kind of holder: what failed
/// may be at the other end of a pipe, where nothing is known of blobs.
fn damaged(image: &BuiltImage) -> Option<NotAsBuilt> {
    let blobs = image.blobs();
    image.all_blobs().into_iter().find_map(|blob| {
        let found = blobs.instead(&blob.digest)?;
        let what = if found.is_ok() { "is damaged" } else { "is gone" };
        Some(NotAsBuilt {
            handover: Handover::Loading,
            cause: format!("the blob {} in `{}` {what}", blob.digest, blobs.dir().display()),
            expected: blob.digest.to_string(),
            found: found.map(|found| found.to_string()),
            remedy: LOOK,
        })
    })
}

/// What the place holds, which is what was built.
///
/// # Errors
/// A [`NotAsBuilt`] if it is not.
pub(crate) fn read_back(image: &BuiltImage, holder: &dyn Holder) -> anyhow::Result<Held> {
    let (config, manifest) = (image.config_digest(), image.manifest_digest());
    let not_held = |expected: Digest, found: Result<Digest, String>, cause| {
        let (expected, found) = (expected.to_string(), found.map(|found| found.to_string()));
        let not_held = NotAsBuilt { handover: Handover::Loading, cause, expected, found, remedy: LOOK };
        let (reference, holder) = (image.reference(), holder.describe());
        let what = format!("`{reference}` was loaded, but {holder} does not hold what was built");
        anyhow::Error::new(not_held).context(what)
    };
    let unreadable = |why: String| not_held(config, Err(why.clone()), why);
    let held = holder.held(image.reference()).map_err(|error| unreadable(format!("{error:#}")))?;
    if held.config_digest != config {
        let cause = "something else is there under the same name".to_owned();
        return Err(not_held(config, Ok(held.config_digest), cause));
    }
    match held.manifest_digest {
        Some(found) if found != manifest => Err(not_held(manifest, Ok(found), "it has another manifest".to_owned())),
        _ => held.complete.clone().map_err(unreadable).map(|()| held),
    }
}
