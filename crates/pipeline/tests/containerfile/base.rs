//! Images made of Debian's packages: nothing can be pulled in a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use image::RunId;
use supervise::{Cancel, Cmd};

use crate::skip;

/// What an image is made of.
pub(crate) struct Recipe<'a> {
    /// What it is called.
    pub(crate) name: &'a str,
    /// The packages that are asked for.
    pub(crate) packages: &'a [&'a str],
    /// Which of these packages, and of all that they depend on, it holds.
    pub(crate) holds: fn(&str) -> bool,
    /// Files beside them: path, and content.
    pub(crate) files: &'a [(&'a str, &'a str)],
    /// The instructions of its Containerfile after those that copy all of it.
    pub(crate) instructions: &'a str,
}

/// An image, which goes when it is dropped.
pub(crate) struct Base(String);

impl Base {
    /// None, with a line that says so, where there are no Debian packages.
    pub(crate) fn new(recipe: &Recipe) -> Option<Base> {
        let root = match root(recipe) {
            Ok(root) => root,
            Err(why) => {
                skip(&format!("no `{}` from Debian packages: {why}", recipe.name));
                return None;
            }
        };
        let name = format!("localhost/{}:{}", recipe.name, RunId::new().simple());
        let file = root.with_file_name(format!("{}.containerfile", RunId::new().simple()));
        fs::write(&file, format!("FROM scratch\nCOPY . /\n{}", recipe.instructions)).unwrap();
        let build =
            ["build", "--quiet", "--layers=false", "--timestamp", "0", "--network", "none", "--tag", &name, "--file"];
        run(Cmd::new("podman").args(build).arg(&file).arg(&root)).unwrap();
        fs::remove_file(file).unwrap();
        Some(Base(name))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        // Removed already by a test that looks what is left, unless it failed before.
        drop(run(Cmd::new("podman").args(["image", "rm", "--force", "--ignore", &self.0])));
    }
}

/// The unpacked packages, kept between runs of the tests.
fn root(recipe: &Recipe) -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(recipe.name);
    let root = dir.join("root");
    if !root.is_dir() {
        let part = dir.join(RunId::new().simple());
        fs::create_dir_all(part.join("root")).map_err(|error| error.to_string())?;
        let no = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
            .map(|what| format!("--no-{what}"));
        let depends = Cmd::new("apt-cache").args(["depends", "--recurse"]).args(no);
        let names = run(depends.args(recipe.packages.iter().copied()))?;
        // Packages stand at the beginning of a line, and what they need behind blanks; `<` marks names that several provide.
        let is_package = |name: &&str| name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let names: Vec<_> =
            names.lines().filter(is_package).filter(|name| (recipe.holds)(name)).map(str::to_owned).collect();
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
    }
    for (path, content) in recipe.files {
        let path = root.join(path.trim_start_matches('/'));
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, content)).unwrap();
    }
    Ok(root)
}

fn run(command: Cmd) -> Result<String, String> {
    let output = command.capture_stdout().deadline(Duration::from_secs(300)).run(&Cancel::new());
    let output = output.map_err(|error| format!("{error}: {}", error.tail.join("; ")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
