//! An image with Python to build on, made of Debian's packages: nothing can be pulled in a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::RunId;
use supervise::{Cancel, Cmd};

use crate::skip;

/// The image, which goes when it is dropped.
pub(crate) struct Base(String);

impl Base {
    /// None, with a line that says so, where there are no Debian packages.
    pub(crate) fn new() -> Option<Base> {
        let root = match root() {
            Ok(root) => root,
            Err(why) => {
                skip(&format!("no Python from Debian packages: {why}"));
                return None;
            }
        };
        let name = format!("localhost/python-base:{}", RunId::new().simple());
        let file = root.with_file_name(format!("{}.containerfile", RunId::new().simple()));
        fs::write(&file, "FROM scratch\nCOPY . /\n").unwrap();
        let build =
            ["build", "--quiet", "--layers=false", "--timestamp", "0", "--network", "none", "--tag", &name, "--file"];
        run(Cmd::new("podman").args(build).arg(&file).arg(&root)).unwrap();
        fs::remove_file(file).unwrap();
        Some(Base(name))
    }

    /// Removes the image, and what was built on it up to this step.
    pub(crate) fn remove_with(&self, tip: &str) {
        // It loses its name first: then it goes with the last step on it.
        run(Cmd::new("podman").args(["image", "rm", "--force", &self.0])).unwrap();
        run(Cmd::new("podman").args(["image", "rm", tip])).unwrap();
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // Removed already, unless the test failed before.
        drop(run(Cmd::new("podman").args(["image", "rm", "--force", "--ignore", &self.0])));
    }
}

/// The unpacked packages, kept between runs of the tests.
fn root() -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-base");
    let root = dir.join("root");
    if root.is_dir() {
        return Ok(root);
    }
    let part = dir.join(RunId::new().simple());
    fs::create_dir_all(part.join("root")).map_err(|error| error.to_string())?;
    let no =
        ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"].map(|what| format!("--no-{what}"));
    let depends = Cmd::new("apt-cache").args(["depends", "--recurse"]).args(no);
    let names = run(depends.args(["python3-minimal", "libpython3-stdlib"]))?;
    let wanted = |name: &&str| {
        ["python3", "libpython3"].iter().any(|prefix| name.starts_with(prefix))
            || ["libc6", "zlib1g", "libexpat1"].contains(name)
    };
    let names: Vec<_> = names.lines().filter(wanted).map(str::to_owned).collect();
    run(Cmd::new("apt-get").arg("download").args(names).current_dir(&part))?;
    for package in fs::read_dir(&part).map_err(|error| error.to_string())?.flatten() {
        if package.path().extension().is_some_and(|extension| extension == "deb") {
            run(Cmd::new("dpkg-deb").arg("-x").arg(package.path()).arg(part.join("root")))?;
        }
    }
    // Whoever is first has made it.
    if fs::rename(part.join("root"), &root).is_err() && !root.is_dir() {
        return Err(format!("`{}` cannot be made", root.display()));
    }
    fs::remove_dir_all(part).map_err(|error| error.to_string())?;
    Ok(root)
}

fn run(command: Cmd) -> Result<String, String> {
    let output = command.capture_stdout().deadline(Duration::from_secs(300)).run(&Cancel::new());
    let output = output.map_err(|error| format!("{error}: {}", error.tail.join("; ")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
