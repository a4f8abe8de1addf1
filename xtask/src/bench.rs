//! `cargo xtask bench`: what the tool costs, as ratios to a baseline that is measured in the same run.
//!
//! Machines differ and are busy, so no time is a limit by itself: each figure is a ratio, or a time per piece of work, of
//! medians that were taken in turn. Exit code 1 if one is beyond its limit.

mod cold;
mod edit;
mod engine;
mod fingerprint;
mod kind;
mod runs;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use supervise::{Cancel, Cmd};

use crate::console::{print, say};
use crate::flags::Bench;
use crate::paths;
use crate::services::Usage;

/// A figure that was measured.
pub(crate) struct Figure {
    /// What it is.
    what: String,
    /// What was seen.
    seen: f64,
    /// What it may be.
    limit: Limit,
    /// The unit; empty for a ratio.
    unit: &'static str,
    /// What it was computed from.
    from: String,
}

/// What a figure may be.
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// It is shown only.
    Any,
}

impl Limit {
    fn holds(&self, seen: f64) -> bool {
        match self {
            Limit::AtMost(limit) => seen <= *limit,
            Limit::AtLeast(limit) => seen >= *limit,
            Limit::Any => true,
        }
    }

    fn describe(&self, unit: &str) -> String {
        match self {
            Limit::AtMost(limit) => format!("(at most {limit}{unit})"),
            Limit::AtLeast(limit) => format!("(at least {limit}{unit})"),
            Limit::Any => String::new(),
        }
    }
}

type Measurement = fn(&Lab) -> anyhow::Result<Vec<Figure>>;

/// The measurements, by name. What stands before a slash names all that begin with it.
const ALL: [(&str, Measurement); 9] = [
    ("cold", cold::run),
    ("engine", engine::run),
    ("runs", runs::run),
    ("fingerprint", fingerprint::run),
    ("edit", edit::run),
    ("kind/load", kind::load::run),
    ("kind/packing", kind::packing::run),
    ("kind/fresh", kind::fresh::run),
    ("kind/edit", kind::edit::run),
];

/// Where measurements work.
pub(crate) struct Lab {
    workspace: PathBuf,
    /// A directory of their own, which is removed.
    dir: PathBuf,
    cancel: Cancel,
}

impl Lab {
    /// Runs a command that must succeed, and tells how long it took.
    fn time(&self, command: Cmd) -> anyhow::Result<Duration> {
        let start = Instant::now();
        command.run(&self.cancel)?;
        Ok(start.elapsed())
    }

    /// This tool, on the workspace in a directory.
    fn xtask(&self, workspace: &Path) -> anyhow::Result<Cmd> {
        let tool = std::env::current_exe().context("find this program")?;
        // The tool takes its workspace from the variable that cargo sets.
        Ok(Cmd::new(tool).env("CARGO_MANIFEST_DIR", workspace.join("xtask")).current_dir(workspace).env("CI", "true"))
    }

    fn cargo(&self, dir: &Path) -> Cmd {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Cmd::new(cargo).current_dir(dir).env_remove("CARGO_MANIFEST_DIR")
    }
}

pub(crate) fn run(flags: &Bench) -> anyhow::Result<u8> {
    let names = || ALL.map(|(name, _)| name).join(", ");
    let is_wanted = |name: &str, wanted: &str| {
        name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let chosen: Vec<_> =
        ALL.iter().filter(|(name, _)| flags.name.as_deref().is_none_or(|wanted| is_wanted(name, wanted))).collect();
    if chosen.is_empty() {
        let unknown = flags.name.as_deref().unwrap_or_default();
        return Err(Usage(format!("there is no measurement `{unknown}` (there are: {})", names())).into());
    }
    let workspace = paths::workspace()?;
    let dir = std::env::temp_dir().join(format!("e2e-bench-{}", image::RunId::new()));
    std::fs::create_dir_all(&dir).with_context(|| format!("make `{}`", dir.display()))?;
    let lab = Lab { workspace, dir, cancel: Cancel::new() };
    supervise::install_signals(&lab.cancel)?;
    let measured = measure(&lab, &chosen);
    std::fs::remove_dir_all(&lab.dir).with_context(|| format!("remove `{}`", lab.dir.display()))?;
    let over = measured?;
    Ok(u8::from(over > 0))
}

/// Prints each figure as soon as it is there; gives the number of those over their limit.
fn measure(lab: &Lab, chosen: &[&(&str, Measurement)]) -> anyhow::Result<usize> {
    let mut over = 0;
    for (name, measurement) in chosen {
        say(&format!("measuring `{name}` …\n"));
        for figure in measurement(lab).with_context(|| format!("measure `{name}`"))? {
            let Figure { what, seen, limit, unit, from } = figure;
            let holds = limit.holds(seen);
            over += usize::from(!holds);
            let verdict = if holds { "ok" } else { "OVER" };
            print(&format!("{verdict:4}  {what:64} {seen:8.2}{unit} {}  {from}\n", limit.describe(unit)))?;
        }
    }
    Ok(over)
}

/// The middle one, in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}
