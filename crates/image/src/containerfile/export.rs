//! The image that an engine built becomes blobs.
//!
//! podman writes it into an OCI layout of the service's own, which stays: layers that are there from the last build are neither
//! read nor written again, so that what an edit costs is the layer that changed. They are hashed before podman is told of them,
//! since it goes by their names. docker cannot leave anything out: its archive is read as it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;
use supervise::{Cancel, Cmd};
use tar::EntryType;

use super::engine::Engine;
use crate::blobs::Blob;
use crate::oci::{self, Index, Manifest};
use crate::{BlobStore, Descriptor, Digest};

/// How long an engine may take to give an image out.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// The list of an archive with one image has a few hundred bytes.
const LARGEST_LIST: u64 = 1024 * 1024;

/// An image as an engine gave it.
pub(super) struct Exported {
    /// The config, byte for byte: its digest is the engine's id of the image.
    pub(super) config: Vec<u8>,
    pub(super) config_blob: Blob,
    pub(super) layers: Vec<Descriptor>,
}

/// One entry of `manifest.json` (github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: oci::RootFs,
}

/// Takes one image out of the engine. `kept` is a directory that lasts, which nobody else uses meanwhile.
///
/// # Errors
/// If the engine does not give it, or what it gives is not exactly this image.
pub(super) fn export(
    prepare: &dyn Fn(Cmd) -> Cmd,
    engine: Engine,
    reference: &str,
    kept: &Path,
    blobs: &BlobStore,
    cancel: &Cancel,
) -> anyhow::Result<Exported> {
    match engine {
        Engine::Podman => layout(prepare(Cmd::new(engine.name())), reference, kept, blobs, cancel),
        Engine::Docker => archive(prepare(Cmd::new("sh")), engine, reference, blobs, cancel),
    }
}

fn layout(command: Cmd, reference: &str, kept: &Path, blobs: &BlobStore, cancel: &Cancel) -> anyhow::Result<Exported> {
    let what = || format!("tidy `{}`, where podman writes the image", kept.display());
    let layout = BlobStore::create(kept)?;
    // The index would list the images of earlier builds as well, and a podman that was killed leaves half a blob.
    for entry in fs::read_dir(kept).with_context(what)? {
        let path = entry.with_context(what)?.path();
        if path.is_file() {
            fs::remove_file(path).with_context(what)?;
        }
    }
    layout.retain(|digest| Digest::of_file(&layout.path(digest)).is_ok_and(|found| found == *digest))?;
    let save = command.args(["save", "--quiet", "--format", "oci-dir", "--uncompressed", "--output"]).arg(kept);
    save.arg(reference).deadline(LIMIT).run(cancel)?;
    let what = || format!("read the image that podman wrote to `{}`", kept.display());
    let index = fs::read(kept.join("index.json")).with_context(what)?;
    let index: Index = serde_json::from_slice(&index).with_context(what)?;
    let [entry] = index.manifests.as_slice() else {
        bail!("podman gave {} images, and one was asked for", index.manifests.len())
    };
    let manifest: Manifest = serde_json::from_slice(&layout.read(entry.blob())?).with_context(what)?;
    let config = layout.read(manifest.config.blob())?;
    let diff_ids = diff_ids(&config, manifest.layers.len())?;
    let used: BTreeSet<_> = manifest.layers.iter().chain([&manifest.config]).map(|content| content.digest).collect();
    for digest in &used {
        blobs.link_from(&layout, digest)?;
    }
    layout.retain(|digest| used.contains(digest))?;
    let layers = manifest.layers.iter().zip(diff_ids).map(|(content, diff_id)| layer(content.blob(), diff_id, blobs));
    Ok(Exported { config, config_blob: manifest.config.blob(), layers: layers.collect::<anyhow::Result<_>>()? })
}

