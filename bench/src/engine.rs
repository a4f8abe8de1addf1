//! What the engine itself costs: pipelines whose steps do nothing.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use image::RunId;
use pipeline::event::Phase;
use pipeline::recorder::{Recorder, SystemClock};
use pipeline::step::Steps;

use super::{Figure, Lab, Limit, median};

const STEPS: usize = 10;
const MANY: u32 = 200;
const FEW: u32 = 50;
const ROUNDS: usize = 3;

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let (mut many, mut few) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        few.push(pipelines(lab, FEW)?);
        many.push(pipelines(lab, MANY)?);
    }
    let (many, few) = (median(many), median(few));
    let each = many * 1000.0 / f64::from(MANY);
    Ok(vec![
        Figure {
            what: format!("{MANY} pipelines of {STEPS} empty steps, each"),
            seen: each,
            limit: Limit::AtMost(50.0),
            unit: " ms",
            from: format!("{:.1} ms together", many * 1000.0),
        },
        Figure {
            what: format!("cost of a pipeline among {MANY} to one among {FEW}"),
            seen: each / (few * 1000.0 / f64::from(FEW)),
            limit: Limit::AtMost(2.0),
            unit: "",
            from: "1 is linear".to_owned(),
        },
    ])
}

fn pipelines(lab: &Lab, count: u32) -> anyhow::Result<Duration> {
    let run = RunId::new();
    let path = lab.dir.join(format!("{run}.jsonl"));
    let start = Instant::now();
    let recorder = Arc::new(Recorder::create(&path, &run, Box::new(SystemClock::new()), Vec::new())?);
    let steps = Steps::of_run(Arc::clone(&recorder), lab.cancel.clone());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                let steps = steps.of_pipeline(&format!("empty-{number}"));
                scope.spawn(move || {
                    (0..STEPS).try_for_each(|step| steps.step(Phase::Build, format!("step {step}"), |_| Ok(())))
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    recorder.close()?;
    let took = start.elapsed();
    fs::remove_file(path)?;
    Ok(took)
}
