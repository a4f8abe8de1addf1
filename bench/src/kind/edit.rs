//! What an edit of DataStorage costs with a cluster that stays, against the same on `local`.

use std::time::Duration;

use pipeline::rundir::Home;

use super::Cluster;
use super::fresh::Phases;
use crate::edit::{EDITED, SERVICE, copy_sources, edit};
use crate::{Figure, Lab, Limit, median};

const ROUNDS: usize = 5;

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let Some(engine) = super::engine()? else { return Ok(Vec::new()) };
    let copy = lab.dir.join("copy");
    copy_sources(&lab.workspace, &copy)?;
    let cluster = Cluster::create(lab, engine)?;
    let e2e = |arguments: &[&str]| -> anyhow::Result<Duration> {
        let command = lab.xtask(&copy)?.args(["e2e", "--quiet", SERVICE]).args(arguments.iter().copied());
        lab.time(command.env("CARGO_TARGET_DIR", copy.join("target")))
    };
    let reuse = ["--platform", "kind", "--reuse", cluster.name()];
    // Builds what is not there yet, and loads what an edit does not change.
    e2e(&[])?;
    e2e(&reuse)?;
    let (mut kind, mut local, mut phases) = (Vec::new(), Vec::new(), Phases::default());
    for round in 0..ROUNDS {
        edit(&copy.join(EDITED), 2 * round)?;
        local.push(e2e(&[])?);
        edit(&copy.join(EDITED), 2 * round + 1)?;
        kind.push(e2e(&reuse)?);
        phases.add(&Home::in_target(&copy.join("target")))?;
    }
    let (kind, local) = (median(kind), median(local));
    let mut figures = vec![Figure {
        what: "a one-line edit of DataStorage → green with `--reuse`, to the same on `local`".to_owned(),
        seen: kind / local,
        limit: Limit::AtMost(3.0),
        unit: "",
        from: format!("`e2e {SERVICE}`, {kind:.2} s to {local:.2} s, medians of {ROUNDS}"),
    }];
    figures.extend(phases.figures("a run after an edit"));
    Ok(figures)
}
