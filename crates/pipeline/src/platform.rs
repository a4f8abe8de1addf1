//! The seam between pipelines and the places where they run.

use std::sync::Arc;

use anyhow::Context;
use image::{Engine, Holder, LoadedImage};

use crate::event::{Event, LinkVerdict};
use crate::ledger::Ledger;
use crate::rundir::RunDir;
use crate::secrets::Secrets;
use crate::step::Step;
use crate::workload::{Pipeline, Workload};

/// A kind of place to run pipelines in.
pub trait Platform: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it needs and what is missing, each with the command that mends it. Called once, before anything is made.
    fn preflight(&self, pipelines: &[Pipeline]) -> Vec<String>;

    /// What makes a run slower than it could be, each with what mends it. Told at the beginning of the run.
    fn advice(&self, _pipelines: &[Pipeline]) -> Vec<String> {
        Vec::new()
    }

    /// What builds the images of Containerfiles, if what it builds can run here.
    ///
    /// # Errors
    /// Why there is nothing, in a sentence that tells what to do.
    fn engine(&self) -> anyhow::Result<Engine> {
        anyhow::bail!("{}", no_containerfiles(self.name()))
    }

    /// Phase 2: makes the place of one pipeline. What it makes is in the ledger before it is made.
    ///
    /// # Errors
    /// If the place cannot be made; what was made of it is in the ledger.
    fn prepare(&self, step: &Step, site: &Site) -> anyhow::Result<Arc<dyn Place>>;
}

/// Why a platform does not run what an engine builds.
pub(crate) fn no_containerfiles(platform: &str) -> String {
    format!(
        "the platform `{platform}` starts static programs from images that this tool packed, and any other image may need \
         what only a container has: run it with `--platform kind`"
    )
}

/// What a platform is told of the pipeline that it makes a place for.
pub struct Site {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// The directory of the run.
    pub run: Arc<RunDir>,
    /// What was made is listed here.
    pub ledger: Arc<Ledger>,
    /// The secrets of this pipeline.
    pub secrets: Secrets,
    /// The id of the run.
    pub run_id: image::RunId,
    /// Whether what passes its tests stays, and is to be reached when this process is gone.
    pub keep: bool,
}

/// Where one pipeline runs.
pub trait Place: Send + Sync {
    /// What holds the images of a workload here.
    fn holder(&self, workload: &Workload) -> &dyn Holder;

    /// Phase 4: starts the workloads from their loaded images, and waits until each is ready.
    ///
    /// # Errors
    /// Why a workload cannot start or become ready, with the evidence.
    fn start(&self, step: &Step, workloads: &[Deployable]) -> anyhow::Result<Vec<Instance>>;

    /// Checks what only the platform can see of an instance: links `PlaceToContainer` and `ContainerToProcess`.
    fn look(&self, instance: &Instance, image: &LoadedImage) -> Sight;

    /// Why an instance does not run any more, if so.
    fn down(&self, instance: &Instance) -> Option<crate::Failure>;

    /// Phase 6: ends what runs, gently. What remains is removed by the ledger.
    ///
    /// # Errors
    /// What could not be ended gently.
    fn stop(&self, step: &Step) -> anyhow::Result<()>;

    /// How a person reaches and ends what was kept.
    fn keep(&self);
}

/// A workload with the image that was loaded for it.
pub struct Deployable {
    /// The workload.
    pub workload: Workload,
    /// Its image, where it was loaded.
    pub image: LoadedImage,
}

/// A workload that was started.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The workload.
    pub workload: String,
    /// What names it where it runs: `pid 4711`, a pod.
    pub name: String,
    /// Name and address of each port, `http://127.0.0.1:40123`.
    pub endpoints: Vec<(String, String)>,
    /// What it was told to say of itself at its version endpoint, if the platform can tell it anything.
    pub identity: Option<String>,
}

