//! What other tools make of the archives: each must read them and see the same config.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use image::{BuiltImage, Digest, Holder, LocalStore};
use serde_json::Value;
use supervise::{Cancel, Cmd, Process};

use crate::kit::{self, TempDir, have};

/// An image and the file that it was written to.
fn archive(dir: &TempDir) -> (BuiltImage, PathBuf) {
    let (image, path) = (kit::image(dir), dir.join("image.tar"));
    image.write_archive(File::create(&path).unwrap()).unwrap();
    (image, path)
}

#[test]
fn podman_loads_the_archive() {
    if !have("podman") {
        return;
    }
    let dir = TempDir::below(&std::env::temp_dir());
    let ids = fs::read_to_string("/etc/subuid").unwrap_or_default();
    if !is_root(&dir) && ids.trim().is_empty() {
        return skip("podman needs subordinate ids (/etc/subuid) when it does not run as root");
    }
    let (image, archive) = archive(&dir);
    // A store of its own: the user's is not touched. Its path is short, because podman takes 50 bytes at most.
    let podman = || {
        let place = |option: &str, name: &str| format!("--{option}={}", dir.join(name).display());
        let cmd =
            Cmd::new("podman").args([place("root", "root"), place("runroot", "runroot"), place("tmpdir", "tmpdir")]);
        cmd.arg("--storage-driver=vfs")
    };
    kit::run(podman().args(["load", "--quiet", "--input"]).arg(&archive));
    let id = kit::run(podman().args(["image", "inspect", "--format", "{{.Id}}", image.reference()]));
    assert_eq!(id.trim(), image.config_digest().hex());
    kit::run(podman().args(["image", "rm", image.reference()]));
}

#[test]
fn skopeo_reads_the_archive_in_both_formats_and_the_local_store() {
    if !have("skopeo") {
        return;
    }
    let dir = TempDir::new();
    let (image, archive) = archive(&dir);
    let store = LocalStore::create(&dir.join("store")).unwrap();
    store.receive(&image).unwrap();
    let archive = archive.display();
    let inspect =
        |options: &[&str], source: &str| kit::run(Cmd::new("skopeo").arg("inspect").args(options).arg(source));
    let copied = format!("oci:{}:{}", dir.join("copied").display(), image.reference());
    let policy = ["--insecure-policy", "copy", "--quiet"];
    kit::run(Cmd::new("skopeo").args(policy).args([format!("oci-archive:{archive}"), copied.clone()]));
    let local = format!("oci:{}:{}", dir.join("store").display(), image.reference());
    for source in [format!("oci-archive:{archive}"), local] {
        assert_eq!(Digest::of(inspect(&["--raw"], &source)), image.manifest_digest(), "{source}");
        assert_eq!(Digest::of(inspect(&["--config", "--raw"], &source)), image.config_digest(), "{source}");
    }
    // The copy is compressed, which makes another manifest: the config is the identity.
    assert_eq!(Digest::of(inspect(&["--config", "--raw"], &copied)), image.config_digest());
    let docker = format!("docker-archive:{archive}:{}", image.reference());
    assert_eq!(Digest::of(inspect(&["--config", "--raw"], &docker)), image.config_digest());
}

#[test]
fn umoci_unpacks_the_layout() {
    if !have("umoci") {
        return;
    }
    let dir = TempDir::new();
    let (image, archive) = archive(&dir);
    let (layout, bundle) = (dir.join("layout"), dir.join("bundle"));
    tar::Archive::new(File::open(archive).unwrap()).unpack(&layout).unwrap();
    let rootless = if is_root(&dir) { &[][..] } else { &["--rootless"] };
    let source = format!("{}:{}", layout.display(), image.reference());
    kit::run(Cmd::new("umoci").arg("unpack").args(rootless).args(["--image", &source]).arg(&bundle));
    let executable = bundle.join("rootfs").join(image.executable_path().unwrap().trim_start_matches('/'));
    assert_eq!(Digest::of_file(&executable).unwrap(), image.executable_digest().unwrap());
    assert_eq!(kit::run(Cmd::new(executable)).trim(), kit::GREETING);
    let record = fs::read_to_string(bundle.join("umoci.json")).unwrap();
    assert!(record.contains(&image.manifest_digest().to_string()), "{record}");
    let how: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    assert_eq!(how["process"]["args"], serde_json::json!(["/usr/bin/tiny"]));
}

