//! A case: a pipeline, what is done to it and when, and how that must end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use pipeline::event::{Event, Link, LinkVerdict, Moment, StepOutcome, Verdict};
use pipeline::{Pipeline, Platform};
use supervise::Cancel;

use crate::cluster::Cluster;
use crate::kit::{Scene, lock, start};
use crate::ran::Ran;
use crate::room::Room;
use crate::stage::{Ground, Stage, When};

/// What is done, at every moment of the pipeline's life.
pub(crate) type Act = Box<dyn Fn(When, &Cluster, &mut Ground) + Send + Sync>;

/// A case.
pub(crate) struct Case {
    /// That of the pipeline as well.
    pub(crate) name: &'static str,
    pub(crate) pipeline: Pipeline,
    pub(crate) act: Act,
    pub(crate) ends: Ends,
}

/// How it must end.
pub(crate) enum Ends {
    /// It passes, and every link was looked at so often.
    Passes(usize),
    /// The wait ends and says why.
    Told(Told),
    /// The proof before the tests finds this link of this workload broken.
    Proof(Link, &'static str),
    /// The proof after the tests does.
    After(Link, &'static str),
}

/// What the user is told, in parts.
pub(crate) struct Told {
    /// What the cluster says as soon as it knows; nothing, if it is the deadline that ends the wait.
    pub(crate) known: Option<&'static str>,
    pub(crate) cause: &'static [&'static str],
    pub(crate) evidence: &'static str,
    pub(crate) hint: &'static str,
}

/// Nothing is done.
pub(crate) fn nothing() -> Act {
    Box::new(|_, _, _| {})
}

/// Does something once, at this moment.
pub(crate) fn at(when: When, act: impl Fn(&Cluster, &mut Ground) + Send + Sync + 'static) -> Act {
    let once = Once::new();
    Box::new(move |now, cluster, ground| {
        if now == when {
            once.call_once(|| act(cluster, ground));
        }
    })
}

/// The most that the tool may take from when the cluster knows until it has told. It takes less than ten seconds; more are for
/// a machine that does something else meanwhile, and still far from the deadline, at which it would give up anyway.
const REACTION: Duration = Duration::from_secs(40);

/// What was found of the cases.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) faults: Vec<String>,
    /// Name of the case, what was told, and seconds since the cluster knew.
    pub(crate) told: Vec<(String, String, f64)>,
}

impl Findings {
    /// Does something and keeps a panic in it for the end.
    pub(crate) fn of<T>(&mut self, what: &str, work: impl FnOnce() -> T) -> Option<T> {
        // What is half done is only shown.
        let done = catch_unwind(AssertUnwindSafe(work));
        if done.is_err() {
            self.faults.push(format!("{what}: it panicked, see above"));
        }
        done.ok()
    }

    pub(crate) fn add(&mut self, other: Findings) {
        self.faults.extend(other.faults);
        self.told.extend(other.told);
    }
}

/// Runs cases in one run, as many at once as there is room.
pub(crate) fn run(
    cluster: &Arc<Cluster>,
    scene: &Scene,
    room: &Arc<Room>,
    within: Duration,
    cancel: &Cancel,
    cases: Vec<Case>,
) -> (Findings, Ran) {
    let (kind, rooms) = (cluster.platform(within), Arc::clone(room));
    let stage = Stage::before(
        kind.name(),
        Box::new(move |step, site, _| {
            let inside = rooms.enter();
            Ok((kind.prepare(step, site)?, Box::new(inside)))
        }),
    );
    let mut pipelines = Vec::new();
    let mut expected = Vec::new();
    for Case { name, pipeline, act, ends } in cases {
        pipelines.push(pipeline);
        let cluster = Arc::clone(cluster);
        stage.act(name, move |when, ground| act(when, &cluster, ground));
        expected.push((name, ends));
    }
    let waits = Arc::new(Mutex::new(Waits::default()));
    let (mut watch, noting) = (stage.watch(), Arc::clone(&waits));
    let ran = start(&scene.config_on(Arc::new(stage.clone()), pipelines), cancel, move |record| {
        lock(&noting).note(&record.event);
        watch(record);
    });
    let ran = ran.unwrap();
    let mut findings = Findings::default();
    for (name, ends) in expected {
        let judged = findings.of(name, || match ends {
            Ends::Passes(looks) => passes(&ran, name, looks).map(|()| None),
            Ends::Proof(link, workload) => proof(&ran, name, (link, Moment::BeforeTests), workload).map(|()| None),
            Ends::After(link, workload) => proof(&ran, name, (link, Moment::AfterTests), workload).map(|()| None),
            Ends::Told(told) => told_why(&ran, name, &told).and_then(|cause| {
                let wait =
                    lock(&waits).of.get(name).copied().ok_or_else(|| format!("{name}: it was not waited for"))?;
                let known = match told.known {
                    Some(words) => cluster
                        .said(&stage.ground(name), words)
                        .ok_or_else(|| format!("{name}: nobody saw `{words}` of the cluster"))?,
                    None => wait.0 + within,
                };
                let reaction = wait.1.saturating_duration_since(known);
                if reaction > REACTION {
                    return Err(format!("{name}: told after {reaction:?}: {cause}"));
                }
                Ok(Some((name.to_owned(), cause, reaction.as_secs_f64())))
            }),
        });
        match judged {
            Some(Ok(told)) => findings.told.extend(told),
            failed => {
                findings.faults.extend(failed.and_then(Result::err));
                let (text, of) = (ran.text(), format!("{name:?}"));
                findings.faults.extend(text.lines().filter(|line| line.contains(&of)).map(str::to_owned));
            }
        }
    }
    (findings, ran)
}

