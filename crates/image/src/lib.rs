//! Images: made under one tag, loaded, and proved to be what was built.
//!
//! [`ImageTag`] → [`build`] → [`BuiltImage`] → [`load`] → [`LoadedImage`]: each is a value that only the step before makes and
//! the step after takes away. A program that does it in another order, or names an image twice, does not compile. The
//! examples come in pairs that differ in one word: the first compiles, the second must not.
//!
//! What was built is loaded, and not what was only named:
//!
//! ```
//! # use image::*;
//! # fn f(tag: ImageTag, built: BuiltImage, place: &dyn Holder) -> anyhow::Result<LoadedImage> {
//! load(built, place)
//! # }
//! ```
//! ```compile_fail,E0308
//! # use image::*;
//! # fn f(tag: ImageTag, built: BuiltImage, place: &dyn Holder) -> anyhow::Result<LoadedImage> {
//! load(tag, place)
//! # }
//! ```
//!
//! One tag names one build:
//!
//! ```
//! # use image::*;
//! # fn f(one: ImageTag, two: ImageTag, recipe: &Recipe<'_>, blobs: &BlobStore) -> anyhow::Result<[BuiltImage; 2]> {
//! Ok([build(one, recipe, blobs)?, build(two, recipe, blobs)?])
//! # }
//! ```
//! ```compile_fail,E0382
//! # use image::*;
//! # fn f(one: ImageTag, two: ImageTag, recipe: &Recipe<'_>, blobs: &BlobStore) -> anyhow::Result<[BuiltImage; 2]> {
//! Ok([build(one, recipe, blobs)?, build(one, recipe, blobs)?])
//! # }
//! ```
//!
//! and one image is loaded once:
//!
//! ```
//! # use image::*;
//! # fn f(one: BuiltImage, two: BuiltImage, place: &dyn Holder) -> anyhow::Result<[LoadedImage; 2]> {
//! Ok([load(one, place)?, load(two, place)?])
//! # }
//! ```
//! ```compile_fail,E0382
//! # use image::*;
//! # fn f(one: BuiltImage, two: BuiltImage, place: &dyn Holder) -> anyhow::Result<[LoadedImage; 2]> {
//! Ok([load(one, place)?, load(one, place)?])
//! # }
//! ```
//!
//! A tag cannot be copied:
//!
//! ```
//! # use image::*;
//! # fn f(run: RunId, tag: ImageTag) {
//! let copy = run.clone();
//! # }
//! ```
//! ```compile_fail,E0599
//! # use image::*;
//! # fn f(run: RunId, tag: ImageTag) {
//! let copy = tag.clone();
//! # }
//! ```
//!
//! made from a string:
//!
//! ```
//! # use image::*;
//! # fn f(text: &str) {
//! let made = text.parse::<RunId>();
//! # }
//! ```
//! ```compile_fail,E0277
//! # use image::*;
//! # fn f(text: &str) {
//! let made = text.parse::<ImageTag>();
//! # }
//! ```
//!
//! or forged:
//!
//! ```
//! # use image::*;
//! # struct Forged { reference: String, image_end: usize, consumer_end: usize, run: RunId }
//! # fn f(reference: String, run: RunId) {
//! let tag = Forged { reference, image_end: 1, consumer_end: 2, run };
//! # }
//! ```
//! ```compile_fail,E0451
//! # use image::*;
//! # struct Forged { reference: String, image_end: usize, consumer_end: usize, run: RunId }
//! # fn f(reference: String, run: RunId) {
//! let tag = ImageTag { reference, image_end: 1, consumer_end: 2, run };
//! # }
//! ```
//!
//! Nor can what was loaded, by claiming it:
//!
//! ```
//! # use image::*;
//! # struct Forged { image: BuiltImage, holder: String, transfer: Transfer, held: Held }
//! # fn f(image: BuiltImage, holder: String, transfer: Transfer, held: Held) {
//! let loaded = Forged { image, holder, transfer, held };
//! # }
//! ```
//! ```compile_fail,E0451
//! # use image::*;
//! # struct Forged { image: BuiltImage, holder: String, transfer: Transfer, held: Held }
//! # fn f(image: BuiltImage, holder: String, transfer: Transfer, held: Held) {
//! let loaded = LoadedImage { image, holder, transfer, held };
//! # }
//! ```
//!
//! or by reading it from somewhere:
//!
//! ```
//! # use image::*;
//! # fn f(json: &str) {
//! let read = serde_json::from_str::<Digest>(json);
//! # }
//! ```
//! ```compile_fail,E0277
//! # use image::*;
//! # fn f(json: &str) {
//! let read = serde_json::from_str::<BuiltImage>(json);
//! # }
//! ```

mod archive;
mod blobs;
mod build;
mod built;
mod cargo;
mod containerfile;
mod digest;
mod elf;
mod fingerprint;
mod flock;
mod identify;
mod layer;
mod load;
mod local;
mod node;
mod not_as_built;
mod oci;
mod program;
mod recipe;
mod run_id;
mod tag;
mod unpack;

pub use blobs::{Blob, BlobStore};
pub use build::build;
pub use built::{BuiltImage, Descriptor};
pub use cargo::{BuildError, CargoBuild, CargoOutcome, Progress, SourceNow};
pub use containerfile::{ContainerfileBuild, Engine, Instructions};
pub use digest::{Digest, Hasher};
pub use flock::lock_file;
pub use identify::digests_of;
pub use load::{Held, Holder, LoadedImage, Transfer, load};
pub use local::{LocalStore, Rootfs};
pub use node::{NodeAccess, NodeStore};
pub use not_as_built::{Handover, NotAsBuilt};
pub use program::{Program, Source};
pub use recipe::{AssetContent, AssetFile, NONROOT, Recipe};
pub use run_id::RunId;
pub use tag::{ImageTag, NameError};