#[test]
fn containerd_imports_the_archive_and_the_stream_of_what_it_lacks() {
    if !(have("containerd") && have("ctr")) {
        return;
    }
    let dir = TempDir::new();
    if !is_root(&dir) {
        return skip("containerd runs as root only");
    }
    let (image, archive) = archive(&dir);
    let containerd = Containerd::start();
    containerd.run(&["images", "import", "--snapshotter", "native", &archive.display().to_string()]);
    assert_eq!(containerd.config_of(image.reference()), (image.manifest_digest(), image.config_digest()));

    // The next image of the same program: the node has the layers.
    let next = kit::image(&dir);
    let has =
        containerd.run(&["content", "ls", "-q"]).lines().map(|line| line.parse().unwrap()).collect::<HashSet<Digest>>();
    let stream = dir.join("stream.tar");
    let transfer = next.write_stream(File::create(&stream).unwrap(), &has).unwrap();
    assert_eq!((transfer.blobs_sent, transfer.blobs_skipped), (0, 4));
    containerd.run(&["images", "import", "--snapshotter", "native", &stream.display().to_string()]);
    let pinned = format!("localhost/tiny@{}", next.manifest_digest());
    for name in [next.reference(), &pinned] {
        assert_eq!(containerd.config_of(name), (next.manifest_digest(), next.config_digest()));
        let status = containerd.run(&["images", "check", "--snapshotter", "native", &format!("name=={name}")]);
        assert!(status.contains("complete"), "{status}");
    }
}

/// A containerd of the test's own, with its directories and socket in a short path: a socket's has 107 bytes at most.
struct Containerd {
    dir: TempDir,
    process: Option<Process>,
}

impl Containerd {
    fn start() -> Containerd {
        let dir = TempDir::below(&std::env::temp_dir());
        let path = |name: &str| dir.join(name).display().to_string();
        fs::write(path("config.toml"), "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").unwrap();
        let arguments = ["--config", &path("config.toml"), "--root", &path("root"), "--state", &path("state")];
        let cmd = Cmd::new("containerd").args(arguments).args(["--address", &path("socket")]);
        let process = cmd.spawn(&Cancel::new()).unwrap();
        let mut containerd = Containerd { dir, process: Some(process) };
        let patience = Cancel::new();
        for _ in 0..200 {
            if containerd.cmd(&["version"]).capture_stdout().run(&Cancel::new()).is_ok() {
                return containerd;
            }
            patience.wait(Duration::from_millis(100));
        }
        panic!("containerd does not answer:\n{}", containerd.process.take().unwrap().tail().join("\n"));
    }

    fn cmd(&self, arguments: &[&str]) -> Cmd {
        Cmd::new("ctr").arg("--address").arg(self.dir.join("socket")).args(["--namespace", "k8s.io"]).args(arguments)
    }

    fn run(&self, arguments: &[&str]) -> String {
        kit::run(self.cmd(arguments))
    }

    /// Manifest and config of an image, from what containerd says.
    fn config_of(&self, name: &str) -> (Digest, Digest) {
        let list = self.run(&["images", "ls", &format!("name=={name}")]);
        let manifest = list.split_whitespace().find(|word| word.starts_with("sha256:")).expect(&list).to_owned();
        let content: Value = serde_json::from_str(&self.run(&["content", "get", &manifest])).unwrap();
        let config = content["config"]["digest"].as_str().unwrap().parse().unwrap();
        assert_eq!(Digest::of(self.run(&["content", "get", &format!("{config}")])), config);
        (manifest.parse().unwrap(), config)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Before its directories go.
        if let Some(process) = self.process.take() {
            process.stop();
        }
    }
}

fn is_root(dir: &TempDir) -> bool {
    fs::metadata(dir.path()).unwrap().uid() == 0
}

#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn skip(why: &str) {
    eprintln!("not tested: {why}");
}
