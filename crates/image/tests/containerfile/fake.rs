//! What an engine may answer that podman on this machine does not: docker's archives, and wrong ones. The engine is a script.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::{BuildError, BuiltImage, Digest, Engine};
use serde_json::json;
use supervise::Cancel;
use tar::EntryType;

use crate::kit::{Scene, script};

/// Answers what is asked of docker, and notes how it was asked.
const DOCKER: &str = r#"#!/bin/sh
dir=$(dirname "$0")
echo "$@" >>"$dir/calls"
case "$1 $2" in
"version "*) echo 28.2.2 ;;
"image inspect") case "$5" in localhost/base*) echo sha256:BASE ;; *) echo "No such image: $5" >&2; exit 1 ;; esac ;;
"build "*)
    while [ $# -gt 1 ]; do
        case "$1" in
        --tag) echo "$2" >"$dir/tag" ;;
        --file) cat "$2" >"$dir/Containerfile" ;;
        --label) echo "$2" >>"$dir/labels" ;;
        esac
        shift
    done ;;
"save "*) cat "$dir/archive" ;;
"image rm") ;;
esac
"#;

struct Docker {
    scene: Scene,
}

impl Docker {
    fn new() -> Docker {
        let scene = Scene::without_engine();
        scene.write("Containerfile", "FROM localhost/base:1\nUSER 1\n");
        script(&scene.path("bin/docker"), &DOCKER.replace("BASE", &"0".repeat(64)));
        Docker { scene }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.scene.path("bin").join(name)).unwrap()
    }

    /// Builds; `archive` makes of config and reference what the engine gives out.
    fn run(&self, archive: impl Fn(&str, &Path) + Send + Sync) -> Result<BuiltImage, BuildError> {
        let mut build = self.scene.build();
        build.engine = Engine::Docker;
        let bin = self.scene.path("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        build.prepare = Arc::new(move |command| command.env("PATH", &path));
        // The engine's image depends on what it was told, so a first try tells what that is.
        let tag = || image::ImageTag::new(&image::RunId::new(), "app", "gateway").unwrap();
        let tag = tag();
        archive(tag.reference(), &bin.join("archive"));
        build.run(tag, &self.scene.blobs, &self.scene.path("scratch"), &self.scene.log(), &Cancel::new())
    }

    fn fingerprint(&self) -> String {
        let mut build = self.scene.build();
        build.engine = Engine::Docker;
        let path = format!("{}:{}", self.scene.path("bin").display(), std::env::var("PATH").unwrap());
        build.prepare = Arc::new(move |command| command.env("PATH", &path));
        let nothing = image::Source {
            fingerprint: Digest::of(""),
            inputs: Vec::new(),
            revision: None,
            dirty: false,
            parameters: Vec::new(),
        };
        build.fingerprint_now(&nothing, &Cancel::new()).unwrap().fingerprint.to_string()
    }
}

