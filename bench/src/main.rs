//! `cargo xbench`: what the tool costs, as ratios to a baseline that is measured in the same run.
//!
//! Machines differ and are busy, so no time is a limit by itself: each figure is a ratio, or a time per piece of work, of
//! medians that were taken in turn. Exit code 1 if one is beyond its limit, 2 for a name that there is not, 3 if something
//! could not be measured.
//!
//! A program of its own: nobody who tests a service should wait until it is compiled.

mod cold;
mod edit;
mod engine;
mod fingerprint;
mod kind;
mod runs;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::rundir::Home;
use supervise::{Cancel, Cmd};

/// A figure that was measured.
struct Figure {
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
enum Limit {
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
struct Lab {
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

    /// The tool, on the workspace in a directory.
    fn xtask(&self, workspace: &Path) -> anyhow::Result<Cmd> {
        let tool = env::current_exe().context("find this program")?.with_file_name("xtask");
        // The tool takes its workspace from the variable that cargo sets.
        Ok(Cmd::new(tool).env("CARGO_MANIFEST_DIR", workspace.join("xtask")).current_dir(workspace).env("CI", "true"))
    }

    /// Where the tool keeps what it does in this workspace.
    fn home(&self) -> Home {
        Home::of_workspace(&self.workspace)
    }

    fn cargo(&self, dir: &Path) -> Cmd {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Cmd::new(cargo).current_dir(dir).env_remove("CARGO_MANIFEST_DIR")
    }
}

fn main() -> ExitCode {
    let wanted: Vec<_> = env::args().skip(1).collect();
    let is_wanted = |name: &str| {
        let begins = |wanted: &String| {
            name.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        wanted.is_empty() || wanted.iter().any(begins)
    };
    let chosen: Vec<_> = ALL.iter().filter(|(name, _)| is_wanted(name)).collect();
    if chosen.is_empty() {
        let names = ALL.map(|(name, _)| name).join(", ");
        say(&format!("there is no measurement `{}` (there are: {names})", wanted.join(" ")));
        return ExitCode::from(2);
    }
    match run(&chosen) {
        Ok(over) => ExitCode::from(u8::from(over > 0)),
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::from(3)
        }
    }
}

/// Measures; gives the number of figures that are over their limit.
fn run(chosen: &[&(&str, Measurement)]) -> anyhow::Result<usize> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this package lies in a workspace")?;
    let dir = env::temp_dir().join(format!("e2e-bench-{}", image::RunId::new()));
    fs::create_dir_all(&dir).with_context(|| format!("make `{}`", dir.display()))?;
    let lab = Lab { workspace: workspace.to_owned(), dir, cancel: Cancel::new() };
    supervise::install_signals(&lab.cancel)?;
    let built = lab.cargo(workspace).args(["build", "--quiet", "--package", "xtask"]).run(&lab.cancel);
    let measured = built.context("build the tool").and_then(|_| measure(&lab, chosen));
    fs::remove_dir_all(&lab.dir).with_context(|| format!("remove `{}`", lab.dir.display()))?;
    measured
}

/// Prints each figure as soon as it is there; gives the number of those over their limit.
fn measure(lab: &Lab, chosen: &[&(&str, Measurement)]) -> anyhow::Result<usize> {
    let mut over = 0;
    for (name, measurement) in chosen {
        say(&format!("measuring `{name}` …"));
        for figure in measurement(lab).with_context(|| format!("measure `{name}`"))? {
            let Figure { what, seen, limit, unit, from } = figure;
            let holds = limit.holds(seen);
            over += usize::from(!holds);
            let verdict = if holds { "ok" } else { "OVER" };
            figure_line(&format!("{verdict:4}  {what:64} {seen:8.2}{unit} {}  {from}", limit.describe(unit)));
        }
    }
    Ok(over)
}

/// The middle one, in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// For people.
#[expect(clippy::print_stderr, reason = "a program for the command line")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// What was measured.
#[expect(clippy::print_stdout, reason = "a program for the command line")]
fn figure_line(text: &str) {
    println!("{text}");
}
