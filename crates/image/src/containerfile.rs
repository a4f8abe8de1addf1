//! The Containerfile builder: an image of a service in any language, built by podman or docker from the context as it is now.
//!
//! What must hold: the image that [`ContainerfileBuild::run`] gives was built under its tag and from the inputs that its
//! [`Source`] lists. So the context is read once, and what was read is both hashed and given to the engine; the images that it
//! builds on are looked up first, and never pulled; nothing of the clock goes in. The engine's cache of steps goes by content (a
//! test edits a file and gives it an old time), so it is used.
//!
//! The fingerprint reaches the image as a variable and a label that come last: they cost no step its cache. What the engine
//! built leaves it at once, and the engine forgets the name. The config stays as it is, byte for byte, so that
//! its digest is the engine's own id of the image; the manifest is ours, since engines make another one each time.
//!
//! With docker, times of files that a `RUN` makes are those of the build: only BuildKit with `rewrite-timestamp` mends that,
//! and an image's digest then differs from build to build where podman's (`--timestamp 0`) does not. Everything else holds.

mod bases;
mod cache;
mod context;
mod engine;
mod export;
pub(crate) mod files;
mod ignore;
mod leftovers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use serde::Deserialize;
use supervise::{Cancel, Cmd};

use crate::build::labels;
use crate::built::Executable;
use crate::fingerprint::fingerprint;
use crate::oci::{self, Content, Manifest};
use crate::tag::broken_component;
use crate::{BlobStore, BuildError, BuiltImage, Digest, ImageTag, NotAsBuilt, Source, SourceNow};
use cache::Cache;
use context::Context;
pub use engine::Engine;
use export::{Exported, export};

/// How an engine builds the image of one service.
#[derive(Clone)]
pub struct ContainerfileBuild {
    /// The engine.
    pub engine: Engine,
    /// Completes every command: environment and observer.
    pub prepare: Arc<dyn Fn(Cmd) -> Cmd + Send + Sync>,
    /// What names are relative to.
    pub workspace: PathBuf,
    /// What is built.
    pub instructions: Instructions,
    /// Build arguments (`ARG`).
    pub arguments: Vec<(String, String)>,
    /// Whether steps may use the network. What they fetch is not part of the fingerprint.
    pub network: bool,
    /// The service: label, and `SERVICE_NAME`.
    pub service: String,
    /// A directory that lasts: there builds of one service wait for each other.
    pub state: PathBuf,
    /// How long the engine may take.
    pub limit: Duration,
}

/// What an engine is told to build.
#[derive(Clone, Debug)]
pub enum Instructions {
    /// A Containerfile, with the files that it can copy.
    Folder {
        /// The folder whose files can be copied, relative to the workspace.
        context: String,
        /// The Containerfile, relative to the context; `Containerfile` or else `Dockerfile` if not given.
        containerfile: Option<String>,
    },
    /// An image as it is, under a tag of this run.
    Image {
        /// The image, as the engine knows it.
        reference: String,
        /// Who runs it, as number of user and group; the image's own user if not given.
        user: Option<u32>,
    },
}

/// What is needed of a config (OCI image specification, "Image Configuration").
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    config: Execution,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    user: String,
    env: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