/// When each pipeline's workloads began to be waited for, and when that ended.
#[derive(Default)]
struct Waits {
    steps: BTreeMap<u64, String>,
    of: BTreeMap<String, (Instant, Instant)>,
}

impl Waits {
    fn note(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::StepStarted { step, service: Some(service), name, .. } if name == "deploy and wait" => {
                self.steps.insert(*step, service.clone());
            }
            Event::Deployed { service, .. } => drop(self.of.insert(service.clone(), (now, now))),
            Event::StepEnded { step, .. } => {
                let service = self.steps.remove(step);
                if let Some(wait) = service.and_then(|service| self.of.get_mut(&service)) {
                    wait.1 = now;
                }
            }
            _ => {}
        }
    }
}

fn passes(ran: &Ran, name: &str, looks: usize) -> Result<(), String> {
    let proofs = ran.proofs(name);
    let holds = proofs.iter().filter(|(_, _, verdict)| *verdict == LinkVerdict::Holds).count();
    // The three that only what runs can show are looked at again after the tests.
    match ran.ended(name) {
        (Verdict::Passed, _) if (proofs.len(), holds) == (9 * looks, 9 * looks) => Ok(()),
        (verdict, cause) => Err(format!("{name}: {verdict:?} {cause}, and {holds} of {} links hold", proofs.len())),
    }
}

/// That the pipeline stopped while it was waited for, and why, in the words that are expected.
fn told_why(ran: &Ran, name: &str, told: &Told) -> Result<String, String> {
    let failed = stopped_in(ran, name)?;
    let why = ran.why(name);
    let lacks = |what: &str, words: &str, text: &str| match text.contains(words) {
        true => Ok(()),
        false => Err(format!("{name}: `{words}` is not in its {what}: {why:#?}")),
    };
    told.cause.iter().try_for_each(|words| lacks("cause", words, &why.cause))?;
    lacks("evidence", told.evidence, &why.evidence.join("\n"))?;
    lacks("hint", told.hint, &why.hint)?;
    match failed.as_str() {
        "deploy and wait" => Ok(why.cause),
        _ => Err(format!("{name}: stopped in `{failed}`: {}", why.cause)),
    }
}

/// That the pipeline stopped at this link of this workload, and before the tests unless only they show it.
fn proof(ran: &Ran, name: &str, (link, moment): (Link, Moment), workload: &str) -> Result<(), String> {
    let failed = stopped_in(ran, name)?;
    let why = ran.why(name);
    let broken = ran.broken(name);
    if broken != Some((link, moment)) {
        return Err(format!("{name}: stopped in `{failed}`, broken at {broken:?} and not at {link:?}: {why:#?}"));
    }
    let said = format!("the proof is broken at {} of `{workload}`", link.describe());
    // Both values and the remedy; the last words of what has ended may follow.
    let values = matches!(&why.evidence[..], [expected, found, ..]
        if expected.starts_with("expected ") && found.starts_with("found "));
    if !why.cause.starts_with(&said) || !values || why.hint.is_empty() {
        return Err(format!("{name}: `{said}` is not what is said: {why:#?}"));
    }
    let tests = ran.tests(name).len();
    match (moment == Moment::BeforeTests) == (tests == 0) {
        true => Ok(()),
        false => Err(format!("{name}: {tests} tests ran")),
    }
}

/// The step in which a pipeline that could not run stopped.
fn stopped_in(ran: &Ran, name: &str) -> Result<String, String> {
    let (verdict, cause) = ran.ended(name);
    if verdict != Verdict::Error {
        return Err(format!("{name}: {verdict:?} {cause}"));
    }
    let mut steps = ran.steps().into_iter();
    let failed = steps.find(|step| step.service.as_deref() == Some(name) && step.outcome == StepOutcome::Failed);
    failed.map(|step| step.name).ok_or_else(|| format!("{name}: no step failed"))
}
