//! What it costs to hash a source: this workspace, and a large one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use image::{CargoBuild, Digest, Source};
use serde_json::Value;

use super::{Figure, Lab, Limit, median};

const ROUNDS: usize = 5;
const MANY: usize = 30_000;
/// Bytes of each of the many files: together a quarter of a gigabyte.
const SIZE: usize = 8 * 1024;
/// Files in one directory.
const PER_DIRECTORY: usize = 300;

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let own = recorded(&lab.home().find(None)?.join("provenance"))?;
    let many = make_many(&lab.dir.join("many"))?;
    let here = time(lab, &lab.workspace, &own)?;
    let there = time(lab, &lab.dir.join("many"), &many)?;
    let figure = |what: String, seen: f64, limit: f64, files: usize| Figure {
        what,
        seen: seen * 1000.0,
        limit: Limit::AtMost(limit),
        unit: " ms",
        from: format!("{files} inputs, median of {ROUNDS}, with asking the compiler for its version"),
    };
    Ok(vec![
        figure("fingerprint of DataStorage in this workspace".to_owned(), here, 25.0, own.inputs.len()),
        figure(format!("fingerprint of {MANY} files of {} KiB", SIZE / 1024), there, 400.0, MANY),
    ])
}

fn time(lab: &Lab, workspace: &Path, source: &Source) -> anyhow::Result<f64> {
    let build = CargoBuild {
        workspace: workspace.to_owned(),
        target_dir: lab.dir.join("build"),
        profile: "image".to_owned(),
        packages: Vec::new(),
        jobs: None,
        env: Vec::new(),
        limit: Duration::from_secs(60),
    };
    let mut times = Vec::new();
    // The first reads from the disk what the others have in memory.
    for round in 0..=ROUNDS {
        let start = Instant::now();
        build.fingerprint_now(source, &lab.cancel)?;
        if round > 0 {
            times.push(start.elapsed());
        }
    }
    Ok(median(times))
}

/// The inputs of DataStorage, from the provenance record of the last run.
fn recorded(dir: &Path) -> anyhow::Result<Source> {
    let entries = fs::read_dir(dir).with_context(|| format!("read `{}`: make a run first", dir.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.to_string_lossy().ends_with("-datastorage.json"));
    let path = paths.first().context("the last run built no DataStorage")?;
    let record: Value = serde_json::from_slice(&fs::read(path)?)?;
    let definition = &record["predicate"]["buildDefinition"];
    let dependencies = definition["resolvedDependencies"].as_array().context("the record lists no inputs")?;
    let input = |value: &Value| -> Option<(String, Digest)> {
        let digest = format!("sha256:{}", value["digest"]["sha256"].as_str()?);
        Some((value["name"].as_str()?.to_owned(), digest.parse().ok()?))
    };
    let parameters = definition["internalParameters"].as_object().context("the record lists no parameters")?;
    Ok(Source {
        fingerprint: Digest::of(""),
        // The first is the checkout as a whole.
        inputs: dependencies.iter().skip(1).filter_map(input).collect(),
        revision: None,
        dirty: false,
        parameters: parameters
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    })
}

fn make_many(dir: &Path) -> anyhow::Result<Source> {
    let mut inputs = Vec::with_capacity(MANY);
    for number in 0..MANY {
        let name = format!("{}/{number}.rs", number / PER_DIRECTORY);
        let path = dir.join(&name);
        if number % PER_DIRECTORY == 0 {
            fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        }
        let content: Vec<u8> = format!("// {number}\n").into_bytes().into_iter().cycle().take(SIZE).collect();
        fs::write(&path, &content)?;
        inputs.push((name, Digest::of(&content)));
    }
    fs::write(dir.join("Cargo.toml"), "[workspace]\n")?;
    Ok(Source { fingerprint: Digest::of(""), inputs, revision: None, dirty: false, parameters: Vec::new() })
}
