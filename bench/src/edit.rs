//! What an edit costs: one line of DataStorage is changed in a copy of the workspace, and a service is tested.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use xshell::{Shell, cmd};

use super::runs::time_of;
use super::{Figure, Lab, Limit, median};

const ROUNDS: usize = 5;
pub(super) const SERVICE: &str = "signalprocessing";
/// The file whose one line is edited.
pub(super) const EDITED: &str = "crates/services/datastorage/src/lib.rs";

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let copy = Lab { workspace: lab.dir.join("copy"), dir: lab.dir.clone(), cancel: lab.cancel.clone() };
    copy_sources(&lab.workspace, &copy.workspace)?;
    let target = copy.workspace.join("target");
    let e2e = || -> anyhow::Result<Duration> {
        lab.time(lab.xtask(&copy.workspace)?.args(["e2e", "--quiet", SERVICE]).env("CARGO_TARGET_DIR", &target))
    };
    let host = lab.cargo(&copy.workspace).args(["-vV"]).capture_stdout().run(&lab.cancel)?.stdout;
    let host = String::from_utf8_lossy(&host).lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned));
    let host = host.context("cargo does not tell its host")?;
    let bare = || {
        let cargo = lab.cargo(&copy.workspace).args([
            "build",
            "--package",
            "datastorage",
            "--profile",
            "image",
            "--target",
            &host,
        ]);
        lab.time(cargo.env("CARGO_TARGET_DIR", lab.dir.join("bare")).env("RUSTFLAGS", "-C target-feature=+crt-static"))
    };
    e2e()?;
    bare()?;
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    let (mut builds, mut suites) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        edit(&copy.workspace.join(EDITED), round)?;
        let build = bare()?;
        whole.push(e2e()?);
        let suite = Duration::from_micros(time_of(&super::runs::latest(&copy)?, |name| name == "run the suite"));
        parts.push(build + suite);
        builds.push(build);
        suites.push(suite);
    }
    let (whole, parts) = (median(whole), median(parts));
    Ok(vec![Figure {
        what: format!("a one-line edit of DataStorage → `e2e {SERVICE}` green, to bare build and suite"),
        seen: whole / parts,
        limit: Limit::AtMost(1.5),
        unit: "",
        from: format!("{whole:.2} s to {:.2} s + {:.2} s, medians of {ROUNDS}", median(builds), median(suites)),
    }])
}

/// Changes one line that ends up in the program.
pub(super) fn edit(file: &Path, round: usize) -> anyhow::Result<()> {
    const MARK: &str = "pub static EDITED: u64 = ";
    let text = fs::read_to_string(file).with_context(|| format!("read `{}`", file.display()))?;
    let kept = text.split(MARK).next().unwrap_or_default().trim_end_matches("#[used]\n#[doc(hidden)]\n");
    fs::write(file, format!("{kept}#[used]\n#[doc(hidden)]\n{MARK}{round};\n"))
        .with_context(|| format!("write `{}`", file.display()))
}

/// Copies what version control knows, as it is in the work tree.
pub(super) fn copy_sources(from: &Path, to: &Path) -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(from);
    let files = cmd!(shell, "git ls-files --cached --others --exclude-standard").quiet().read()?;
    for file in files.lines() {
        let (source, dest) = (from.join(file), to.join(file));
        // Version control still lists what was deleted.
        if source.is_file() {
            fs::create_dir_all(dest.parent().context("a file is in a directory")?)?;
            fs::copy(&source, &dest).with_context(|| format!("copy `{file}`"))?;
        }
    }
    Ok(())
}