fn archive(
    shell: Cmd,
    engine: Engine,
    reference: &str,
    blobs: &BlobStore,
    cancel: &Cancel,
) -> anyhow::Result<Exported> {
    let (reader, writer) = io::pipe().context("make a pipe")?;
    // Engines write an image to their stdout: here that is the pipe, which the shell has as its stdin.
    let command = shell.args(["-c", r#"exec "$@" >&0 </dev/null"#, "sh", engine.name(), "save", reference]);
    let command = command.stdin_file(File::from(OwnedFd::from(writer))).deadline(LIMIT);
    let archive = thread::scope(|scope| {
        let reading = scope.spawn(|| Archive::read(reader, blobs));
        let ran = command.run(cancel);
        let read = reading.join().map_err(|_| anyhow!("the thread that reads the image panicked")).flatten();
        // An engine whose reader gave up says only that; one that gave up itself leaves half an archive.
        match (ran, read) {
            (Ok(_), read) => read,
            (Err(error), Err(read)) if error.tail.iter().any(|line| line.contains("broken pipe")) => Err(read),
            (Err(error), _) => Err(error.into()),
        }
    })?;
    archive.image(reference, blobs)
}

/// The files of an archive, by name.
#[derive(Default)]
struct Archive {
    files: BTreeMap<String, Blob>,
    links: BTreeMap<String, String>,
    list: Vec<u8>,
}

impl Archive {
    fn read(pipe: PipeReader, blobs: &BlobStore) -> anyhow::Result<Archive> {
        let mut archive = Archive::default();
        let mut tar = tar::Archive::new(pipe);
        for entry in tar.entries()? {
            let mut entry = entry.context("read the next entry of the engine's archive")?;
            let name = normal(Path::new(&*String::from_utf8_lossy(&entry.path_bytes())), "");
            match entry.header().entry_type() {
                EntryType::Regular if name == "manifest.json" => {
                    entry.by_ref().take(LARGEST_LIST).read_to_end(&mut archive.list)?;
                }
                EntryType::Regular => {
                    let (blob, _) = blobs.put_with(|writer| Ok(io::copy(&mut entry, writer)?))?;
                    archive.files.insert(name, blob);
                }
                // docker before 25 links a layer that is there twice.
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
                    let folder = if entry.header().entry_type() == EntryType::Link { "" } else { folder_of(&name) };
                    archive.links.insert(name.clone(), normal(Path::new(&target.unwrap_or_default()), folder));
                }
                _ => {}
            }
        }
        // The engine must not be cut off while it ends the archive.
        io::copy(&mut tar.into_inner(), &mut io::sink()).context("read the end of the engine's archive")?;
        Ok(archive)
    }

    fn file(&self, name: &str) -> anyhow::Result<Blob> {
        let name = self.links.get(name).map_or(name, String::as_str);
        self.files.get(name).copied().with_context(|| format!("the engine's archive has no `{name}`, which it lists"))
    }

    /// The one image that must be in it.
    fn image(&self, reference: &str, blobs: &BlobStore) -> anyhow::Result<Exported> {
        let listed: Vec<Listed> =
            serde_json::from_slice(&self.list).context("read the list in the engine's archive")?;
        let [image] = listed.as_slice() else {
            bail!("the engine gave {} images, and one was asked for", listed.len())
        };
        let names = image.repo_tags.as_deref().unwrap_or_default();
        ensure!(
            names == [reference],
            "the engine gave the image `{}`, and `{reference}` was asked for",
            names.join("`, `")
        );
        let config_blob = self.file(&image.config)?;
        let config = blobs.read(config_blob)?;
        let diff_ids = diff_ids(&config, image.layers.len())?;
        let layers = image.layers.iter().zip(diff_ids).map(|(name, diff_id)| layer(self.file(name)?, diff_id, blobs));
        Ok(Exported { config, config_blob, layers: layers.collect::<anyhow::Result<_>>()? })
    }
}

/// The diff ids in a config, one for each layer.
fn diff_ids(config: &[u8], layers: usize) -> anyhow::Result<Vec<Digest>> {
    let ids = serde_json::from_slice::<Config>(config).context("read the config of the image")?.rootfs.diff_ids;
    ensure!(ids.len() == layers, "the config of the image names {} layers and the engine gave {layers}", ids.len());
    Ok(ids)
}

/// A layer, and how it is packed: docker's containerd store gives layers as they were pulled.
fn layer(blob: Blob, diff_id: Digest, blobs: &BlobStore) -> anyhow::Result<Descriptor> {
    let media_type = if blob.digest == diff_id {
        oci::LAYER.to_owned()
    } else {
        let mut first = [0; 4];
        blobs.reader(&blob.digest)?.read_exact(&mut first).context("read a layer")?;
        match first {
            [0x1f, 0x8b, ..] => format!("{}+gzip", oci::LAYER),
            [0x28, 0xb5, 0x2f, 0xfd] => format!("{}+zstd", oci::LAYER),
            _ => bail!("the engine gave a layer whose content is {}, and the config names {diff_id}", blob.digest),
        }
    };
    Ok(Descriptor { media_type, digest: blob.digest, size: blob.size, diff_id })
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path in an archive, from a folder of it on, without `.` and `..`.
fn normal(path: &Path, folder: &str) -> String {
    let mut parts: Vec<String> = folder.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    parts.join("/")
}
