//! A program that was built, with what it was built from.

use std::path::PathBuf;

use crate::Digest;

/// What an image is made from: the fingerprint of its inputs, and where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Digest over all inputs, by content: no path of the machine, no time, no user.
    pub fingerprint: Digest,
    /// The inputs: name (relative to the workspace) and digest of each, sorted by name.
    pub inputs: Vec<(String, Digest)>,
    /// Commit of the checkout, if it is one.
    pub revision: Option<String>,
    /// Whether the checkout differs from that commit.
    pub dirty: bool,
    /// What the builder was told: profile, target, flags, compiler version, … as name and value, for the provenance record.
    pub parameters: Vec<(String, String)>,
}

/// An executable that a builder made.
#[derive(Clone, Debug)]
pub struct Program {
    /// Package, which is also the name of the binary.
    pub package: String,
    /// Where the builder left it. The file belongs to the builder: only its content at `digest` is meant.
    pub path: PathBuf,
    /// sha256 of the file.
    pub digest: Digest,
    /// What it was built from.
    pub source: Source,
}
