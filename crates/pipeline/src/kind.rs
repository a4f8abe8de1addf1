//! The platform `kind`: each pipeline in a Kubernetes cluster of its own, whose nodes are containers of podman or docker.
//!
//! The cluster is made for the run, gets the images that the run built through a stream into its nodes' containerd, and goes
//! with the run. Nothing of the user's is read or written: no kubeconfig, no cache of kubectl, no other cluster.

mod cluster;
mod config;
mod diagnose;
mod engine;
mod evidence;
mod forward;
mod look;
mod node;
mod objects;
mod place;
mod preflight;
mod ready;
mod relay;
mod render;
mod watch;

use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use image::{Engine, NodeStore};

use crate::Failure;
use crate::ledger::Resource;
use crate::platform::{Place, Platform, Site};
use crate::recorder::lock;
use crate::rundir::private_dir;
use crate::shared::Limit;
use crate::step::Step;
use crate::workload::Pipeline;
use cluster::Cluster;
pub(crate) use cluster::{delete, delete_namespace};
pub use engine::Provider;
use engine::Tools;
use place::{KindPlace, Reach};
use preflight::Machine;
pub use render::render;
use watch::Watch;

/// What a user can choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine; none: the one that `KIND_EXPERIMENTAL_PROVIDER` names, or else the first of docker and podman that answers.
    pub provider: Option<Provider>,
    /// The image of the nodes; none: the one that `KIND_NODE_IMAGE` names, or else kind's own.
    pub node_image: Option<String>,
    /// Nodes beside the control plane.
    pub workers: u32,
    /// Which clusters.
    pub clusters: Clusters,
    /// How long a workload may take to become ready.
    pub ready_within: Duration,
    /// How many clusters are created at once; none: as many as processors and memory allow.
    pub creating: Option<usize>,
}

/// Which clusters a run uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clusters {
    /// One for each pipeline, made and removed by the run.
    PerPipeline,
    /// One for the run, in which each pipeline has a namespace.
    Shared,
    /// The one of this name, which exists and stays: only the namespaces in it are made and removed.
    Reuse(String),
}

/// The platform `kind`.
pub struct Kind {
    options: Options,
    provider: OnceLock<Result<Provider, String>>,
    creating: Limit,
    /// Clusters that are there at the same time, as many as there was room for before the first.
    room: OnceLock<Arc<Limit>>,
    /// Node ports that all pipelines of the run need; known after [`Platform::preflight`].
    ports: OnceLock<u16>,
    shared: Mutex<Option<Result<Common, Failure>>>,
}

/// A cluster that several pipelines use.
#[derive(Clone)]
struct Common {
    tools: Tools,
    cluster: Cluster,
    /// The first node port that no pipeline has.
    next_port: u16,
}

impl Kind {
    /// The platform with these options. What is missing for it is said by [`Platform::preflight`].
    pub fn new(options: Options) -> Kind {
        let creating = Limit::new(options.creating.unwrap_or_else(preflight::clusters_at_once));
        let (provider, room, ports) = Default::default();
        Kind { options, provider, creating, room, ports, shared: Mutex::new(None) }
    }

    fn room(&self) -> &Arc<Limit> {
        let clusters = || Machine::now().clusters(self.options.workers + 1);
        self.room.get_or_init(|| Arc::new(Limit::new(clusters())))
    }

    fn provider(&self) -> Result<Provider, String> {
        let environment = std::env::var("KIND_EXPERIMENTAL_PROVIDER").ok();
        self.provider.get_or_init(|| preflight::provider(self.options.provider, environment.as_deref())).clone()
    }

    fn node_image(&self) -> Option<String> {
        self.options
            .node_image
            .clone()
            .or_else(|| std::env::var("KIND_NODE_IMAGE").ok())
            .filter(|image| !image.is_empty())
    }

    /// Makes a cluster, for a pipeline or for the run.
    fn create(
        &self,
        step: &Step,
        site: &Site,
        owner: Option<&str>,
        tools: &Tools,
        ports: &[u16],
    ) -> anyhow::Result<Cluster> {
        let _permit = step.permit(&self.creating)?;
        let name = cluster::name(&site.run_id, owner.unwrap_or("shared"));
        let log = site.run.log(owner.unwrap_or("run"), "cluster")?;
        let kubeconfig = tools.kubeconfig.clone();
        site.ledger
            .will_make(owner, Resource::KindCluster { name: name.clone(), provider: tools.provider, kubeconfig })?;
        cluster::create(tools, &name, self.node_image().as_deref(), ports, self.options.workers, &log)
    }

    /// The cluster that all pipelines use, made or taken over by the first that wants it, and the node ports of this one.
    fn common(&self, step: &Step, site: &Site, provider: Provider, needs: u16) -> anyhow::Result<(Common, u16)> {
        // The others wait here. They are cancelled with the one that makes the cluster.
        let mut shared = lock(&self.shared);
        if shared.is_none() {
            let made = self.make_common(step, site, provider);
            if let Err(error) = &made
                && crate::failure::is_cancelled(error)
            {
                return made.map(|common| (common, 0));
            }
            *shared = Some(made.map_err(|error| Failure::of(&error)));
        }
        match shared.as_mut() {
            Some(Ok(common)) => {
                let first = common.next_port;
                common.next_port += needs;
                Ok((common.clone(), first))
            }
            Some(Err(failure)) => Err(failure.clone().into()),
            None => anyhow::bail!("the cluster was neither made nor not made"),
        }
    }

