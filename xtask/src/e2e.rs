//! `cargo xtask e2e`.

use std::env;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use image::RunId;
use pipeline::event::{Event, Record, Verdict};
use pipeline::kind::{self, Clusters, Kind};
use pipeline::local::Local;
use pipeline::recorder::SystemClock;
use pipeline::run::{Config, Outcome};
use pipeline::rundir::{Home, write_atomically};
use pipeline::stat::began;
use report::Summary;
use report::terminal::{Config as TerminalConfig, Terminal, Verbosity};
use supervise::Cancel;

use crate::console::{self, print, say};
use crate::flags::{Database, E2e, Format, Platform, Provider, Render};
use crate::services::Usage;
use crate::{paths, plan, services};

/// How often the live lines are drawn.
const TICK: Duration = Duration::from_millis(100);

pub(crate) fn run(flags: &E2e) -> anyhow::Result<u8> {
    if flags.list {
        let names: Vec<_> = services::all().iter().map(|pipeline| pipeline.service().to_owned()).collect();
        let text = if flags.format == Format::Json { serde_json::to_string(&names)? } else { names.join("\n") };
        print(&format!("{text}\n"))?;
        return Ok(0);
    }
    let pipelines = services::select(&flags.services, flags.all)?;
    if let (Platform::Local, Some(flag)) = (flags.platform, flags.kind.given()) {
        return Err(Usage(format!("`{flag}` is for clusters: add `--platform kind`, or leave it out")).into());
    }
    if let (Platform::Local, Database::Postgres) = (flags.platform, flags.database.database) {
        let why = "the platform `local` starts programs that this tool packed, and PostgreSQL's image is none of them";
        return Err(Usage(format!(
            "`--database postgres` needs a cluster: {why}; add `--platform kind`, or leave it out"
        ))
        .into());
    }
    let pipelines = services::with_database(pipelines, &flags.database)?;
    let platform = platform(flags);
    if flags.plan {
        print(&plan::text(&pipelines, platform.name(), flags.format == Format::Json)?)?;
        return Ok(0);
    }
    let missing = platform.preflight(&pipelines);
    anyhow::ensure!(missing.is_empty(), "this machine lacks what the run needs:\n  {}", missing.join("\n  "));

    let workspace = paths::workspace()?;
    let jobs = flags.jobs.map(usize::from).or_else(|| thread::available_parallelism().ok().map(usize::from));
    let config = Config {
        run: RunId::new(),
        home: Home::of_workspace(&workspace),
        revision: paths::revision(&workspace),
        workspace,
        pipelines,
        platform,
        command: command_line(),
        jobs: jobs.unwrap_or(1),
        keep: flags.keep,
        test_within: Duration::from_secs(flags.test_within),
        filter: flags.filter.clone(),
        began: began(),
    };
    let cancel = Cancel::new();
    supervise::install_signals(&cancel)?;
    let (outcome, records) = watched(flags, &config, &cancel)?;
    let summary = Summary::of(&records);
    let report = report::json::report(&summary, Some(outcome.head));
    let proof = report::proof::proof(&records, &summary, Some(outcome.head));
    write_reports(&outcome.dir, &summary, &report, &proof)?;
    if flags.format == Format::Json {
        print(&report)?;
    }
    github(&config, &summary)?;
    if outcome.kept {
        say(&kept(&config, &records));
    }
    let tests = summary.counts();
    if !flags.filter.is_empty()
        && outcome.verdict == Verdict::Passed
        && tests.passed + tests.failed + tests.skipped == 0
    {
        return Err(Usage(format!("no test matches `{}`; without a filter all run", flags.filter.join(" "))).into());
    }
    Ok(outcome.exit_code)
}

/// The platform that was asked for.
fn platform(flags: &E2e) -> Arc<dyn pipeline::Platform> {
    let ready_within = Duration::from_secs(flags.ready_within);
    match flags.platform {
        Platform::Local => Arc::new(Local { ready_within }),
        Platform::Kind => Arc::new(Kind::new(kind::Options {
            provider: flags.kind.provider.map(|provider| match provider {
                Provider::Docker => kind::Provider::Docker,
                Provider::Podman => kind::Provider::Podman,
            }),
            node_image: flags.kind.node_image.clone(),
            workers: flags.kind.workers,
            clusters: match (&flags.kind.reuse, flags.kind.shared_cluster) {
                (Some(name), _) => Clusters::Reuse(name.clone()),
                (None, true) => Clusters::Shared,
                (None, false) => Clusters::PerPipeline,
            },
            ready_within,
            creating: flags.kind.creating.map(usize::from),
        })),
    }
}

