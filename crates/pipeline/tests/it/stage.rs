//! A platform that stands in front of another: at each moment of a pipeline's life a test can look, swap, or fail.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use image::{BuiltImage, Held, Holder, LoadedImage, Transfer};
use pipeline::event::{Event, LinkVerdict, Record};
use pipeline::local::Local;
use pipeline::platform::{Seen, Sight, Site};
use pipeline::{Deployable, Failure, Instance, Place, Platform, Step, Workload};

use crate::kit::{PATIENCE, lock};

/// When a test may act on a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before its place is made.
    Prepare,
    /// Its program was built, and is about to be packed. The ground is not known yet.
    Packing,
    /// Its image was built.
    Built,
    /// Its image was loaded, and is about to be read back.
    Received,
    /// Its image was read back.
    Loaded,
    /// It is about to be started.
    Start,
    /// It was deployed, and is waited for.
    Deployed,
    /// It was started and is ready; the proof comes next.
    Started,
    /// The proof is about to look at it.
    Look,
    /// One of its tests ended.
    Tested,
    /// It is about to be stopped.
    Stop,
}

/// What is known of a pipeline with one workload, for who acts on it.
#[derive(Clone, Default)]
pub(crate) struct Ground {
    /// The directory of the run.
    pub(crate) run: PathBuf,
    /// The id of the run, as it is in names.
    pub(crate) id: String,
    pub(crate) service: String,
    /// The workload, which is the image too.
    pub(crate) workload: String,
    pub(crate) reference: String,
    pub(crate) secrets: BTreeMap<String, String>,
    /// The platform cannot look at what runs.
    pub(crate) blind: bool,
    /// What was started; whoever acts at [`When::Started`] may change it.
    pub(crate) instances: Vec<Instance>,
}

impl Ground {
    /// The store of the place.
    pub(crate) fn images(&self) -> PathBuf {
        self.run.join("work").join(&self.service).join("images")
    }

    /// The store of the builder.
    pub(crate) fn built(&self) -> PathBuf {
        self.run.join("work/.blobs")
    }

    /// The unpacked image.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.run.join("work").join(&self.service).join(&self.workload)
    }

    /// The unpacked executable.
    pub(crate) fn executable(&self) -> PathBuf {
        self.rootfs().join("usr/bin").join(&self.workload)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.instances[0].endpoints[0].1)
    }
}

/// What a test does.
pub(crate) type Act = Arc<dyn Fn(When, &mut Ground) + Send + Sync>;

/// Makes the place behind the stage, for a pipeline whose workloads may take so long to become ready; with it, what is to be
/// held as long as the place.
pub(crate) type Make =
    Box<dyn Fn(&Step, &Site, Duration) -> anyhow::Result<(Arc<dyn Place>, Box<dyn Any + Send + Sync>)> + Send + Sync>;

/// The platform.
#[derive(Clone)]
pub(crate) struct Stage(Arc<Inner>);

struct Inner {
    name: &'static str,
    make: Make,
    acts: Mutex<BTreeMap<String, Act>>,
    patience: Mutex<BTreeMap<String, Duration>>,
    grounds: Mutex<BTreeMap<String, Ground>>,
}

impl Stage {
    /// In front of `local`.
    pub(crate) fn new() -> Stage {
        Stage::before(
            "local",
            Box::new(|step, site, ready_within| Ok((Local { ready_within }.prepare(step, site)?, Box::new(())))),
        )
    }

    /// In front of another platform.
    pub(crate) fn before(name: &'static str, make: Make) -> Stage {
        let (acts, patience, grounds) = Default::default();
        Stage(Arc::new(Inner { name, make, acts, patience, grounds }))
    }

    /// Acts on a pipeline at every moment of its life.
    pub(crate) fn act(&self, service: &str, act: impl Fn(When, &mut Ground) + Send + Sync + 'static) {
        lock(&self.0.acts).insert(service.to_owned(), Arc::new(act));
    }

    /// Gives the workloads of a pipeline this long to become ready.
    pub(crate) fn patience(&self, service: &str, limit: Duration) {
        lock(&self.0.patience).insert(service.to_owned(), limit);
    }

    /// What is known of a pipeline by now.
    pub(crate) fn ground(&self, service: &str) -> Ground {
        lock(&self.0.grounds).get(service).cloned().unwrap_or_default()
    }

