//! A copy of this workspace that tests edit, with one service more.
//!
//! It lies in the target directory and stays there, so that the next `cargo test` compiles only what has changed since. The
//! service is added by what the README says: its example is the pipeline, and its line goes into the manifest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use supervise::{Cancel, Cmd};

use crate::kit::{Answer, Real, ask, plain, temporary, workspace};
use crate::ran::Ran;

/// The file of DataStorage that is edited, and a text in it that is part of an answer.
pub(crate) const EDITED: &str = "crates/services/datastorage/src/api.rs";
pub(crate) const ANSWER: &str = "there is no event with the id";

const SERVICE: &str = r#"//! The smallest service.

use axum::routing::get;
use service_kit::{App, run};

fn main() -> std::process::ExitCode {
    run("mine", env!("CARGO_PKG_VERSION"), async |_environment| {
        Ok(App::new(axum::Router::new().route("/greeting", get(async || "hello"))))
    })
}
"#;
const SERVICE_MANIFEST: &str = r#"[package]
name = "mine"
version.workspace = true
edition.workspace = true

[dependencies]
axum.workspace = true
service-kit.workspace = true
"#;
const SUITE: &str = r#"//! The suite of the smallest service.

use e2e_suite::Run;

#[test]
fn it_greets() {
    assert_eq!(Run::current().client("mine").get("/api/v1/greeting").expect_status(200).text(), "hello");
}

#[test]
fn datastorage_says_what_is_not_there() {
    let path = "/api/v1/audit/events/0199c3f2-a7b4-7000-8000-000000000000";
    let problem = Run::current().client("datastorage").get(path).expect_problem(404);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("there is no event with the id"), "DataStorage says: {detail}");
}
"#;

/// The copy. Who has it is alone.
pub(crate) struct Product {
    pub(crate) root: PathBuf,
    _real: Real,
}

impl Product {
    /// The copy as this workspace is now, with the fifth service.
    pub(crate) fn new() -> Product {
        let real = Real::take();
        let root = temporary().join("xtask-product");
        fs::create_dir_all(&root).unwrap();
        let mut wanted = BTreeMap::new();
        read(workspace(), Path::new(""), &mut wanted);
        add_service(&mut wanted);
        let mut there = BTreeMap::new();
        read(&root, Path::new(""), &mut there);
        for (path, content) in &wanted {
            // What is the same is not touched: cargo goes by the time. Cargo adds to the lock file by itself.
            if there.remove(path).is_none_or(|old| old != *content) {
                write(&root.join(path), content);
            }
        }
        for path in there.keys() {
            fs::remove_file(root.join(path)).unwrap();
        }
        // A repository of its own: the commit of the one around it says nothing about the copy. Without git there is none.
        if !root.join(".git").exists() {
            drop(Cmd::new("git").args(["init", "--quiet"]).current_dir(&root).run(&Cancel::new()));
        }
        Product { root, _real: real }
    }

    /// `cargo xtask …`, in a folder of the copy.
    pub(crate) fn cargo_xtask(&self, folder: &str, arguments: &[&str]) -> Cmd {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let command = plain(Cmd::new(cargo)).args(["xtask"]).args(arguments.iter().copied());
        let command = command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_MANIFEST_DIR");
        command.current_dir(self.root.join(folder))
    }

    /// `cargo xtask e2e …`; gives the run that it made.
    pub(crate) fn e2e(&self, arguments: &[&str]) -> (Answer, Ran) {
        let arguments: Vec<_> = ["e2e"].iter().chain(arguments).copied().collect();
        let answer = ask(self.cargo_xtask("", &arguments));
        let ran = Ran::new(
            fs::canonicalize(self.root.join("target/e2e/latest")).unwrap_or_else(|_| panic!("{}", answer.err)),
        );
        (answer, ran)
    }

    /// Replaces a text that occurs once in a file.
    #[track_caller]
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Makes a file look as old as if it had been written in 2001.
    pub(crate) fn age(&self, file: &str) {
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(self.root.join(file)).unwrap().set_modified(old).unwrap();
    }

    /// Where the build that goes into images leaves the program of a service.
    pub(crate) fn program(&self, service: &str) -> PathBuf {
        let targets = fs::read_dir(self.root.join("target/e2e/build")).unwrap().map(|entry| entry.unwrap().path());
        let found: Vec<_> =
            targets.map(|target| target.join("image").join(service)).filter(|path| path.is_file()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().expect("a file is in a folder")).unwrap();
    fs::write(path, content).unwrap();
}

/// The files of a workspace, by their path from its root. What is built is no part of it.
fn read(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let name = entry.unwrap().file_name();
        let path = folder.join(&name);
        if name == "target" || name == ".git" {
            continue;
        }
        if root.join(&path).is_dir() {
            read(root, &path, files);
        } else if let Ok(content) = fs::read(root.join(&path)) {
            // An editor's temporary file may be gone by now.
            files.insert(path, content);
        }
    }
}

/// One crate and one line, as in the README; and the service itself.
fn add_service(files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let text = |files: &BTreeMap<PathBuf, Vec<u8>>, path: &str| {
        String::from_utf8(files.get(Path::new(path)).unwrap_or_else(|| panic!("{path}")).clone()).unwrap()
    };
    let readme = text(files, "README.md");
    let block = |language: &str| {
        let (_, rest) = readme.split_once(&format!("```{language}\n")).expect("the README has an example");
        rest.split("```").next().unwrap_or_default().to_owned()
    };
    let gateway = text(files, "crates/e2e-gateway/src/lib.rs");
    let imports: String =
        gateway.lines().filter(|line| line.starts_with("use ")).map(|line| format!("{line}\n")).collect();
    let manifest = text(files, "crates/e2e-gateway/Cargo.toml").replace("gateway", "mine");
    let line = block("toml");
    assert_eq!(line.lines().count(), 1, "one line: {line}");
    let xtask = text(files, "xtask/Cargo.toml").replace("[dependencies]\n", &format!("[dependencies]\n{line}"));
    let added = [
        (
            "crates/e2e-mine/src/lib.rs",
            format!("//! The pipeline of the smallest service.\n\n{imports}\n/// As in the README.\n{}", block("rust")),
        ),
        ("crates/e2e-mine/Cargo.toml", manifest),
        ("crates/e2e-mine/tests/suite.rs", SUITE.to_owned()),
        ("crates/services/mine/src/main.rs", SERVICE.to_owned()),
        ("crates/services/mine/Cargo.toml", SERVICE_MANIFEST.to_owned()),
        ("xtask/Cargo.toml", xtask),
    ];
    files.extend(added.map(|(path, content)| (PathBuf::from(path), content.into_bytes())));
}