/// Prints the objects that the pipeline of a service becomes in a cluster.
pub(crate) fn render(flags: &Render) -> anyhow::Result<u8> {
    let pipelines = services::select(std::slice::from_ref(&flags.service), false)?;
    for pipeline in &services::with_database(pipelines, &flags.database)? {
        print(&kind::render(pipeline)?)?;
    }
    Ok(0)
}

/// Runs, and shows how it goes.
fn watched(flags: &E2e, config: &Config, cancel: &Cancel) -> anyhow::Result<(Outcome, Vec<Record>)> {
    let dir = config.home.runs().join(config.run.to_string());
    let here = env::current_dir().unwrap_or_default();
    let terminal = Mutex::new(Terminal::new(TerminalConfig {
        mode: console::mode(),
        verbosity: match (flags.quiet, flags.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        },
        color: console::color(),
        width: console::width(),
        run_dir: dir.strip_prefix(&here).unwrap_or(&dir).to_owned(),
    }));
    let shown = Arc::new((terminal, Mutex::new(Vec::new())));
    let reader = {
        let shown = Arc::clone(&shown);
        Box::new(move |record: &Record| {
            lock(&shown.1).push(record.clone());
            // Under the lock: what is said goes out in the order of the events.
            let mut terminal = lock(&shown.0);
            say(&terminal.on(record));
        })
    };
    let start = Instant::now();
    let done = Cancel::new();
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.wait(TICK) {
                let mut terminal = lock(&shown.0);
                say(&terminal.tick(start.elapsed()));
            }
        });
        let outcome = pipeline::run::run(config, Box::new(SystemClock::new()), cancel, vec![reader]);
        done.cancel();
        outcome
    })?;
    let records = std::mem::take(&mut *lock(&shown.1));
    let summary = Summary::of(&records);
    say(&lock(&shown.0).finish(&summary));
    Ok((outcome, records))
}

/// A lock that a panic has poisoned still guards text that can be shown.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_reports(dir: &Path, summary: &Summary, report: &str, proof: &str) -> anyhow::Result<()> {
    let mut junit = Vec::new();
    report::junit::write(summary, &mut junit)?;
    write_atomically(&dir.join("proof.json"), 0o644, proof.as_bytes())?;
    write_atomically(&dir.join("report.json"), 0o644, report.as_bytes())?;
    write_atomically(&dir.join("junit.xml"), 0o644, &junit)?;
    write_atomically(&dir.join("timings.html"), 0o644, report::timings::page(summary).as_bytes())
}

/// What GitHub Actions shows: annotations for failures, the log of each failed pipeline in a group, a summary.
fn github(config: &Config, summary: &Summary) -> anyhow::Result<()> {
    if env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
        say(&report::github::annotations(summary));
        if let Some(path) = env::var_os("GITHUB_STEP_SUMMARY") {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
            file.write_all(report::github::step_summary(summary).as_bytes())?;
        }
        let logs = config.home.runs().join(config.run.to_string()).join("logs");
        for pipeline in summary.pipelines.iter().filter(|pipeline| pipeline.why().is_some()) {
            let entries = std::fs::read_dir(logs.join(&pipeline.service)).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                let log = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
                say(&report::github::replay(&format!("{} of {}", path.display(), pipeline.service), &log));
            }
        }
    }
    Ok(())
}

/// How what was kept is reached and ended.
fn kept(config: &Config, records: &[Record]) -> String {
    let mut text = String::from("\nleft running:\n");
    for record in records {
        if let Event::Endpoint { service, workload, url, .. } = &record.event {
            text.push_str(&format!("  {service:24} {workload:24} {url}\n"));
        }
    }
    let dir = config.home.runs().join(config.run.to_string()).join("work");
    text.push_str(&format!("tokens and addresses: {}/<service>/run.json\n", dir.display()));
    text.push_str(&format!("to end it: cargo xtask clean {}\n", config.run));
    text
}

/// The command line, as it can be pasted.
fn command_line() -> String {
    let arguments = env::args_os().skip(1).map(|argument| supervise::shell_quote(&argument));
    ["cargo xtask".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" ")
}