    /// What a reader of the run's events passes on, for the moments that no platform sees.
    pub(crate) fn watch(&self) -> impl FnMut(&Record) + Send + 'static {
        let stage = self.clone();
        move |record| match &record.event {
            Event::StepStarted { service: Some(service), name, .. } if name.starts_with("assemble ") => {
                stage.packing(service);
            }
            Event::Built { service, .. } => stage.now(When::Built, service),
            Event::Loaded { service, .. } => stage.now(When::Loaded, service),
            Event::Deployed { service, .. } => stage.now(When::Deployed, service),
            Event::Test { service, .. } => stage.now(When::Tested, service),
            _ => {}
        }
    }

    /// No lock is held while the test acts: it may be called under the lock of the record.
    fn now(&self, when: When, service: &str) {
        let act = lock(&self.0.acts).get(service).cloned();
        if let Some(act) = act {
            let mut ground = self.ground(service);
            act(when, &mut ground);
            lock(&self.0.grounds).insert(service.to_owned(), ground);
        }
    }

    /// The ground is left alone, since the place may be making it just now.
    fn packing(&self, service: &str) {
        let act = lock(&self.0.acts).get(service).cloned();
        if let Some(act) = act {
            act(When::Packing, &mut Ground::default());
        }
    }

    fn note(&self, service: &str, change: impl FnOnce(&mut Ground)) {
        change(lock(&self.0.grounds).entry(service.to_owned()).or_default());
    }
}

impl Platform for Stage {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn preflight(&self, _: &[pipeline::Pipeline]) -> Vec<String> {
        Vec::new()
    }

    fn prepare(&self, step: &Step, site: &Site) -> anyhow::Result<Arc<dyn Place>> {
        let service = site.pipeline.service();
        self.note(service, |ground| {
            ground.run = site.run.path().to_owned();
            ground.id = site.run_id.short();
            ground.service = service.to_owned();
            ground.workload = site.pipeline.workloads()[0].name().to_owned();
            ground.secrets = site.secrets.all().clone();
        });
        self.now(When::Prepare, service);
        let patience = lock(&self.0.patience).get(service).copied();
        let (inner, held) = (self.0.make)(step, site, patience.unwrap_or(PATIENCE))?;
        let workloads = site.pipeline.workloads().iter();
        let holders = workloads.map(|workload| Front {
            stage: self.clone(),
            service: service.to_owned(),
            place: Arc::clone(&inner),
            workload: workload.clone(),
        });
        Ok(Arc::new(StagePlace {
            stage: self.clone(),
            service: service.to_owned(),
            holders: holders.collect(),
            place: inner,
            _held: held,
        }))
    }
}

struct StagePlace {
    stage: Stage,
    service: String,
    holders: Vec<Front>,
    place: Arc<dyn Place>,
    _held: Box<dyn Any + Send + Sync>,
}

impl StagePlace {
    fn now(&self, when: When) {
        self.stage.now(when, &self.service);
    }
}

impl Place for StagePlace {
    fn holder(&self, workload: &Workload) -> &dyn Holder {
        self.holders.iter().find(|holder| holder.workload.name() == workload.name()).unwrap()
    }

    fn start(&self, step: &Step, workloads: &[Deployable]) -> anyhow::Result<Vec<Instance>> {
        self.now(When::Start);
        let instances = self.place.start(step, workloads)?;
        self.stage.note(&self.service, |ground| ground.instances.clone_from(&instances));
        self.now(When::Started);
        Ok(self.stage.ground(&self.service).instances)
    }

    fn look(&self, instance: &Instance, image: &LoadedImage) -> Sight {
        self.now(When::Look);
        if self.stage.ground(&self.service).blind {
            let unseen = || Seen {
                verdict: LinkVerdict::Unchecked,
                expected: String::new(),
                found: "it cannot be seen from here".to_owned(),
            };
            return Sight { place_to_container: unseen(), container_to_process: unseen() };
        }
        self.place.look(instance, image)
    }

    fn down(&self, instance: &Instance) -> Option<Failure> {
        self.place.down(instance)
    }

    fn stop(&self, step: &Step) -> anyhow::Result<()> {
        self.now(When::Stop);
        self.place.stop(step)
    }

    fn keep(&self) {
        self.place.keep();
    }
}

/// What stands in front of the holder of a workload's image.
struct Front {
    stage: Stage,
    service: String,
    place: Arc<dyn Place>,
    workload: Workload,
}

impl Holder for Front {
    fn describe(&self) -> String {
        self.place.holder(&self.workload).describe()
    }

    fn receive(&self, image: &BuiltImage) -> anyhow::Result<Transfer> {
        let transfer = self.place.holder(&self.workload).receive(image)?;
        self.stage.note(&self.service, |ground| ground.reference = image.reference().to_owned());
        self.stage.now(When::Received, &self.service);
        Ok(transfer)
    }

    fn held(&self, reference: &str) -> anyhow::Result<Held> {
        self.place.holder(&self.workload).held(reference)
    }
}
