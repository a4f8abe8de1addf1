//! Waits until every workload of a place is ready, or one cannot become so.

use std::path::PathBuf;
use std::time::Duration;

use crate::Failure;
use crate::event::Event;
use crate::platform::{Deployable, Instance};
use crate::probe;
use crate::step::Step;

/// The first pause between two looks at a workload that answers that it is not ready; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Waits for all of them at once. The sockets are open before the processes run, so a request simply waits until its server
/// takes it; a process that ends meanwhile resets it, and ends the wait.
pub(super) fn wait(
    step: &Step,
    workloads: &[Deployable],
    instances: &[Instance],
    limit: Duration,
    exited: impl Fn(&str) -> Option<Failure>,
    log: impl Fn(&str) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<()> {
    let start = step.recorder().elapsed();
    let mut pending: Vec<_> =
        workloads.iter().zip(instances).map(|(deployable, instance)| (deployable, instance, String::new())).collect();
    let mut pause = FIRST_PAUSE;
    loop {
        let waited = step.recorder().elapsed().saturating_sub(start);
        for (deployable, instance, answer) in &mut pending {
            *answer = match probe::get(instance, path(deployable)) {
                Ok(response) if response.status == 200 => {
                    step.event(Event::Ready {
                        service: step.service().to_owned(),
                        workload: instance.workload.clone(),
                        waited_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
                    });
                    String::new()
                }
                Ok(response) => format!("{} {}", response.status, response.body.trim()),
                Err(error) => format!("no answer: {error}"),
            };
        }
        pending.retain(|(_, _, answer)| !answer.is_empty());
        for instance in instances {
            if let Some(failure) = exited(&instance.workload) {
                return Err(failure.into());
            }
        }
        let Some((deployable, instance, answer)) = pending.first() else { return Ok(()) };
        if waited > limit {
            let failure = Failure::new(format!(
                "`{}` did not become ready within {} s: `{}` answers {answer}",
                instance.workload,
                limit.as_secs(),
                path(deployable)
            ));
            let log = log(&instance.workload)?;
            return Err(failure
                .evidence(supervise::tail_of(&log))
                .log(log)
                .hint("the log of the workload says what it waits for; `--ready-within SECONDS` gives it longer")
                .into());
        }
        step.cancel().wait(pause);
        step.cancel().check()?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Its readiness path: what has none does not come here.
fn path(deployable: &Deployable) -> &str {
    deployable.workload.ready_path().unwrap_or_default()
}