impl ContainerfileBuild {
    /// Builds the image under its tag, which is used up. `scratch` is a directory for what the engine reads, made and removed
    /// here; all that the engine writes goes to `log`. Whoever calls this must see to it that [`Engine::remove`] is called for
    /// the same reference and log, whatever happens to this process.
    ///
    /// # Errors
    /// If a step fails, something that it takes is missing, or `cancel` ends it; a [`NotAsBuilt`] if the engine gives out another
    /// image than it built.
    pub fn run(
        &self,
        tag: ImageTag,
        blobs: &BlobStore,
        scratch: &Path,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<BuiltImage, BuildError> {
        if let Some(rule) = broken_component(&self.service) {
            return Err(anyhow!("`{}` cannot name a service: {rule}", self.service).into());
        }
        let folder = Folder::create(scratch)?;
        let cache = Cache::lock(&self.state, &self.service, cancel)?;
        // Kept with the cache: what the last build was given need not be written again.
        let staged = self.state.join(format!("{}.context", self.service));
        let mut read = self.read(Some(&staged), cancel)?;
        let (revision, dirty) = crate::cargo::revision(&self.workspace, cancel)?;
        (read.source.revision, read.source.dirty) = (revision, dirty);

        let exported = self.build(&tag, &read, &folder.0, &staged, log, cancel);
        let exported = exported.and_then(|()| Ok(self.take(tag.reference(), &read, &cache, blobs, cancel)?));
        // Removed as long as no other build of this service can find it in the engine's cache and lose it again.
        let removed = self.engine.remove(&self.command(), tag.reference(), log);
        drop(cache);
        let exported = exported?;
        removed?;
        Ok(self.image(tag, read.source, exported, blobs)?)
    }

    /// Takes the image out of the engine.
    fn take(
        &self,
        reference: &str,
        read: &Read,
        cache: &Cache,
        blobs: &BlobStore,
        cancel: &Cancel,
    ) -> anyhow::Result<Exported> {
        let command = self.command();
        let kept = self.state.join(format!("{}.image", self.service));
        let exported = export(&*self.prepare, self.engine, reference, &kept, blobs, cancel)
            .with_context(|| format!("take `{reference}` out of {}", self.engine.name()))?;
        if self.engine == Engine::Podman {
            let known = self.engine.inspect(&command, reference, "{{.Id}} {{.Parent}}", cancel)?.unwrap_or_default();
            let (id, tip) = known.split_once(' ').unwrap_or((&known, ""));
            let digest = exported.config_blob.digest;
            if id != digest.hex() {
                return Err(NotAsBuilt::given_out(reference, &format!("sha256:{id}"), digest).into());
            }
            // Without a step of its own the image's parent is the one that it is built on.
            if !read.bases.contains(tip) {
                cache.keep(self.engine, &command, tip)?;
            }
        }
        Ok(exported)
    }

    /// Reads the inputs of a source as they are now.
    ///
    /// # Errors
    /// If an input cannot be read or the engine cannot be asked.
    pub fn fingerprint_now(&self, source: &Source, cancel: &Cancel) -> anyhow::Result<SourceNow> {
        let now = self.read(None, cancel)?.source;
        let names = |one: &Source, other: &Source| {
            let other: BTreeSet<_> = other.inputs.iter().collect();
            one.inputs.iter().filter(|input| !other.contains(input)).map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let mut changed: BTreeSet<String> = names(source, &now).into_iter().chain(names(&now, source)).collect();
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (source.parameters.iter().collect(), now.parameters.iter().collect());
        changed.extend(old.symmetric_difference(&new).map(|(name, _)| format!("parameter {name}")));
        Ok(SourceNow { fingerprint: now.fingerprint, changed: changed.into_iter().collect() })
    }

    fn command(&self) -> Cmd {
        (self.prepare)(Cmd::new(self.engine.name()))
    }

    /// Reads everything that goes into the build, and copies the context to `staged`.
    fn read(&self, staged: Option<&Path>, cancel: &Cancel) -> anyhow::Result<Read> {
        let Told { who, text, mut inputs, mut parameters } = match &self.instructions {
            Instructions::Folder { context, containerfile } => {
                self.folder(context, containerfile.as_deref(), staged)?
            }
            Instructions::Image { reference, user } => {
                staged.map_or(Ok(()), fs::create_dir_all).context("make an empty build context")?;
                self.whole(reference, *user)
            }
        };
        let command = self.command();
        let mut bases = BTreeSet::new();
        for name in bases::bases(&text, &self.arguments) {
            let id = self.engine.require(&command, &name, &who, cancel)?;
            let id = id.trim_start_matches("sha256:").to_owned();
            let digest = format!("sha256:{id}").parse().with_context(|| format!("read the id of `{name}`"))?;
            inputs.push((format!("image:{name}"), digest));
            bases.insert(id);
        }
        inputs.sort();
        parameters.extend([
            ("builder".to_owned(), "containerfile".to_owned()),
            ("engine".to_owned(), self.engine.version(&command, cancel)?),
            ("network".to_owned(), if self.network { "default" } else { "none" }.to_owned()),
        ]);
        parameters.extend(self.arguments.iter().map(|(name, value)| (format!("argument.{name}"), value.clone())));
        parameters.sort();
        let fingerprint = fingerprint(&parameters, &inputs);
        let source = Source { fingerprint, inputs, revision: None, dirty: false, parameters };
        Ok(Read { source, text, bases })
    }

    /// A Containerfile and the files of its context.
    fn folder(&self, context: &str, containerfile: Option<&str>, staged: Option<&Path>) -> anyhow::Result<Told> {
        let root = self.workspace.join(context);
        let root = fs::canonicalize(&root).with_context(|| format!("open the build context `{}`", root.display()))?;
        let path = context::containerfile(&root, containerfile)?;
        let text = fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        let rules = context::rules(&root, &path)?;
        let what = || format!("make the directory `{}`", self.state.display());
        fs::create_dir_all(&self.state).with_context(what)?;
        // Not for a context: it grows while it is read.
        let own = [fs::canonicalize(&self.state).with_context(what)?];
        let files = Context { root: &root, name: context, rules: &rules, own: &own };
        let mut inputs = files.read(staged)?;

        let file = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        inputs.push((format!("{}#instructions", files.name_of(&file)), Digest::of(&text)));
        let parameters =
            vec![("containerfile".to_owned(), files.name_of(&file)), ("context".to_owned(), context.to_owned())];
        Ok(Told { who: format!("`{file}`"), text, inputs, parameters })
    }

    /// An image as it is, with another user at most.
    fn whole(&self, reference: &str, user: Option<u32>) -> Told {
        let user = user.map(|user| format!("{user}:{user}"));
        let text = user.iter().fold(format!("FROM {reference}\n"), |text, user| format!("{text}USER {user}\n"));
        let mut parameters = vec![("base".to_owned(), reference.to_owned())];
        parameters.extend(user.map(|user| ("user".to_owned(), user)));
        Told { who: format!("`{}`", self.service), text, inputs: Vec::new(), parameters }
    }

    /// Lets the engine build.
    fn build(
        &self,
        tag: &ImageTag,
        read: &Read,
        folder: &Path,
        context: &Path,
        log: &Path,
        cancel: &Cancel,
    ) -> Result<(), BuildError> {
        let source = &read.source;
        let revision = source.revision.as_deref().unwrap_or("unknown");
        // Last, and so without effect on the cache of the steps before.
        let instructions = format!(
            "{}\n\nENV SERVICE_NAME={} SOURCE_FINGERPRINT={} SOURCE_REVISION={revision}\n",
            read.text, self.service, source.fingerprint
        );
        let (file, ignore) = (folder.join("Containerfile"), folder.join("Containerfile.dockerignore"));
        let what = || format!("write to `{}`", folder.display());
        fs::write(&file, instructions).with_context(what)?;
        // The context has been sifted already. BuildKit takes the file beside the Containerfile, podman the one that is named.
        fs::write(&ignore, "").with_context(what)?;

        let mut command = self.command();
        if self.engine == Engine::Podman {
            // The containers of the build are told at this level only.
            command = command.arg("--log-level=debug");
        }
        command = command.arg("build").arg("--file").arg(&file).args(["--tag", tag.reference()]);
        command = match self.engine {
            Engine::Podman => {
                let mut command =
                    command.args(["--timestamp", "0", "--format", "oci", "--pull=never", "--ignorefile"]).arg(&ignore);
                if matches!(self.instructions, Instructions::Image { .. }) {
                    // There is no step that a cache could save.
                    command = command.arg("--layers=false");
                }
                // A proxy of this machine is of use only to who may use the network.
                command.arg(format!("--http-proxy={}", self.network))
            }
            Engine::Docker => {
                let command = command.env("DOCKER_BUILDKIT", "1").args(["--progress", "plain", "--provenance=false"]);
                command.args(["--build-arg", "SOURCE_DATE_EPOCH=0"])
            }
        };
        if !self.network {
            command = command.args(["--network", "none"]);
        }
        for (name, value) in labels(&self.service, tag, source) {
            command = command.arg("--label").arg(format!("{name}={value}"));
        }
        for (name, value) in &self.arguments {
            command = command.arg("--build-arg").arg(format!("{name}={value}"));
        }
        self.engine.build(command.arg(context), tag.reference(), log, self.limit, cancel)
    }

    /// The image, checked: it is the one that was asked for, and can run where nothing runs as root.
    fn image(
        &self,
        tag: ImageTag,
        source: Source,
        exported: Exported,
        blobs: &BlobStore,
    ) -> anyhow::Result<BuiltImage> {
        let config: Config = serde_json::from_slice(&exported.config).context("read the config of the image")?;
        let execution = config.config;
        let env = execution.env.unwrap_or_default();
        let variable = |name: &str| env.iter().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let labels = execution.labels.unwrap_or_default();
        let fingerprint = source.fingerprint.to_string();
        let label = labels.get("dev.e2e.source-fingerprint");
        if let Some(other) = label.filter(|label| **label != fingerprint) {
            return Err(NotAsBuilt::given_out(tag.reference(), &fingerprint, other).into());
        }
        ensure!(
            variable("SOURCE_FINGERPRINT") == Some(&fingerprint) && label == Some(&fingerprint),
            "the image does not carry its fingerprint: end the Containerfile with a whole line, without `\\`"
        );
        let user = execution.user.split(':').next().unwrap_or_default();
        ensure!(
            user.parse().is_ok_and(|user: u32| user != 0),
            "the image would run as `{}`, and it must be known that this is not root: {}",
            if user.is_empty() { "root" } else { user },
            match &self.instructions {
                Instructions::Folder { .. } => {
                    format!("end the Containerfile with a number, such as `USER {0}:{0}`", crate::NONROOT)
                }
                Instructions::Image { .. } => "give the workload a user that the image knows, by its number".to_owned(),
            }
        );
        let layers = exported.layers.iter().map(|layer| Content::new(&layer.media_type, layer.blob())).collect();
        let manifest = serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: oci::MANIFEST.to_owned(),
            config: Content::new(oci::CONFIG, exported.config_blob),
            layers,
        })?;
        Ok(BuiltImage {
            tag,
            source,
            manifest_digest: blobs.put(&manifest)?.digest,
            manifest,
            config_digest: exported.config_blob.digest,
            config: exported.config,
            layers: exported.layers,
            executable: Executable::Any,
            blobs: blobs.clone(),
        })
    }
}

/// What the instructions tell, before the engine is asked.
struct Told {
    /// What builds on the images, for people.
    who: String,
    text: String,
    inputs: Vec<(String, Digest)>,
    parameters: Vec<(String, String)>,
}

/// What was read before a build.
struct Read {
    source: Source,
    text: String,
    /// Ids of the images that it builds on.
    bases: BTreeSet<String>,
}

/// A directory that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn create(path: &Path) -> anyhow::Result<Folder> {
        ensure!(!path.exists(), "`{}` exists already, and a build is given a directory of its own", path.display());
        fs::create_dir_all(path).with_context(|| format!("make the directory `{}`", path.display()))?;
        Ok(Folder(path.to_owned()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies in a directory of the run, which goes with the run.
        drop(fs::remove_dir_all(&self.0));
    }
}
