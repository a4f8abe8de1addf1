//! What a run on a cluster of its own costs, against the cluster alone; and where its time goes.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pipeline::rundir::Home;
use serde_json::Value;

use super::Cluster;
use crate::{Figure, Lab, Limit, median};

const ROUNDS: usize = 3;
const SERVICE: &str = "signalprocessing";

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let Some(engine) = super::engine()? else { return Ok(Vec::new()) };
    let e2e = |arguments: &[&str]| -> anyhow::Result<Duration> {
        lab.time(lab.xtask(&lab.workspace)?.args(["e2e", "--quiet", SERVICE]).args(arguments.iter().copied()))
    };
    // Builds what is not there yet.
    e2e(&[])?;
    let (mut runs, mut bare, mut created) = (Vec::new(), Vec::new(), Vec::new());
    let mut phases = Phases::default();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let cluster = Cluster::create(lab, engine)?;
        let create = start.elapsed();
        bare.push(create + cluster.delete()?);
        created.push(create);
        runs.push(e2e(&["--platform", "kind"])?);
        phases.add(&lab.home())?;
    }
    let (run, bare, created) = (median(runs), median(bare), median(created));
    let mut figures = vec![Figure {
        what: format!("`e2e {SERVICE} --platform kind` to bare `kind create` and `kind delete`"),
        seen: run / bare,
        limit: Limit::AtMost(1.7),
        unit: "",
        from: format!(
            "{run:.1} s to {bare:.1} s ({created:.1} + {:.1}), medians of {ROUNDS}, everything built",
            bare - created
        ),
    }];
    figures.extend(phases.figures("a run on a fresh cluster"));
    Ok(figures)
}

/// The times of the phases of runs, by number and name.
#[derive(Default)]
pub(super) struct Phases(BTreeMap<(u64, String), Vec<Duration>>);

impl Phases {
    /// Adds those of the last run.
    pub(super) fn add(&mut self, home: &Home) -> anyhow::Result<()> {
        let path = home.find(None)?.join("report.json");
        let what = || format!("read `{}`", path.display());
        let report: Value = serde_json::from_slice(&fs::read(&path).with_context(what)?).with_context(what)?;
        for phase in report["pipelines"][0]["phases"].as_array().context("it has no phases").with_context(what)? {
            let number = |name: &str| phase[name].as_u64().with_context(|| format!("a phase has no `{name}`"));
            let took = Duration::from_millis(number("end_ms")?.saturating_sub(number("start_ms")?));
            let name = phase["name"].as_str().context("a phase has no name")?.to_owned();
            self.0.entry((number("phase")?, name)).or_default().push(took);
        }
        Ok(())
    }

    pub(super) fn figures(self, what: &str) -> impl Iterator<Item = Figure> {
        self.0.into_iter().map(move |((number, name), times)| Figure {
            what: format!("phase {number} of {what}, {name}"),
            from: format!("from its first step to its last, median of {}; phases overlap", times.len()),
            seen: median(times),
            limit: Limit::Any,
            unit: " s",
        })
    }
}
