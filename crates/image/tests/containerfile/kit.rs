//! What the tests share: an engine with a store of its own, an image to build on, and a service to build.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use image::{BlobStore, BuildError, BuiltImage, ContainerfileBuild, Engine, ImageTag, Instructions, RunId};
use supervise::{Cancel, Cmd};

/// What the service's image is built on.
pub(crate) const BASE: &str = "localhost/base:1";
const CONTAINERFILE: &str = "ARG BASE=localhost/base:1\nFROM ${BASE}\nARG GREETING=hello\nRUN echo $GREETING >/greeting\n\
    COPY . /app/\nUSER 65532:65532\nENTRYPOINT [\"program\", \"serve\"]\n";

/// A workspace with one service, and podman with a store that nobody else uses.
pub(crate) struct Scene {
    dir: PathBuf,
    pub(crate) blobs: BlobStore,
}

impl Scene {
    /// None, with a line that says so, where podman cannot be used.
    pub(crate) fn new() -> Option<Scene> {
        if !have("podman") {
            return None;
        }
        let scene = Scene::without_engine();
        // The base is this machine's shell: nothing can be fetched in a test.
        let shell = fs::canonicalize("/bin/sh").unwrap();
        let listed = run(Cmd::new("ldd").arg(&shell));
        let files =
            listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).chain([shell.clone()]);
        let root = scene.dir.join("base");
        for file in files {
            let to = root.join(file.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&file, to).unwrap();
        }
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("usr/local/bin")).unwrap();
        if !root.join("bin/sh").exists() {
            std::os::unix::fs::symlink(&shell, root.join("bin/sh")).unwrap();
        }
        fs::write(root.join("usr/local/bin/program"), "\x7fELF, or so").unwrap();
        fs::set_permissions(root.join("usr/local/bin/program"), Permissions::from_mode(0o755)).unwrap();
        scene.base("one");
        Some(scene)
    }

    pub(crate) fn without_engine() -> Scene {
        // Short, because podman takes 50 bytes at most.
        let dir = std::env::temp_dir().join(format!("cf-{}", RunId::new().short()));
        fs::create_dir_all(dir.join("services/app")).unwrap();
        let conf =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/run\"\n", dir.display());
        fs::write(dir.join("storage.conf"), conf).unwrap();
        let blobs = BlobStore::create(&dir.join("blobs")).unwrap();
        let scene = Scene { dir, blobs };
        scene.write("Containerfile", CONTAINERFILE);
        scene.write("server.py", "print(1)");
        scene
    }

    /// Makes the image to build on, with this content.
    pub(crate) fn base(&self, content: &str) {
        fs::write(self.dir.join("base/content"), content).unwrap();
        fs::write(self.dir.join("base.containerfile"), "FROM scratch\nCOPY . /\n").unwrap();
        let command =
            self.podman().args(["build", "--quiet", "--timestamp", "0", "--layers=false", "--tag", BASE, "--file"]);
        run(command.arg(self.dir.join("base.containerfile")).arg(self.dir.join("base")));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes a file of the service.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.dir.join("services/app").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn podman(&self) -> Cmd {
        (self.build().prepare)(Cmd::new("podman"))
    }

    pub(crate) fn build(&self) -> ContainerfileBuild {
        let conf = self.dir.join("storage.conf");
        ContainerfileBuild {
            engine: Engine::Podman,
            prepare: Arc::new(move |command| command.env("CONTAINERS_STORAGE_CONF", &conf)),
            workspace: self.dir.clone(),
            instructions: folder("services/app", None),
            arguments: Vec::new(),
            network: false,
            service: "app".to_owned(),
            state: self.dir.join("state"),
            limit: Duration::from_secs(300),
        }
    }

    /// Builds as it is now.
    pub(crate) fn built(&self) -> BuiltImage {
        self.run(&self.build(), &Cancel::new()).unwrap_or_else(|error| panic!("{error}: {error:?}"))
    }

    pub(crate) fn run(&self, build: &ContainerfileBuild, cancel: &Cancel) -> Result<BuiltImage, BuildError> {
        let tag = ImageTag::new(&RunId::new(), "app", "gateway").unwrap();
        build.run(tag, &self.blobs, &self.dir.join("scratch"), &self.log(), cancel)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("build.log")
    }

    /// The names of all images in the engine, and the number of those without a name.
    pub(crate) fn images(&self) -> (Vec<String>, usize) {
        let listed = run(self.podman().args(["images", "--all", "--format", "{{.Repository}}:{{.Tag}}"]));
        let (unnamed, named): (Vec<_>, Vec<_>) =
            listed.lines().map(str::to_owned).partition(|name| name.contains("<none>"));
        (named, unnamed.len())
    }

    /// Containers in the engine, those of builds included.
    pub(crate) fn containers(&self) -> String {
        run(self.podman().args(["ps", "--all", "--external", "--format", "{{.ID}} {{.Names}}"]))
    }

    /// Content of a file in the topmost layer that has it.
    pub(crate) fn file(&self, image: &BuiltImage, name: &str) -> Option<String> {
        image.layers().iter().rev().find_map(|layer| {
            let mut tar = tar::Archive::new(self.blobs.reader(&layer.digest).unwrap());
            let mut entries = tar.entries().unwrap().map(Result::unwrap);
            let entry = entries.find(|entry| *entry.path_bytes() == *name.as_bytes())?;
            Some(std::io::read_to_string(entry).unwrap())
        })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.dir);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// The Containerfile of a folder.
pub(crate) fn folder(context: &str, containerfile: Option<&str>) -> Instructions {
    Instructions::Folder { context: context.to_owned(), containerfile: containerfile.map(str::to_owned) }
}

/// Runs a tool to its end and gives what it writes to its standard output.
pub(crate) fn run(command: Cmd) -> String {
    let output = command.deadline(Duration::from_secs(120)).capture_stdout().run(&Cancel::new());
    let output = output.unwrap_or_else(|error| panic!("{error}\n{}", error.tail.join("\n")));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a tool can be used; if not, the test that asks ends with a line that says so. Where the tools must be there, as in
/// CI, `IMAGE_TEST_TOOLS=required` turns that into a failure.
#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn have(tool: &str) -> bool {
    let found = supervise::find_program(tool).is_some();
    let ids = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let usable = found && (supervise::is_root() || !ids.trim().is_empty());
    if !usable {
        assert_ne!(
            std::env::var("IMAGE_TEST_TOOLS").as_deref(),
            Ok("required"),
            "`{tool}` is not installed or not usable"
        );
        eprintln!("not tested: `{tool}` is not installed, or has no subordinate ids (/etc/subuid)");
    }
    usable
}

/// An executable file.
pub(crate) fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}
