//! Whether it pays to compress a layer on its way into a node of this machine: what compressing takes, and what the node then
//! takes to import the image, against importing it as it is.
//!
//! The compressors are programs in C, `gzip` and `zstd`: no library that this tool could link is faster.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use image::{AssetContent, AssetFile, BlobStore, BuiltImage, Digest, ImageTag, Program, Recipe, RunId, Source, build};
use serde_json::{Value, json};
use supervise::Cmd;

use super::Cluster;
use crate::say;
use crate::{Figure, Lab, Limit, median};

const ROUNDS: usize = 3;
/// Sizes of the layer: a program of ours, a large one, and the dependencies of a service in another language. All are cut from
/// this machine's libraries.
const SIZES: [u64; 3] = [7_000_000, 25_000_000, 200_000_000];
/// Compressors with their options, and the ending of the layer's media type.
const WAYS: [(&str, &[&str], &str); 4] =
    [("", &[], ""), ("gzip", &["-1"], "+gzip"), ("zstd", &["-1", "-T1"], "+zstd"), ("zstd", &["-3", "-T1"], "+zstd")];

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let Some(engine) = super::engine()? else { return Ok(Vec::new()) };
    let cluster = Cluster::create(lab, engine)?;
    let libraries = libraries(Path::new("/usr/lib"))?;
    let program = super::program(lab)?;
    let mut figures = Vec::new();
    for size in SIZES {
        let mut times: [Vec<[Duration; 2]>; WAYS.len()] = Default::default();
        let mut sizes = [0; WAYS.len()];
        for _ in 0..ROUNDS {
            for (index, way) in WAYS.iter().enumerate() {
                if let Some((took, packed)) = once(lab, &cluster, &program, &files(&libraries, size), way)? {
                    times[index].push(took);
                    sizes[index] = packed;
                }
            }
        }
        let whole = |index: usize| median(times[index].iter().map(|parts| parts.iter().sum()).collect());
        let plain = whole(0);
        let measured: Vec<_> = (1..WAYS.len()).filter(|index| !times[*index].is_empty()).collect();
        let best = measured.iter().map(|index| whole(*index)).fold(f64::INFINITY, f64::min);
        let describe = |index: &usize| {
            let part = |part: usize| median(times[*index].iter().map(|parts| parts[part]).collect());
            let (name, options, _) = WAYS[*index];
            let megabytes = sizes[*index] / 1_000_000;
            format!("{name} {} {:.2} + {:.2} s ({megabytes} MB)", options.first().unwrap_or(&""), part(0), part(1))
        };
        let ways: Vec<_> = measured.iter().map(describe).collect();
        figures.push(Figure {
            what: format!("a layer of {} MB, compressed and imported, to imported as it is", size / 1_000_000),
            seen: best / plain,
            // Below it `crates/image` should compress.
            limit: Limit::AtLeast(0.9),
            unit: "",
            from: format!("the best of {}, to {plain:.2} s, medians of {ROUNDS}", ways.join(", ")),
        });
    }
    Ok(figures)
}

