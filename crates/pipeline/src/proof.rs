//! The proof: what runs is what was built from the source as it is.
//!
//! Every link of the chain is looked at in every run, before the first test; what only the running program can show is looked
//! at again after the last one. The tests take a [`Proved`], which nothing else makes.

use std::thread;

use anyhow::Context;
use image::{Handover, NotAsBuilt, Source};

use crate::Failure;
use crate::event::{Event, Link, LinkVerdict, Moment};
use crate::platform::{Deployable, Deployed, Instance, Place, Seen, UNREADABLE};
use crate::probe;
use crate::step::{Step, panicked};
use crate::workload::Workload;

/// Tells the fingerprint of a workload's source as it is now, against what it was.
pub type Fingerprint<'a> = &'a (dyn Fn(&Workload, &Source) -> anyhow::Result<Seen> + Sync);

/// Something that runs and was proved.
pub struct Proved(Deployed);

impl Proved {
    /// What runs.
    pub fn deployed(&self) -> &Deployed {
        &self.0
    }

    /// After the tests: looks once more at the links that can change under them.
    ///
    /// # Errors
    /// The first broken link.
    pub fn still_holds(&self, place: &dyn Place, step: &Step) -> anyhow::Result<()> {
        check(place, step, Moment::AfterTests, &self.0, |deployable, instance| running(place, deployable, instance))
    }
}

/// Looks at every link of everything that was deployed.
///
/// # Errors
/// The first broken link, in the order of the chain.
pub fn prove(place: &dyn Place, step: &Step, deployed: Deployed, now: Fingerprint<'_>) -> anyhow::Result<Proved> {
    check(place, step, Moment::BeforeTests, &deployed, |deployable, instance| {
        let image = deployable.image.image();
        let fingerprint = image.source().fingerprint;
        let source = now(&deployable.workload, image.source())
            .unwrap_or_else(|error| Seen::broken(fingerprint, format!("{error:#}")));
        // What runs is asked while it is read back what the place holds: each waits for other programs.
        let (held, running) = thread::scope(|scope| {
            let held = scope.spawn(|| held(place, deployable));
            let running = running(place, deployable, instance);
            (held.join().map_err(panicked), running)
        });
        let held =
            held.unwrap_or_else(|error| Seen::broken(deployable.image.image().config_digest(), format!("{error:#}")));
        let mut links = vec![
            (Link::SourceToImage, source),
            (Link::ImageToExecutable, section(deployable)),
            (Link::ImageToPlace, held),
        ];
        links.extend(running);
        links
    })?;
    Ok(Proved(deployed))
}

/// The links that can be looked at as long as the workload runs.
fn running(place: &dyn Place, deployable: &Deployable, instance: &Instance) -> Vec<(Link, Seen)> {
    let sight = place.look(instance, &deployable.image);
    vec![
        (Link::PlaceToContainer, sight.place_to_container),
        (Link::ContainerToProcess, sight.container_to_process),
        (Link::ProcessToEndpoint, endpoint(deployable, instance)),
    ]
}

/// Looks at all instances at once, and records what was seen in their order.
fn check(
    place: &dyn Place,
    step: &Step,
    moment: Moment,
    deployed: &Deployed,
    look: impl Fn(&Deployable, &Instance) -> Vec<(Link, Seen)> + Sync,
) -> anyhow::Result<()> {
    let seen = thread::scope(|scope| {
        let threads: Vec<_> = deployed
            .instances()
            .map(|(deployable, instance)| (instance, scope.spawn(|| look(deployable, instance))))
            .collect();
        let join = |(instance, thread): (_, thread::ScopedJoinHandle<'_, _>)| {
            anyhow::Ok((instance, thread.join().map_err(panicked)?))
        };
        threads.into_iter().map(join).collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut check = Check { place, step, moment, broken: None };
    for (instance, links) in seen {
        for (link, seen) in links {
            check.note(link, instance, seen);
        }
    }
    check.result()
}

struct Check<'a> {
    place: &'a dyn Place,
    step: &'a Step,
    moment: Moment,
    broken: Option<Failure>,
}

impl Check<'_> {
    fn note(&mut self, link: Link, instance: &Instance, seen: Seen) {
        // A look that was cancelled has seen nothing.
        if seen.verdict == LinkVerdict::Broken && self.step.cancel().is_cancelled() {
            return;
        }
        if seen.verdict == LinkVerdict::Broken && self.broken.is_none() {
            self.broken = Some(failure(link, &instance.workload, &seen, self.place.down(instance)));
        }
        record(self.step, &instance.workload, link, self.moment, seen);
    }

    fn result(self) -> anyhow::Result<()> {
        self.step.cancel().check()?;
        self.broken.map_or(Ok(()), |failure| Err(failure.into()))
    }
}

fn record(step: &Step, workload: &str, link: Link, moment: Moment, seen: Seen) {
    step.event(Event::Proof {
        service: step.service().to_owned(),
        workload: workload.to_owned(),
        link,
        moment,
        verdict: seen.verdict,
        expected: seen.expected,
        found: seen.found,
    });
}

