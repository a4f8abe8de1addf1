//! How the image of a workload comes to be.

use std::path::{Component, Path};

use anyhow::{bail, ensure};

/// How the image of a workload is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builder {
    /// A binary of this workspace, by the name of its package.
    Cargo {
        /// The package, which is also the name of the binary.
        package: String,
    },
    /// Whatever a Containerfile makes, by podman or docker.
    Containerfile(Containerfile),
    /// An image of others, which podman or docker has: as it is, under a tag of the run.
    Image {
        /// The image, as the engine knows it.
        reference: String,
        /// Who runs it, as number of user and group; the image's own user if not given.
        user: Option<u32>,
    },
}

/// How a Containerfile is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containerfile {
    /// The folder whose files it can copy, relative to the workspace.
    pub context: String,
    /// Where it is, relative to the context; `Containerfile` or else `Dockerfile` if not given.
    pub path: Option<String>,
    /// Build arguments (`ARG`), which are part of the fingerprint.
    pub arguments: Vec<(String, String)>,
    /// Whether its steps may use the network. What they fetch is not part of the fingerprint.
    pub network: bool,
}

impl Builder {
    /// Whether an engine builds it, and only an engine's containers are sure to run it.
    pub fn needs_engine(&self) -> bool {
        !matches!(self, Builder::Cargo { .. })
    }

    /// Checks what the types cannot. `workload` names whose image it is, and `packs` says whether files are to be packed.
    pub(super) fn check(&self, workload: &str, packs: bool) -> anyhow::Result<()> {
        match self {
            Builder::Cargo { .. } => Ok(()),
            Builder::Containerfile(_) if packs => {
                bail!("{workload} is built from a Containerfile: copy its files and certificates there")
            }
            Builder::Containerfile(of) => {
                let inside = Path::new(&of.context).components().all(|part| matches!(part, Component::Normal(_)));
                ensure!(
                    of.context == "." || inside && !of.context.is_empty(),
                    "the build context `{}` of {workload} must be a folder of the workspace, such as `services/shop` or `.`",
                    of.context
                );
                Ok(())
            }
            Builder::Image { .. } if packs => {
                bail!("{workload} is an image of others, in which nothing is packed: build on it with a Containerfile")
            }
            Builder::Image { reference, .. } => {
                // It becomes a line of a Containerfile, where anything else would mean something else.
                let plain = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
                ensure!(
                    reference.starts_with(|c: char| c.is_ascii_alphanumeric()) && reference.chars().all(plain),
                    "`{reference}`, of which {workload} is made, is no image: name it as `podman pull` takes it, `HOST/NAME:VERSION`"
                );
                Ok(())
            }
        }
    }
}