/// Brings an image with these files into the node. Gives the time for compressing and for the import, and the size of the layer;
/// nothing if there is no such compressor.
fn once(
    lab: &Lab,
    cluster: &Cluster,
    program: &Path,
    files: &[PathBuf],
    (name, options, ending): &(&str, &[&str], &str),
) -> anyhow::Result<Option<([Duration; 2], u64)>> {
    let dir = lab.dir.join("packing");
    let store = BlobStore::create(&dir.join("built"))?;
    let image = image(program, files, &store)?;
    let layer = &image.layers()[1];
    let (packed, took) = if name.is_empty() {
        (store.path(&layer.digest), Duration::ZERO)
    } else {
        let packed = dir.join("packed");
        let command = Cmd::new("sh").args(["-c", r#"out=$1 in=$2; shift 2; "$@" -c "$in" >"$out""#, "sh"]);
        let command = command.arg(&packed).arg(store.path(&layer.digest)).arg(*name).args(options.iter().copied());
        if Cmd::new(*name).arg("--version").run(&lab.cancel).is_err() {
            say(&format!("not measured: `{name}` is not installed"));
            return Ok(None);
        }
        let took = lab.time(command)?;
        (packed, took)
    };
    let layout = layout(&dir, &image, &packed, ending)?;
    let import = "ctr -n k8s.io images import $(ctr images import --help | grep -o -e --local | head -n 1) --snapshotter overlayfs - >/dev/null";
    let script = format!("tar -C \"$1\" -cf - . | {} sh -c '{import}'", cluster.access()?.enter);
    let imported = lab.time(Cmd::new("sh").args(["-c", &script, "sh"]).arg(layout))?;
    let size = fs::metadata(packed)?.len();
    fs::remove_dir_all(dir)?;
    Ok(Some(([took, imported], size)))
}

/// An image that no node has: a layer that a node has unpacked once, in whatever form, it does not unpack again.
fn image(program: &Path, files: &[PathBuf], store: &BlobStore) -> anyhow::Result<BuiltImage> {
    let digest = Digest::of_file(program)?;
    let source =
        Source { fingerprint: digest, inputs: Vec::new(), revision: None, dirty: false, parameters: Vec::new() };
    let program = Program { package: "packing".to_owned(), path: program.to_owned(), digest, source };
    let run = RunId::new();
    let unique = AssetContent::Bytes(run.to_string().into_bytes());
    let mut assets = vec![AssetFile { path: "/opt/unique".to_owned(), content: unique, mode: 0o644 }];
    assets.extend(files.iter().enumerate().map(|(number, file)| AssetFile {
        path: format!("/opt/{number}"),
        content: AssetContent::Host(file.clone()),
        mode: 0o644,
    }));
    build(ImageTag::new(&run, "packing", "bench")?, &Recipe { files: &assets, ..Recipe::new(&program) }, store)
}

/// An OCI image layout with the image, in which its second layer is packed like this.
fn layout(dir: &Path, image: &BuiltImage, packed: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let layout = dir.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |digest: &Digest, from: &Path| fs::rename(from, blobs.join(digest.hex())).context("make a layout");
    let put_bytes = |bytes: &[u8]| -> anyhow::Result<Value> {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes)?;
        Ok(json!({ "digest": digest, "size": bytes.len() }))
    };
    let mut manifest: Value = serde_json::from_slice(image.manifest_bytes())?;
    let digest = Digest::of_file(packed)?;
    let kind = manifest["layers"][1]["mediaType"].as_str().context("a layer has a type")?;
    manifest["layers"][1]["mediaType"] = format!("{kind}{ending}").into();
    manifest["layers"][1]["digest"] = digest.to_string().into();
    manifest["layers"][1]["size"] = fs::metadata(packed)?.len().into();
    for index in [0, 2] {
        let layer = &image.layers()[index].digest;
        put(layer, &image.blobs().path(layer))?;
    }
    // The caller looks at it afterwards.
    fs::hard_link(packed, blobs.join(digest.hex()))?;
    put_bytes(image.config_bytes())?;
    let mut entry = put_bytes(&serde_json::to_vec(&manifest)?)?;
    entry["mediaType"] = manifest["mediaType"].clone();
    entry["annotations"] = json!({ "io.containerd.image.name": image.reference() });
    fs::write(layout.join("index.json"), json!({ "schemaVersion": 2, "manifests": [entry] }).to_string())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(layout)
}

/// The files of a folder, with all below it, in an order that is the same each time.
fn libraries(dir: &Path) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut files = Vec::new();
    let mut entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(libraries(&entry.path())?);
        } else if kind.is_file() && fs::File::open(entry.path()).is_ok() {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(files)
}

/// As many of them as have this size together.
fn files(all: &[(PathBuf, u64)], size: u64) -> Vec<PathBuf> {
    let mut left = size;
    let fits = |(path, length): &(PathBuf, u64)| {
        left = left.checked_sub(*length)?;
        Some(path.clone())
    };
    all.iter().filter_map(fits).collect()
}