/// What a platform saw of one link.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether the two sides are the same.
    pub verdict: LinkVerdict,
    /// What should be there.
    pub expected: String,
    /// What is there; the reason, if it cannot be seen.
    pub found: String,
}

/// How `found` begins where there is nothing to compare with.
pub(crate) const UNREADABLE: &str = "cannot be read: ";

impl Seen {
    /// Compares two values.
    pub fn compare(expected: impl ToString, found: impl ToString) -> Seen {
        let (expected, found) = (expected.to_string(), found.to_string());
        let verdict = if expected == found { LinkVerdict::Holds } else { LinkVerdict::Broken };
        Seen { verdict, expected, found }
    }

    /// Two values that are not the same.
    pub fn differs(expected: impl ToString, found: impl ToString) -> Seen {
        Seen { verdict: LinkVerdict::Broken, expected: expected.to_string(), found: found.to_string() }
    }

    /// There is nothing to compare with.
    pub fn unchecked(expected: impl ToString, why: impl ToString) -> Seen {
        Seen { verdict: LinkVerdict::Unchecked, expected: expected.to_string(), found: why.to_string() }
    }

    /// Something that should be there cannot be read: that breaks the link.
    pub fn broken(expected: impl ToString, why: impl std::fmt::Display) -> Seen {
        Seen { verdict: LinkVerdict::Broken, expected: expected.to_string(), found: format!("{UNREADABLE}{why}") }
    }
}

/// What a platform sees of a running instance.
pub struct Sight {
    /// Whether what runs was started from the image that was loaded.
    pub place_to_container: Seen,
    /// Whether the kernel runs the file that was built.
    pub container_to_process: Seen,
}

/// What is running: the only thing that can be proved, and only from loaded images.
///
/// ```
/// # use pipeline::*;
/// # fn ok(place: &dyn Place, step: &Step, loaded: Vec<Deployable>) -> anyhow::Result<Deployed> {
/// deploy(place, step, loaded)
/// # }
/// ```
///
/// What was only built cannot be deployed:
///
/// ```compile_fail,E0308
/// # use pipeline::*;
/// # fn wrong(place: &dyn Place, step: &Step, built: Vec<image::BuiltImage>) -> anyhow::Result<Deployed> {
/// deploy(place, step, built)
/// # }
/// ```
///
/// And nothing else makes one:
///
/// ```compile_fail,E0451
/// # use pipeline::*;
/// # fn wrong(workloads: Vec<Deployable>, instances: Vec<Instance>) -> Deployed {
/// Deployed { workloads, instances }
/// # }
/// ```
pub struct Deployed {
    workloads: Vec<Deployable>,
    instances: Vec<Instance>,
}

impl Deployed {
    /// Each workload with its instances.
    pub fn instances(&self) -> impl Iterator<Item = (&Deployable, &Instance)> {
        self.instances.iter().filter_map(|instance| {
            Some((self.workloads.iter().find(|w| w.workload.name() == instance.workload)?, instance))
        })
    }
}

/// Phase 4: deploys what was loaded, and waits until it is ready.
///
/// # Errors
/// Why it cannot be deployed.
pub fn deploy(place: &dyn Place, step: &Step, workloads: Vec<Deployable>) -> anyhow::Result<Deployed> {
    for Deployable { workload, image } in &workloads {
        let of = image.image().image();
        anyhow::ensure!(of == workload.name(), "the image of `{of}` was given to the workload `{}`", workload.name());
    }
    let instances = place.start(step, &workloads)?;
    for deployable in &workloads {
        let name = deployable.workload.name();
        let instance = instances.iter().find(|instance| instance.workload == name);
        instance.with_context(|| format!("the platform started no instance of `{name}`"))?;
    }
    for instance in &instances {
        for (port, url) in &instance.endpoints {
            step.event(Event::Endpoint {
                service: step.service().to_owned(),
                workload: instance.workload.clone(),
                port: port.clone(),
                url: url.clone(),
            });
        }
    }
    Ok(Deployed { workloads, instances })
}
