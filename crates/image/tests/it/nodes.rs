//! Loading into nodes: only what a node lacks goes over, every node is asked, and what it says is checked.
//!
//! The nodes are directories, and their `ctr` a script that does with them what the real one does with its store: what is
//! tested are the scripts that run on a node, and what is made of their answers. Real nodes: `tests/kind`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use image::{
    AssetContent, AssetFile, BlobStore, BuiltImage, Digest, Holder, NodeAccess, NodeStore, NotAsBuilt, Recipe, build,
    load,
};
use supervise::{Cancel, Cmd};

use crate::kit::{self, TempDir};

struct Nodes {
    dir: TempDir,
    store: NodeStore,
}

fn access(dir: &TempDir, name: &str) -> NodeAccess {
    let enter = Cmd::new(dir.join("engine")).args(["exec", "-i", name]);
    NodeAccess { name: name.to_owned(), enter, root: None }
}

impl Nodes {
    fn new(names: &[&str]) -> Nodes {
        let dir = TempDir::new();
        let scripts = [
            ("engine", include_str!("node/engine.sh")),
            ("ctr", include_str!("node/ctr.sh")),
            ("containerd", include_str!("node/containerd.sh")),
        ];
        for (name, text) in scripts {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for name in names {
            fs::create_dir_all(dir.join(name).join("blobs")).unwrap();
            fs::write(dir.join(name).join("names"), "").unwrap();
        }
        let store = NodeStore::new(names.iter().map(|name| access(&dir, name)).collect(), Cancel::new());
        Nodes { dir, store }
    }

    fn file(&self, node: &str, name: &str) -> PathBuf {
        self.dir.join(node).join(name)
    }

    fn read(&self, node: &str, name: &str) -> String {
        fs::read_to_string(self.file(node, name)).unwrap()
    }
}

/// Two images that differ in their program alone.
fn images(dir: &TempDir) -> [BuiltImage; 2] {
    let blobs = BlobStore::create(&dir.join("built")).unwrap();
    let mut changed = kit::tiny().to_vec();
    changed.extend(b"changed");
    [kit::tiny(), &changed].map(|bytes| {
        let program = kit::program(&dir.join("program"), bytes);
        build(kit::tag(), &Recipe::new(&program), &blobs).unwrap()
    })
}

#[test]
fn what_a_node_has_is_not_sent_again() {
    let nodes = Nodes::new(&["a", "b"]);
    let [first, second] = images(&nodes.dir);
    let layers = first.layers().len() as u64;
    let pinned = second.pinned();
    let sent = load(first, &nodes.store).unwrap().transfer();
    assert_eq!(
        (sent.blobs_sent, sent.blobs_skipped),
        (2 * (layers + 2), 0),
        "layers, config and manifest, to two nodes"
    );
    let loaded = load(second, &nodes.store).unwrap();
    let again = loaded.transfer();
    // Of the changed image: the layer with the program, config and manifest.
    assert_eq!((again.blobs_sent, again.blobs_skipped), (2 * 3, 2 * (layers - 1)));
    assert!(loaded.held().complete.is_ok());
    let (name, digest) = pinned.split_once('@').unwrap();
    for node in ["a", "b"] {
        assert!(
            nodes.read(node, "imports").contains("images import --local --snapshotter native"),
            "{}",
            nodes.read(node, "imports")
        );
        assert!(nodes.read(node, "names").contains(&format!("{name}@{digest} {digest}")));
    }
}

/// Bytes that do not get smaller when they are packed (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

/// Two pipelines of a run in one cluster know nothing of each other.
#[test]
fn what_another_has_sent_meanwhile_is_not_sent_again_if_it_is_much() {
    let nodes = Nodes::new(&["a"]);
    let other = NodeStore::new(vec![access(&nodes.dir, "a")], Cancel::new());
    let [small, changed] = images(&nodes.dir);
    // Both have asked.
    let _loaded = (load(small, &nodes.store).unwrap(), load(changed, &other).unwrap());
    let program = kit::program(&nodes.dir.join("program"), kit::tiny());
    let path = "/assets/base".to_owned();
    let files = [AssetFile { path, content: AssetContent::Bytes(noise(40 * 1024 * 1024)), mode: 0o644 }];
    let blobs = BlobStore::create(&nodes.dir.join("large")).unwrap();
    let large = || build(kit::tag(), &Recipe { files: &files, ..Recipe::new(&program) }, &blobs).unwrap();
    assert!(load(large(), &nodes.store).unwrap().transfer().bytes_sent > 32 * 1024 * 1024);
    let again = load(large(), &other).unwrap().transfer();
    assert!(again.bytes_sent < 1024 * 1024, "{again:?}");
}

#[test]
fn a_blob_that_a_node_loses_in_between_is_sent_after_all() {
    let nodes = Nodes::new(&["a"]);
    let [first, second] = images(&nodes.dir);
    let layer = first.layers()[0].digest.to_string();
    let _first = load(first, &nodes.store).unwrap();
    fs::write(nodes.file("a", "collect"), layer).unwrap();
    let layers = second.layers().len() as u64;
    let sent = load(second, &nodes.store).unwrap().transfer();
    assert_eq!((sent.blobs_sent, sent.blobs_skipped), (layers + 2, 0), "everything went over");
}

#[test]
fn one_node_that_holds_something_else_is_named() {
    let nodes = Nodes::new(&["a", "b"]);
    let [first, second] = images(&nodes.dir);
    let (reference, layer) = (first.reference().to_owned(), first.layers()[0].digest.to_string());
    let other = second.manifest_digest();
    let _loaded = [first, second].map(|image| load(image, &nodes.store).unwrap());

    // A damaged blob.
    let blob = nodes.file("b", "blobs").join(&layer);
    let whole = fs::read(&blob).unwrap();
    fs::write(&blob, "damaged").unwrap();
    let why = nodes.store.held(&reference).unwrap().complete.unwrap_err();
    assert!(why.contains("node `b`") && why.contains(&layer), "{why}");
    // A missing one.
    fs::remove_file(&blob).unwrap();
    let why = nodes.store.held(&reference).unwrap().complete.unwrap_err();
    assert!(why.contains("node `b`") && why.contains("incomplete (4/5)"), "{why}");
    fs::write(&blob, whole).unwrap();
    assert!(nodes.store.held(&reference).unwrap().complete.is_ok());

    // The tag was moved to another image, which is whole.
    let names = nodes.read("b", "names");
    let moved = names.lines().map(|line| match line.strip_prefix(&reference) {
        Some(_) => format!("{reference} {other}\n"),
        None => format!("{line}\n"),
    });
    fs::write(nodes.file("b", "names"), moved.collect::<String>()).unwrap();
    assert_eq!(nodes.store.held(&reference).unwrap().manifest_digest, Some(other));
    // And lost.
    fs::write(nodes.file("b", "names"), "").unwrap();
    let error = format!("{:#}", nodes.store.held(&reference).unwrap_err());
    assert!(error.contains("node `b`") && error.contains(&reference), "{error}");
}

#[test]
fn a_node_that_stops_in_the_middle_is_the_cause() {
    let nodes = Nodes::new(&["a", "b"]);
    let [first, second] = images(&nodes.dir);
    fs::write(nodes.file("b", "stops-while-it-reads"), "").unwrap();
    let error = format!("{:#}", load(first, &nodes.store).unwrap_err());
    assert!(error.contains("node `b`") && error.contains("unexpected EOF"), "{error}");
    let error = load(second, &nodes.store).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.ends_with("node `b`: it says `Error: container state improper` (exit status: 255)"), "{text}");
    assert!(!error.is::<NotAsBuilt>(), "the image is what was built");
}

#[test]
fn a_blob_that_is_damaged_before_it_is_sent_is_the_cause() {
    let nodes = Nodes::new(&["a"]);
    let [image, _] = images(&nodes.dir);
    let layer = image.layers()[0].digest;
    fs::write(image.blobs().path(&layer), "damaged").unwrap();
    let error = load(image, &nodes.store).unwrap_err();
    let broken = error.downcast_ref::<NotAsBuilt>().unwrap();
    let values = (broken.expected.clone(), broken.found.clone());
    assert_eq!(values, (layer.to_string(), Ok(Digest::of("damaged").to_string())));
    assert!(broken.cause.contains("is damaged"), "{broken}");
}
