//! What goes into an image.

use std::path::PathBuf;

use crate::Program;

/// User and group of the workload if the recipe says nothing: the id that distroless images call `nonroot`.
pub const NONROOT: u32 = 65532;

/// What an image is assembled from. Two equal recipes give the same bytes, on every machine.
#[derive(Clone, Debug)]
pub struct Recipe<'a> {
    /// The executable, which becomes `/usr/bin/<service>`.
    pub program: &'a Program,
    /// The service: name of the executable in the image, label, and `SERVICE_NAME`.
    pub service: &'a str,
    /// TCP ports that it listens on.
    pub ports: &'a [u16],
    /// Environment, besides `PATH`, `SERVICE_NAME`, `SOURCE_FINGERPRINT` and `SOURCE_REVISION`, in this order.
    pub env: &'a [(String, String)],
    /// Files besides the executable. They are no part of the source's fingerprint, only of the image's digests.
    pub files: &'a [AssetFile],
    /// Whether the image holds this machine's certificate authorities.
    pub ca_bundle: bool,
    /// User and group that the executable runs as, and that own `/data`. Not root.
    pub user: (u32, u32),
}

impl<'a> Recipe<'a> {
    /// An image with this program alone, named after its package, and no ports.
    pub fn new(program: &'a Program) -> Recipe<'a> {
        Recipe {
            program,
            service: &program.package,
            ports: &[],
            env: &[],
            files: &[],
            ca_bundle: false,
            user: (NONROOT, NONROOT),
        }
    }
}

/// A file of an image.
#[derive(Clone, Debug)]
pub struct AssetFile {
    /// Absolute path in the image.
    pub path: String,
    /// What it holds.
    pub content: AssetContent,
    /// Permission bits, such as 0o644.
    pub mode: u32,
}

/// Content of a file of an image.
#[derive(Clone, Debug)]
pub enum AssetContent {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What this file of the machine holds when the image is built.
    Host(PathBuf),
}
