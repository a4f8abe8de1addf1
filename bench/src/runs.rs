//! What a run costs when nothing has changed: all services against one, memory, and the proof's share.

use std::fs;

use anyhow::Context;
use pipeline::event::{Event, Record};

use super::{Figure, Lab, Limit, median};

const ROUNDS: usize = 5;
const ONE: &str = "signalprocessing";

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let e2e = |what: &str| -> anyhow::Result<_> { lab.time(lab.xtask(&lab.workspace)?.args(["e2e", "--quiet", what])) };
    // The first builds what is not there yet.
    e2e("--all")?;
    let (mut all, mut one) = (Vec::new(), Vec::new());
    let (mut memory, mut proof) = (0, Vec::new());
    for _ in 0..ROUNDS {
        all.push(e2e("--all")?);
        memory = memory.max(peak_memory(&latest(lab)?).context("the record of the run does not tell its peak memory")?);
        one.push(e2e(ONE)?);
        proof.push(proof_time(&latest(lab)?));
    }
    proof.sort_unstable();
    let proof_ms = f64::from(u32::try_from(proof[ROUNDS / 2])?) / 1000.0;
    let (all, one) = (median(all), median(one));
    Ok(vec![
        Figure {
            what: format!("`e2e --all` with nothing changed to `e2e {ONE}`"),
            seen: all / one,
            limit: Limit::AtMost(1.3),
            unit: "",
            from: format!("{all:.2} s to {one:.2} s, medians of {ROUNDS}"),
        },
        Figure {
            what: "peak memory of the tool itself in `e2e --all`".to_owned(),
            seen: f64::from(u32::try_from(memory / 1024)?) / 1024.0,
            limit: Limit::AtMost(60.0),
            unit: " MB",
            from: String::new(),
        },
        Figure {
            what: format!("the proof in `e2e {ONE}`"),
            seen: proof_ms,
            limit: Limit::AtMost(150.0),
            unit: " ms",
            from: format!("{:.0} % of the run", proof_ms / one / 10.0),
        },
    ])
}

/// The record of the last run.
pub(super) fn latest(lab: &Lab) -> anyhow::Result<Vec<Record>> {
    let path = lab.home().find(None)?.join("events.jsonl");
    let text = fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("read `{}`", path.display()))).collect()
}

fn peak_memory(records: &[Record]) -> Option<u64> {
    records.iter().rev().find_map(|record| match record.event {
        Event::RunEnded { peak_memory, .. } => peak_memory,
        _ => None,
    })
}

/// Time of the steps that prove, and of the fingerprints, in microseconds.
fn proof_time(records: &[Record]) -> u64 {
    let hashing = records.iter().filter_map(|record| match record.event {
        // One value for all programs of the build.
        Event::Fingerprinted { took_us, .. } => Some(took_us),
        _ => None,
    });
    hashing.max().unwrap_or(0) + time_of(records, |name| name.starts_with("prove "))
}

/// The time of all steps whose name is wanted, in microseconds.
pub(super) fn time_of(records: &[Record], wanted: impl Fn(&str) -> bool) -> u64 {
    let starts = records.iter().filter_map(|record| match &record.event {
        Event::StepStarted { step, name, .. } if wanted(name) => Some((*step, record.us)),
        _ => None,
    });
    let ends = |id: u64| {
        records.iter().find_map(|record| match record.event {
            Event::StepEnded { step, .. } if step == id => Some(record.us),
            _ => None,
        })
    };
    starts.filter_map(|(step, start)| Some(ends(step)?.saturating_sub(start))).sum()
}
