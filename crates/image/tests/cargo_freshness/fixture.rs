//! A small workspace in a temporary folder: a program, two path dependencies, build scripts, an included file. Nothing to
//! download, so that a build takes a fraction of a second.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use image::{BuildError, CargoBuild, CargoOutcome, Program, Progress, RunId};
use supervise::{Cancel, Cmd, Observer};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);

pub(crate) struct Fixture {
    pub(crate) root: PathBuf,
    pub(crate) workspace: PathBuf,
    pub(crate) env: Vec<(String, String)>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"app\", \"kit\", \"plain\"]\n\n[profile.image]\ninherits = \"dev\"\ndebug = false\n",
    ),
    (
        "Cargo.lock",
        "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"kit\",\n \"plain\",\n]\n\n\
         [[package]]\nname = \"kit\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"plain\"\nversion = \"0.1.0\"\n",
    ),
    (".gitignore", "/target\nignored\n"),
    (
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[features]\ndefault = []\nextra = []\n\n\
         [dependencies]\nkit = { path = \"../kit\" }\nplain = { path = \"../plain\" }\n",
    ),
    (
        "app/build.rs",
        r#"fn main() {
    println!("cargo::rerun-if-changed=data.txt");
    println!("cargo::rerun-if-changed=../.git/HEAD");
    let commit = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
    println!("cargo::rustc-env=COMMIT={}", String::from_utf8(commit.stdout).unwrap().trim());
    println!("cargo::rustc-env=DATA={}", std::fs::read_to_string("data.txt").unwrap().trim());
    std::fs::write(std::env::var("OUT_DIR").unwrap() + "/made.rs", "pub const MADE: &str = \"made\";").unwrap();
}
"#,
    ),
    (
        "app/src/main.rs",
        r#"mod part;
include!(concat!(env!("OUT_DIR"), "/made.rs"));
fn main() {
    println!("main=one part={} text={} kit={} plain={}", part::PART, include_str!("te xt.txt"), kit::KIT, plain::PLAIN);
    println!("data={} commit={} var={:?}", env!("DATA"), env!("COMMIT"), option_env!("APP_VAR"));
    println!("extra={} assertions={} {MADE}", cfg!(feature = "extra"), cfg!(debug_assertions));
    println!("path={}", std::panic::Location::caller().file());
}
"#,
    ),
    ("app/src/part.rs", "pub const PART: &str = \"one\";\n"),
    ("app/src/te xt.txt", "one"),
    ("app/data.txt", "one\n"),
    ("kit/Cargo.toml", "[package]\nname = \"kit\"\nversion = \"0.1.0\"\nedition = \"2024\"\n"),
    ("kit/src/lib.rs", "pub const KIT: &str = \"one\";\n"),
    ("plain/Cargo.toml", "[package]\nname = \"plain\"\nversion = \"0.1.0\"\nedition = \"2024\"\n"),
    (
        "plain/build.rs",
        "fn main() {\n    let data = std::fs::read_to_string(\"data.txt\").unwrap();\n    println!(\"cargo::rustc-env=PLAIN_DATA={}\", data.trim());\n}\n",
    ),
    ("plain/src/lib.rs", "pub const PLAIN: &str = env!(\"PLAIN_DATA\");\n"),
    ("plain/data.txt", "one\n"),
];

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let root = fs::canonicalize(std::env::temp_dir()).unwrap().join(format!("cargo-{}", RunId::new().simple()));
        let fixture = Fixture { workspace: root.join("work"), root, env: Vec::new() };
        for (name, text) in FILES {
            let path = fixture.workspace.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        // The time of the newest file of a package is what cargo goes by, and this is not the newest one.
        fixture.age("plain/data.txt");
        fixture.git(&["init", "--quiet", "--initial-branch", "main"]);
        fixture.commit();
        fixture
    }

    pub(crate) fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.invalid",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "c",
        ]);
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = Cmd::new("git").args(args.iter().copied()).current_dir(&self.workspace).capture_stdout();
        String::from_utf8(output.run(&Cancel::new()).unwrap().stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.workspace.join(name)
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.path("target/image")
    }

    /// Replaces `one` by `two` in a file.
    pub(crate) fn edit(&self, name: &str) {
        let path = self.path(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("one"));
        fs::write(&path, text.replace("one", "two")).unwrap();
    }

    /// The same, but as if the file came from a checkout, an archive or a `cp -p`: its time is long past.
    pub(crate) fn edit_old(&self, name: &str) {
        self.edit(name);
        self.age(name);
    }

    pub(crate) fn age(&self, name: &str) {
        set_time(&self.path(name), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    }

    pub(crate) fn cargo_build(&self) -> CargoBuild {
        CargoBuild {
            workspace: self.workspace.clone(),
            target_dir: self.target(),
            profile: "image".to_owned(),
            packages: vec!["app".to_owned()],
            jobs: None,
            env: self.env.clone(),
            limit: LIMIT,
        }
    }

    pub(crate) fn build_with(
        &self,
        on_progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<CargoOutcome, BuildError> {
        let log = self.root.join("build.log");
        self.cargo_build().run(&self.root.join("out"), &Cancel::new(), Arc::new(Silent), &log, Arc::new(on_progress))
    }

    pub(crate) fn build(&self) -> Built {
        let again = Arc::new(Mutex::new(Vec::new()));
        let reasons = again.clone();
        let outcome = self.build_with(move |progress| {
            if let Progress::Again { reason } = progress {
                reasons.lock().unwrap().push(reason);
            }
        });
        let outcome = outcome.unwrap();
        let program = outcome.programs["app"].clone();
        Built { says: run(&program.path), program, reasons: again.lock().unwrap().clone(), outcome }
    }

    /// What plain cargo makes of it, in a target directory of its own that this function keeps using.
    pub(crate) fn bare(&self) -> String {
        self.cargo(&["build", "--profile", "image", "--target-dir", "target/bare"]);
        run(&self.path("target/bare/image/app"))
    }

    pub(crate) fn cargo(&self, args: &[&str]) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cmd = Cmd::new(cargo).args(args.iter().copied()).current_dir(&self.workspace);
        // Under `cargo test` these say where this crate is built.
        for name in ["CARGO_TARGET_DIR", "CARGO_MANIFEST_DIR", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            cmd = cmd.env_remove(name);
        }
        let output = self.env.iter().fold(cmd, |cmd, (name, value)| cmd.env(name, value)).run(&Cancel::new());
        output.unwrap_or_else(|error| panic!("{error}\n{}", error.tail.join("\n")));
    }
}

pub(crate) struct Built {
    /// What the program prints.
    pub(crate) says: String,
    pub(crate) program: Program,
    /// Why it was built again.
    pub(crate) reasons: Vec<String>,
    pub(crate) outcome: CargoOutcome,
}

pub(crate) struct Silent;

impl Observer for Silent {
    fn started(&self, _line: &str, _pid: u32) -> u64 {
        0
    }
    fn ended(&self, _id: u64, _status: &str, _ok: bool, _leaked: bool) {}
}

pub(crate) fn run(program: &Path) -> String {
    let output = Cmd::new(program).env_clear().capture_stdout().run(&Cancel::new()).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn time(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

pub(crate) fn set_time(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// Every file and folder below.
pub(crate) fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(below(&path)) } else { all.push(path) }
    }
    all
}