    fn make_common(&self, step: &Step, site: &Site, provider: Provider) -> anyhow::Result<Common> {
        let dir = site.run.work().join("cluster");
        private_dir(&dir)?;
        let tools = Tools::new(step, provider, &dir);
        let cluster = match &self.options.clusters {
            Clusters::Reuse(name) => cluster::adopt(&tools, name)?,
            _ => {
                let count = self.ports.get().copied().unwrap_or(DEFAULT_PORTS);
                let ports: Vec<_> = (cluster::FIRST_NODE_PORT..).take(count.into()).collect();
                self.create(step, site, None, &tools, &ports)?
            }
        };
        Ok(Common { tools, cluster, next_port: cluster::FIRST_NODE_PORT })
    }
}

/// Node ports of a cluster for several pipelines whose number is not known.
const DEFAULT_PORTS: u16 = 32;

/// How many node ports a pipeline needs.
fn ports_of(pipeline: &Pipeline) -> u16 {
    let ports = pipeline.workloads().iter().map(|workload| workload.ports().len()).sum::<usize>();
    u16::try_from(ports).unwrap_or(u16::MAX)
}

impl Platform for Kind {
    fn name(&self) -> &'static str {
        "kind"
    }

    fn preflight(&self, pipelines: &[Pipeline]) -> Vec<String> {
        self.ports.get_or_init(|| pipelines.iter().map(ports_of).sum());
        let mut missing = preflight::programs();
        let reused = matches!(self.options.clusters, Clusters::Reuse(_));
        match self.provider() {
            Ok(engine) => {
                // One at a time is enough: what there is no room for waits.
                missing.extend(Machine::now().lacks(usize::from(!reused), self.options.workers + 1));
                missing.extend(preflight::images(engine, pipelines));
            }
            Err(error) => missing.push(error),
        }
        missing
    }

    fn advice(&self, pipelines: &[Pipeline]) -> Vec<String> {
        if self.options.clusters != Clusters::PerPipeline {
            return Vec::new();
        }
        let at_once = self.room().permits();
        if pipelines.len() <= at_once {
            return Vec::new();
        }
        let lacks = Machine::now().lacks(pipelines.len(), self.options.workers + 1).join("; ");
        let count = pipelines.len();
        vec![format!(
            "there is room for {at_once} of {count} clusters, the others wait ({lacks}); `--shared-cluster` takes one"
        )]
    }

    fn engine(&self) -> anyhow::Result<Engine> {
        Ok(self.provider().map_err(Failure::new)?)
    }

    fn prepare(&self, step: &Step, site: &Site) -> anyhow::Result<Arc<dyn Place>> {
        let service = site.pipeline.service();
        let provider = self.provider().map_err(Failure::new)?;
        let logs = site.run.log(service, "cluster")?.parent().context("a log without a directory")?.to_owned();
        let namespace = cluster::name(&site.run_id, service);
        let dir = site.run.work().join(service);
        site.ledger.will_make(Some(service), Resource::Directory { path: dir.clone() })?;
        private_dir(&dir)?;
        let mut room = None;
        let (tools, cluster, first_port) = if self.options.clusters == Clusters::PerPipeline {
            room = Some(step.permit(Arc::clone(self.room()))?);
            let tools = Tools::new(step, provider, &dir);
            let ports = render::node_ports(&site.pipeline, cluster::FIRST_NODE_PORT).concat();
            let cluster = self.create(step, site, Some(service), &tools, &ports)?;
            (tools, cluster, cluster::FIRST_NODE_PORT)
        } else {
            let (common, first) = self.common(step, site, provider, ports_of(&site.pipeline))?;
            let kubeconfig = common.tools.kubeconfig.clone();
            site.ledger.will_make(Some(service), Resource::Namespace { name: namespace.clone(), kubeconfig })?;
            (common.tools.within(step), common.cluster, first)
        };
        // From now on: what it takes to learn what the API server knows is over when something is deployed.
        let watch = Watch::start(&tools, &namespace, logs.clone())?;
        let nodes = cluster.nodes.iter().map(|node| node.access(&tools)).collect();
        let store = NodeStore::new(nodes, step.cancel().clone());
        let workloads = site.pipeline.workloads().iter().map(|workload| workload.name().to_owned());
        let reach = match &self.options.clusters {
            // The ports of a cluster are mapped when it is made: there are none for us in one that exists.
            Clusters::Reuse(_) => Reach::best(&cluster.nodes, site.keep),
            _ => Reach::NodePorts(workloads.zip(render::node_ports(&site.pipeline, first_port)).collect()),
        };
        let place = KindPlace {
            service: service.to_owned(),
            run: site.run_id.to_string(),
            namespace,
            store,
            cluster,
            tools,
            secrets: site.secrets.clone(),
            recorder: Arc::clone(step.recorder()),
            logs,
            reach,
            ready_within: self.options.ready_within,
            watch,
            started: Mutex::default(),
            _room: room,
        };
        // Both while the images are still being built.
        thread::scope(|scope| {
            // A node that does not answer says so again when an image comes.
            scope.spawn(|| drop(place.store.ask()));
            place.reserve(step, site.pipeline.workloads())
        })?;
        Ok(Arc::new(place))
    }
}
