//! What a newcomer waits for: the first `cargo xtask --help`, against the packages that the tool was to be made of.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;

use super::{Figure, Lab, Limit, median};

/// The packages of the project's card, which any tool of this kind would have.
const CARD: [(&str, &str); 6] = [
    ("xshell", ""),
    ("clap", r#", features = ["derive"]"#),
    ("anyhow", ""),
    ("duct", ""),
    ("chrono", ""),
    ("uuid", r#", features = ["v4", "v7"]"#),
];
const ROUNDS: usize = 3;

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let card = lab.dir.join("card");
    fs::create_dir_all(card.join("src"))?;
    fs::write(card.join("src/main.rs"), "fn main() {}\n")?;
    let mut manifest = String::from("[package]\nname = \"card\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n");
    let lock = fs::read_to_string(lab.workspace.join("Cargo.lock")).context("read `Cargo.lock`")?;
    for (name, features) in CARD {
        let version =
            lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1).and_then(|rest| rest.split('"').next());
        let version = version.with_context(|| format!("`Cargo.lock` has no `{name}`"))?;
        writeln!(manifest, "{name} = {{ version = \"={version}\"{features} }}")?;
    }
    fs::write(card.join("Cargo.toml"), manifest)?;
    // Downloads are not part of it.
    lab.time(lab.cargo(&card).args(["fetch", "--quiet"]))?;
    lab.time(lab.cargo(&lab.workspace).args(["fetch", "--quiet"]))?;
    let (mut tool, mut baseline) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let target = |name: &str| lab.dir.join(format!("{name}-{round}"));
        baseline.push(lab.time(lab.cargo(&card).arg("build").env("CARGO_TARGET_DIR", target("baseline")))?);
        tool.push(
            lab.time(lab.cargo(&lab.workspace).args(["xtask", "--help"]).env("CARGO_TARGET_DIR", target("tool")))?,
        );
        fs::remove_dir_all(target("baseline"))?;
        fs::remove_dir_all(target("tool"))?;
    }
    let (tool, baseline) = (median(tool), median(baseline));
    Ok(vec![Figure {
        what: "cold `cargo xtask --help` to a cold build of its six packages".to_owned(),
        seen: tool / baseline,
        limit: Limit::AtMost(2.2),
        unit: "",
        from: format!("{tool:.1} s to {baseline:.1} s with cargo's own profile, medians of {ROUNDS}"),
    }])
}
