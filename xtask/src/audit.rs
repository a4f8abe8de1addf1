//! `cargo xtask audit` and `cargo xtask verify`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use image::Digest;
use pipeline::rundir::Home;
use report::record::{self, Expected};
use supervise::{Cancel, Cmd};

use crate::console::{print, say};
use crate::flags::{Audit, AuditFormat, Verify};
use crate::paths;

/// How long an engine may take to answer.
const ENGINE_LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn run(flags: &Audit) -> anyhow::Result<u8> {
    let home = Home::of_workspace(&paths::workspace()?);
    let dir = home.find(flags.run.as_deref())?;
    let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let what = || format!("the record of the run `{id}` is refused");
    let bytes = fs::read(dir.join("events.jsonl")).with_context(what)?;
    let expected = Expected { run: Some(&id), head: Some(head(&dir)?) };
    let verified = record::read(&bytes, &expected).with_context(what)?;
    let mut earlier = Vec::new();
    for other in home.ids().iter().filter(|other| **other < id) {
        earlier.extend(record::references(&fs::read(home.runs().join(other).join("events.jsonl")).unwrap_or_default()));
    }
    let audit = report::audit(&verified.records, Some(&earlier));
    print(&match flags.format {
        AuditFormat::Text => audit.text(),
        AuditFormat::Json => audit.json(),
        AuditFormat::Markdown => audit.markdown(),
    })?;
    Ok(u8::from(!audit.passed()))
}

/// The digest of the last event, from `report.json`.
fn head(dir: &Path) -> anyhow::Result<Digest> {
    let path = dir.join("report.json");
    let bytes = fs::read(&path).with_context(|| format!("read `{}`: the run did not end properly", path.display()))?;
    let report: serde_json::Value =
        serde_json::from_slice(&bytes).with_context(|| format!("read `{}`", path.display()))?;
    report["events_head"].as_str().with_context(|| format!("`{}` has no `events_head`", path.display()))?.parse()
}

/// Tells whether a file or an image is one of the things that a run tested.
pub(crate) fn verify(flags: &Verify) -> anyhow::Result<u8> {
    let home = Home::of_workspace(&paths::workspace()?);
    let run = (flags.run != "latest").then_some(flags.run.as_str());
    let dir = home.find(run)?;
    let mut subjects = Vec::new();
    let records = dir.join("provenance");
    for entry in
        fs::read_dir(&records).with_context(|| format!("read `{}`: the run built nothing", records.display()))?
    {
        subjects.extend(pipeline::provenance::subjects(&entry?.path())?);
    }
    let found = if Path::new(&flags.what).exists() {
        image::digests_of(Path::new(&flags.what))?
    } else {
        in_engine(&flags.what)?
    };
    for (what, digest) in &found {
        if let Some((name, _)) = subjects.iter().find(|(_, subject)| subject == digest) {
            say(&format!("yes: the {what} {digest} is `{name}`, which the run tested\n"));
            return Ok(0);
        }
    }
    let Some((what, digest)) = found.first() else { bail!("`{}` holds nothing to compare", flags.what) };
    say(&format!("no: the run `{}` tested nothing with the {what} {digest}\n", dir.display()));
    Ok(1)
}

/// The digest of an image's configuration, as the engines on this machine have it. `.Id` is that digest in podman, and in docker
/// with its classic store; docker's containerd store gives the manifest's.
fn in_engine(name: &str) -> anyhow::Result<Vec<(&'static str, Digest)>> {
    let mut answers = Vec::new();
    for engine in ["podman", "docker"] {
        let inspect = Cmd::new(engine).args(["image", "inspect", "--format", "{{.Id}}", name]).capture_stdout();
        match inspect.deadline(ENGINE_LIMIT).run(&Cancel::new()) {
            Ok(output) => {
                let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let digest = if id.contains(':') { id } else { format!("sha256:{id}") };
                return Ok(vec![("image", digest.parse()?)]);
            }
            Err(error) => {
                answers.push(format!("{engine}: {}", error.tail.last().cloned().unwrap_or_else(|| error.to_string())))
            }
        }
    }
    bail!("`{name}` is neither a file nor an image of an engine here ({})", answers.join("; "))
}