fn config(fingerprint: &str, diff_ids: &[Digest]) -> Vec<u8> {
    let config = json!({
        "config": {
            "User": "1",
            "Env": [format!("SOURCE_FINGERPRINT={fingerprint}")],
            "Cmd": ["/run"],
            "Labels": { "dev.e2e.source-fingerprint": fingerprint },
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    serde_json::to_vec(&config).unwrap()
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "run", EntryType::Regular, b"program");
    tar.into_inner().unwrap()
}

fn add(tar: &mut tar::Builder<impl std::io::Write>, name: &str, kind: EntryType, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    if kind == EntryType::Symlink {
        header.set_size(0);
        tar.append_link(&mut header, name, std::str::from_utf8(content).unwrap()).unwrap();
    } else {
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).unwrap();
    }
}

#[test]
fn docker_builds_with_its_own_flags_and_its_archive_is_understood() {
    let docker = Docker::new();
    let (fingerprint, layer) = (docker.fingerprint(), layer());
    let diff_id = Digest::of(&layer);
    // As docker before 25 writes it: a folder a layer, the second a link to the first.
    let built = docker.run(|reference, path| {
        let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
        add(&mut tar, "aa/layer.tar", EntryType::Regular, &layer);
        add(&mut tar, "bb/layer.tar", EntryType::Symlink, b"../aa/layer.tar");
        add(&mut tar, "c.json", EntryType::Regular, &config(&fingerprint, &[diff_id, diff_id]));
        let list = json!([{ "Config": "c.json", "RepoTags": [reference], "Layers": ["aa/layer.tar", "bb/layer.tar"] }]);
        add(&mut tar, "manifest.json", EntryType::Regular, list.to_string().as_bytes());
        tar.finish().unwrap();
    });
    let built = built.unwrap();
    assert_eq!(built.config_digest(), Digest::of(config(&fingerprint, &[diff_id, diff_id])));
    assert_eq!(built.layers().iter().map(|layer| layer.digest).collect::<Vec<_>>(), [diff_id, diff_id]);
    assert_eq!(built.file_digest("/run").unwrap(), Some(Digest::of("program")));
    assert_eq!(docker.read("tag").trim(), built.reference());
    let calls = docker.read("calls");
    let call = calls.lines().find(|call| call.starts_with("build ")).unwrap();
    for flag in ["--network none", "--provenance=false", "--build-arg SOURCE_DATE_EPOCH=0"] {
        assert!(call.contains(flag), "{call}");
    }
    assert!(!call.contains("--timestamp") && !call.contains("--pull=never"), "{call}");
    assert!(docker.read("labels").contains(&format!("dev.e2e.source-fingerprint={fingerprint}\n")));
    let last = docker.read("Containerfile").lines().last().unwrap().to_owned();
    assert!(last.starts_with("ENV SERVICE_NAME=app SOURCE_FINGERPRINT=sha256:"), "{last}");
    assert!(
        calls.lines().last().unwrap().starts_with("image inspect") || calls.contains("image rm --no-prune"),
        "{calls}"
    );
}

#[test]
fn what_is_not_the_image_that_was_asked_for_is_refused() {
    let docker = Docker::new();
    let (fingerprint, layer) = (docker.fingerprint(), layer());
    let diff_id = Digest::of(&layer);
    let archive = |names: &'static [&'static str], content: &[u8], fingerprint: &str| {
        let (content, config) = (content.to_vec(), config(fingerprint, &[diff_id]));
        move |reference: &str, path: &Path| {
            let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
            add(&mut tar, "blobs/sha256/l", EntryType::Regular, &content);
            add(&mut tar, "blobs/sha256/c", EntryType::Regular, &config);
            let images: Vec<_> = names
                .iter()
                .map(|name| {
                    let name = if name.is_empty() { reference } else { *name };
                    json!({ "Config": "blobs/sha256/c", "RepoTags": [name], "Layers": ["blobs/sha256/l"] })
                })
                .collect();
            add(&mut tar, "manifest.json", EntryType::Regular, json!(images).to_string().as_bytes());
            tar.finish().unwrap();
        }
    };
    let refused = |archive: &(dyn Fn(&str, &Path) + Send + Sync)| docker.run(archive).unwrap_err().to_string();
    // `podman save a b` gives one image's content under the other's name.
    assert!(refused(&archive(&["", "localhost/other:1"], &layer, &fingerprint)).contains("gave 2 images"));
    let other = refused(&archive(&["localhost/other:1"], &layer, &fingerprint));
    assert!(other.contains("gave the image `localhost/other:1`"), "{other}");
    let damaged = refused(&archive(&[""], b"damaged", &fingerprint));
    assert!(damaged.contains(&format!("and the config names {diff_id}")), "{damaged}");
    let stale = refused(&archive(&[""], &layer, &Digest::of("old").to_string()));
    assert!(stale.contains("the engine gave out another image"), "{stale}");
    let half = refused(&|_: &str, path: &Path| fs::write(path, &layer[..700]).unwrap());
    assert!(half.contains("out of docker"), "{half}");

    // Layers as docker's containerd store gives them: taken as they are, and nothing is claimed of what is in them.
    let packed = docker.run(archive(&[""], b"\x1f\x8b\x08 packed", &fingerprint)).unwrap();
    assert!(packed.layers()[0].media_type.ends_with("+gzip"));
    assert!(format!("{:#}", packed.file_digest("/run").unwrap_err()).contains("is compressed"));
}