/// What was built, packed, loaded or unpacked and is not what it should be has broken its link already; any other error stays
/// what it is.
pub(crate) fn not_as_built(step: &Step, workload: &str, error: anyhow::Error) -> anyhow::Error {
    let Some(NotAsBuilt { handover, cause, expected, found, remedy }) = error.downcast_ref() else { return error };
    if step.cancel().is_cancelled() {
        return error;
    }
    let link = match handover {
        Handover::Building => Link::SourceToImage,
        Handover::Packing => Link::ImageToExecutable,
        Handover::Loading => Link::ImageToPlace,
        Handover::Unpacking => Link::PlaceToContainer,
    };
    let seen = match found {
        Ok(found) => Seen::differs(expected, found),
        Err(why) => Seen::broken(expected, why),
    };
    let failure = failure(link, workload, &seen, Some(Failure::new(cause.clone()).hint(*remedy)));
    record(step, workload, link, Moment::BeforeTests, seen);
    failure.into()
}

/// What has ended by itself (`down`) tells more by its last words than by its absence.
fn failure(link: Link, workload: &str, seen: &Seen, down: Option<Failure>) -> Failure {
    let (cause, remedy) = match link {
        Link::SourceToImage => {
            ("the source was edited after the image was built", "run again: the next run builds what is there now")
        }
        Link::ImageToExecutable => (
            "the executable in the image is not the one that its label names",
            "remove `target/e2e/build` and run again",
        ),
        Link::ImageToPlace => (
            "something else was loaded under the same name, or a blob is damaged",
            "look for another program that writes there, and run again",
        ),
        Link::PlaceToContainer => {
            ("the workload was started from something else", "look for what restarted it, and run again")
        }
        Link::ContainerToProcess => ("the executable was replaced", "look for what replaced it, and run again"),
        Link::ProcessToEndpoint => {
            ("another program answers on the address", "look for what answers there, and run again")
        }
    };
    let cause = match &down {
        Some(down) => down.cause.as_str(),
        None if seen.found.starts_with(UNREADABLE) => seen.found.as_str(),
        None => cause,
    };
    let cause = format!("the proof is broken at {} of `{workload}`: {cause}", link.describe());
    let mut evidence = vec![format!("expected {}", seen.expected), format!("found    {}", seen.found)];
    let down = down.unwrap_or_default();
    evidence.extend(down.evidence);
    Failure { cause, evidence, hint: down.hint.or_else(|| Some(remedy.to_owned())), log: down.log }
}

/// The fingerprint in the executable, as it was packed, against the image's.
fn section(deployable: &Deployable) -> Seen {
    let image = deployable.image.image();
    let expected = image.source().fingerprint;
    match image.executable_fingerprint() {
        Ok(Some(found)) => Seen::compare(expected, found),
        Ok(None) => Seen::unchecked(expected, "an executable that an engine packed carries no fingerprint"),
        Err(error) => Seen::broken(expected, format!("{error:#}")),
    }
}

/// What the place says it holds under the tag, read anew, against what was built.
fn held(place: &dyn Place, deployable: &Deployable) -> Seen {
    let image = deployable.image.image();
    let expected = image.config_digest();
    match place.holder(&deployable.workload).held(image.reference()) {
        Ok(held) => match held.complete {
            Ok(()) => Seen::compare(expected, held.config_digest),
            Err(why) => Seen::broken(expected, why),
        },
        Err(error) => Seen::broken(expected, format!("{error:#}")),
    }
}

/// What answers on the endpoint says of itself.
fn endpoint(deployable: &Deployable, instance: &Instance) -> Seen {
    let fingerprint = deployable.image.image().source().fingerprint;
    let told = |fingerprint: &str, instance: &str| format!("fingerprint {fingerprint} instance {instance}");
    let identity = instance.identity.as_deref().unwrap_or("any");
    let expected = told(&fingerprint.to_string(), identity);
    let Some(path) = deployable.workload.version_path() else {
        return Seen::unchecked(expected, "the workload names no endpoint that tells its version");
    };
    let answer = ask(instance, path);
    match answer {
        Ok((found, found_instance)) => {
            let found_instance = if instance.identity.is_some() { found_instance } else { "any".to_owned() };
            Seen::compare(expected, told(&found, &found_instance))
        }
        Err(error) => Seen::broken(expected, format!("{error:#}")),
    }
}

fn ask(instance: &Instance, path: &str) -> anyhow::Result<(String, String)> {
    let answer =
        probe::get(instance, path).map_err(anyhow::Error::msg).with_context(|| format!("`{path}` gives no answer"))?;
    anyhow::ensure!(answer.status == 200, "`{path}` answers {} {}", answer.status, answer.body.trim());
    let value: serde_json::Value =
        serde_json::from_str(&answer.body).with_context(|| format!("`{path}` answers no JSON"))?;
    let text = |name: &str| value[name].as_str().unwrap_or("(none)").to_owned();
    Ok((text("source_fingerprint"), text("instance")))
}
