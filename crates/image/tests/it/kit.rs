//! What the tests share: a directory of their own, a tiny program, and an image of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use image::{BlobStore, BuiltImage, Digest, ImageTag, Program, Recipe, RunId, Source, build};
use supervise::{Cancel, Cmd};

/// What the tiny program says.
pub(crate) const GREETING: &str = "hello from the image";

/// A directory that is removed at the end.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        TempDir::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    pub(crate) fn below(dir: &Path) -> TempDir {
        let path = dir.join(format!("image-{}", RunId::new().short()));
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

/// Runs a tool to its end and gives what it writes to its standard output.
pub(crate) fn run(cmd: Cmd) -> String {
    let output = cmd.deadline(Duration::from_secs(120)).capture_stdout().run(&Cancel::new());
    let output = output.unwrap_or_else(|error| panic!("{error}\n{}", error.tail.join("\n")));
    String::from_utf8(output.stdout).unwrap()
}

/// Compiles the tiny program. `how` is one flag of the code generator.
pub(crate) fn compile(dir: &Path, how: &str) -> PathBuf {
    let (source, program) = (dir.join("tiny.rs"), dir.join("tiny"));
    fs::write(&source, format!("fn main() {{ println!(\"{GREETING}\"); }}")).unwrap();
    run(Cmd::new("rustc").args(["-C", how]).arg("-o").arg(&program).arg(&source));
    program
}

/// Bytes of a static program, compiled once.
pub(crate) fn tiny() -> &'static [u8] {
    static TINY: OnceLock<Vec<u8>> = OnceLock::new();
    TINY.get_or_init(|| fs::read(compile(TempDir::new().path(), "target-feature=+crt-static")).unwrap())
}

/// A program as a builder would have left it.
pub(crate) fn program(path: &Path, bytes: &[u8]) -> Program {
    fs::write(path, bytes).unwrap();
    Program {
        package: "tiny".to_owned(),
        path: path.to_owned(),
        digest: Digest::of(bytes),
        source: Source {
            fingerprint: Digest::of("the source"),
            inputs: vec![("src/main.rs".to_owned(), Digest::of("main"))],
            revision: Some("0123abc".to_owned()),
            dirty: true,
            parameters: Vec::new(),
        },
    }
}

/// A new tag for the consumer `gateway`.
pub(crate) fn tag() -> ImageTag {
    ImageTag::new(&RunId::new(), "tiny", "gateway").unwrap()
}

/// The tiny program's image, with its blobs in `dir`.
pub(crate) fn image(dir: &TempDir) -> BuiltImage {
    let program = program(&dir.join("program"), tiny());
    build(tag(), &Recipe::new(&program), &BlobStore::create(&dir.join("built")).unwrap()).unwrap()
}

/// Whether a tool can be used; if not, the test that asks ends with a line that says so. Where the tools must be there, as in
/// CI, `IMAGE_TEST_TOOLS=required` turns that into a failure.
#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
pub(crate) fn have(tool: &str) -> bool {
    if supervise::find_program(tool).is_some() {
        return true;
    }
    assert_ne!(std::env::var("IMAGE_TEST_TOOLS").as_deref(), Ok("required"), "`{tool}` is not installed");
    eprintln!("not tested: `{tool}` is not installed");
    false
}
