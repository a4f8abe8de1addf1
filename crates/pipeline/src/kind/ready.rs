//! Waits until every workload of a place is ready and answers, or one cannot become so.

use std::time::Duration;

use super::diagnose::{self, Dead, State};
use super::place::{KindPlace, answers, node_stopped, pod_of};
use crate::event::Event;
use crate::platform::{Deployable, Instance};
use crate::step::Step;
use crate::workload::Workload;

/// The longest sleep between two looks: so late a cancellation is heeded. What the cluster says wakes it at once.
const TICK: Duration = Duration::from_millis(50);
/// How often watches may end with an error before the API server counts as gone.
const MOST_FAULTS: u32 = 20;

/// A workload that is not ready yet.
struct Pending<'a> {
    workload: &'a Workload,
    instance: &'a mut Instance,
    /// What it waits for.
    lacks: String,
    /// Since when it is in a state that it may not stay in.
    suspect_since: Option<Duration>,
}

/// Waits for all of them at once.
pub(super) fn wait(
    place: &KindPlace,
    step: &Step,
    workloads: &[Deployable],
    instances: &mut [Instance],
) -> anyhow::Result<()> {
    let start = step.recorder().elapsed();
    let mut pending: Vec<_> = workloads
        .iter()
        .zip(instances)
        .map(|(deployable, instance)| Pending {
            workload: &deployable.workload,
            instance,
            lacks: String::new(),
            suspect_since: None,
        })
        .collect();
    let mut faults = 0;
    loop {
        step.cancel().check()?;
        let waited = step.recorder().elapsed().saturating_sub(start);
        let states: Vec<_> = {
            let view = place.watch.next(TICK);
            pending.iter().map(|one| diagnose::workload(one.workload.name(), &view)).collect()
        };
        let mut still = Vec::new();
        for (mut one, state) in pending.into_iter().zip(states) {
            match one.look(place, state, waited) {
                Ok(true) => place.ready(step, one.instance, waited),
                Ok(false) => still.push(one),
                Err(dead) => return Err(place.failed(*dead).into()),
            }
        }
        pending = still;
        if pending.is_empty() {
            return Ok(());
        }
        if let Some(node) = place.cluster.nodes.iter().find(|node| node.has_stopped()) {
            return Err(place.failed(node_stopped(&node.name)).into());
        }
        if let Some(fault) = place.watch.renew()? {
            faults += 1;
            if faults > MOST_FAULTS {
                let cause = format!("the API server of the cluster `{}` does not answer: {fault}", place.cluster.name);
                return Err(place.failed(Dead::because(cause, "look at the journal of its node in the logs")).into());
            }
            step.cancel().wait(TICK);
        }
        if waited > place.ready_within {
            return Err(place.failed(too_late(place, &pending)).into());
        }
    }
}

impl Pending<'_> {
    /// Takes what the cluster says of it; gives whether it is ready.
    fn look(&mut self, place: &KindPlace, state: State, waited: Duration) -> Result<bool, Box<Dead>> {
        let since = self.suspect_since.take();
        match state {
            State::Dead(dead) => return Err(dead),
            State::Suspect(dead, patience) => {
                let since = since.unwrap_or(waited);
                if waited.saturating_sub(since) > patience {
                    return Err(dead);
                }
                self.suspect_since = Some(since);
                self.lacks = dead.failure.cause;
            }
            State::Waiting(what) => {
                // What runs is asked itself: the kubelet asks once a second, and tells a second later.
                let name = self.workload.name();
                if place.can_be_asked(name) && self.answers(place).is_ok() && place.is_current(name) {
                    return Ok(true);
                }
                self.lacks = what;
            }
            State::Ready => match self.answers(place) {
                Ok(()) => return Ok(true),
                // The way from outside may open a second or two after the pod is ready.
                Err(answer) => self.lacks = format!("its pod is ready, but from outside it {answer}"),
            },
        }
        Ok(false)
    }

    /// Whether it answers as those who test it will ask.
    fn answers(&mut self, place: &KindPlace) -> Result<(), String> {
        place.open(self.workload, self.instance).map_err(|error| format!("{error:#}"))?;
        answers(self.instance, self.workload.ready_path())
    }
}

/// What is said when the time is over: of each that is not ready, what the cluster says and what it answers itself.
fn too_late(place: &KindPlace, pending: &[Pending]) -> Dead {
    let told = pending.iter().map(|one| {
        let path = one.workload.ready_path();
        let answer = match answers(one.instance, path) {
            Err(answer) => format!(" (`{}` {answer})", path.unwrap_or("its port")),
            Ok(()) => String::new(),
        };
        format!("`{}`: {}{answer}", one.workload.name(), one.lacks)
    });
    let told: Vec<_> = told.collect();
    let cause = format!("not ready within {} s: {}", place.ready_within.as_secs(), told.join("; "));
    let hint = "the log of the workload says what it waits for; `--ready-within SECONDS` gives it longer";
    let first = pending.first().and_then(|one| pod_of(one.workload.name(), &place.watch.view()));
    Dead { log_of: first.map(|(pod, container, _)| (pod, container, false)), ..Dead::because(cause, hint) }
}

impl KindPlace {
    fn ready(&self, step: &Step, instance: &mut Instance, waited: Duration) {
        self.note_start(instance);
        step.event(Event::Ready {
            service: step.service().to_owned(),
            workload: instance.workload.clone(),
            waited_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
        });
    }
}
