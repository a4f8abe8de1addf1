//! Ways to put something else where the right thing was.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use image::Digest;
use serde_json::Value;
use supervise::{Cancel, Cmd};

use crate::kit::{becomes, get, lock};
use crate::stage::Ground;

fn blob(store: &Path, digest: &str) -> PathBuf {
    store.join("blobs").join(digest.replace(':', "/"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Stores a document and gives what names it.
fn put(store: &Path, document: &Value) -> (String, usize) {
    let bytes = serde_json::to_vec(document).unwrap();
    let digest = Digest::of(&bytes).to_string();
    fs::write(blob(store, &digest), &bytes).unwrap();
    (digest, bytes.len())
}

/// The manifest that the place has under the tag.
fn manifest(ground: &Ground) -> Value {
    let index = read(&ground.images().join("index.json"));
    let entries = index["manifests"].as_array().unwrap();
    let named = |entry: &&Value| entry["annotations"].to_string().contains(&ground.reference);
    let entry = entries.iter().find(named).unwrap();
    read(&blob(&ground.images(), entry["digest"].as_str().unwrap()))
}

/// Lets the tag name another manifest.
fn name(ground: &Ground, manifest: &Value) {
    let (digest, size) = put(&ground.images(), manifest);
    let path = ground.images().join("index.json");
    let mut index = read(&path);
    for entry in index["manifests"].as_array_mut().unwrap() {
        entry["digest"] = digest.clone().into();
        entry["size"] = size.into();
    }
    fs::write(path, index.to_string()).unwrap();
}

/// Another image, complete and valid, under the same tag: the same but for one label.
pub(super) fn swap(ground: &mut Ground, label: &str, value: &str) {
    let mut manifest = manifest(ground);
    let mut config = read(&blob(&ground.images(), manifest["config"]["digest"].as_str().unwrap()));
    assert!(config["config"]["Labels"][label].is_string(), "{config}");
    config["config"]["Labels"][label] = value.into();
    let (digest, size) = put(&ground.images(), &config);
    manifest["config"]["digest"] = digest.into();
    manifest["config"]["size"] = size.into();
    name(ground, &manifest);
}

/// The same image in another packaging.
pub(super) fn repack(ground: &mut Ground) {
    let mut manifest = manifest(ground);
    manifest["annotations"] = serde_json::json!({ "repacked": "yes" });
    name(ground, &manifest);
}

/// The image of another service of the same run: its blobs, and its manifest under this tag.
pub(super) fn give(ground: &mut Ground, service: &str) {
    let small = || {
        let paths = fs::read_dir(ground.built().join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: PathBuf| {
            let small = fs::metadata(&path).ok()?.len() < 10_000;
            let document = small.then(|| serde_json::from_slice::<Value>(&fs::read(&path).ok()?).ok())??;
            Some((format!("sha256:{}", path.file_name()?.to_str()?), document))
        };
        paths.filter_map(read)
    };
    let find = || {
        let (config, _) = small().find(|(_, document)| document["config"]["Labels"]["dev.e2e.service"] == service)?;
        small().map(|(_, document)| document).find(|document| document["config"]["digest"] == config.as_str())
    };
    // Another pipeline builds it; this one must not go on before.
    assert!(becomes(|| find().is_some()));
    let manifest = find().unwrap();
    for content in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let digest = content["digest"].as_str().unwrap();
        fs::copy(blob(&ground.built(), digest), blob(&ground.images(), digest)).unwrap();
    }
    name(ground, &manifest);
}

/// Nothing under the tag any more.
pub(super) fn unname(ground: &mut Ground) {
    let path = ground.images().join("index.json");
    let mut index = read(&path);
    index["manifests"] = Value::Array(Vec::new());
    fs::write(path, index.to_string()).unwrap();
}

/// The layer with the executable, where the place has it.
pub(super) fn layer(ground: &Ground) -> PathBuf {
    layer_in(ground, &ground.images())
}

pub(super) fn layer_in(ground: &Ground, store: &Path) -> PathBuf {
    let manifest = manifest(ground);
    let layer = manifest["layers"].as_array().unwrap().last().unwrap();
    blob(store, layer["digest"].as_str().unwrap())
}

pub(super) fn config(ground: &Ground) -> PathBuf {
    blob(&ground.images(), manifest(ground)["config"]["digest"].as_str().unwrap())
}

/// The layer that holds this program: its name is at the start of the archive.
pub(super) fn packed(store: &Path, program: &str) -> PathBuf {
    let name = format!("usr/bin/{program}\0");
    let mut blobs = fs::read_dir(store.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.len() > 100_000 && bytes[..4096].windows(name.len()).any(|window| window == name.as_bytes())
    };
    blobs.find(holds).unwrap()
}

/// An older build of a program, in the place of the one that the run in progress has built.
pub(super) fn bring_back(runs: &Path, package: &str, old: &[u8]) {
    let mut runs = fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path().join("work/.programs"));
    // Runs that ended have no programs any more.
    let programs = runs.find(|programs| programs.is_dir()).unwrap();
    let (program, new) = (programs.join(package), programs.join("old"));
    assert!(fs::read(&program).unwrap() != old, "it was built anew");
    fs::write(&new, old).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, program).unwrap();
}

/// One bit, in the middle of a file.
pub(super) fn damage(path: &Path) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

/// The second half of a file is lost.
pub(super) fn cut(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

/// Another fingerprint in the executable as it was packed.
pub(super) fn forge_section(ground: &mut Ground) {
    let path = layer_in(ground, &ground.built());
    let mut bytes = fs::read(&path).unwrap();
    let key = b"\"fingerprint\":\"sha256:";
    let at = bytes.windows(key.len()).rposition(|window| window == key).unwrap() + key.len();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    fs::write(path, bytes).unwrap();
}

/// A program that does the same and is another file.
fn another(ground: &Ground) -> PathBuf {
    let path = ground.rootfs().join("tmp/another");
    let mut bytes = fs::read(ground.executable()).unwrap();
    // An ELF file may have anything at its end.
    bytes.push(0);
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// The file that the process was started from is replaced by another, as a build does it.
pub(super) fn replace(ground: &mut Ground) {
    fs::rename(another(ground), ground.executable()).unwrap();
}

/// The process goes on as another program, under the same id, with the same socket and environment.
pub(super) fn restart(ground: &mut Ground, program: &str) {
    assert_eq!(get(&ground.url(&format!("/exec/{program}"))).unwrap(), "going");
    let ready = get(&ground.url("/readyz")).unwrap();
    assert!(ready.contains("\"ready\""), "the other program answers: {ready}");
}

pub(super) fn restart_from_another(ground: &mut Ground) {
    another(ground);
    restart(ground, "tmp/another");
}

pub(super) fn kill(ground: &mut Ground) {
    let pid = ground.instances[0].name.strip_prefix("pid ").unwrap().to_owned();
    Cmd::new("sh").args(["-c", &format!("kill -KILL {pid}")]).run(&Cancel::new()).unwrap();
    assert!(becomes(|| fs::read_link(format!("/proc/{pid}/exe")).is_err()));
}

/// The fingerprint that the image says it was built from.
pub(super) fn fingerprint(ground: &Ground) -> String {
    let config = read(&config(ground));
    config["config"]["Labels"]["dev.e2e.source-fingerprint"].as_str().unwrap().to_owned()
}

/// A foreign server that knows all that can be known from outside, and says that it is the service.
pub(super) struct Imitation(TcpListener, Mutex<Option<thread::JoinHandle<()>>>);

impl Imitation {
    pub(super) fn new() -> Imitation {
        Imitation(TcpListener::bind("127.0.0.1:0").unwrap(), Mutex::new(None))
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// Answers one question.
    pub(super) fn serve(&self, fingerprint: String) {
        let listener = self.0.try_clone().unwrap();
        *lock(&self.1) = Some(thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let read = stream.read(&mut [0; 4096]).unwrap();
            assert!(read > 0);
            let body = format!(r#"{{"source_fingerprint":"{fingerprint}","instance":"0123456789abcdef"}}"#);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }));
    }
}
