//! The platform `kind`: each pipeline in a Kubernetes cluster of its own, whose nodes are containers of podman or docker.
//!
//! The cluster is made for the run, gets the images that the run built through a stream into its nodes' containerd, and goes
//! with the run. Nothing of the user's is read or written: no kubeconfig, no cache of kubectl, no other cluster.

mod cluster;
mod diagnose;
mod engine;
mod evidence;
mod look;
mod objects;
mod place;
mod preflight;
mod render;
mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use image::NodeStore;

use crate::ledger::Resource;
use crate::platform::{Place, Platform, Site};
use crate::rundir::private_dir;
use crate::shared::Limit;
use crate::step::Step;
use crate::workload::Pipeline;
pub(crate) use cluster::delete;
pub use engine::Provider;
use engine::Tools;
use place::KindPlace;
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
    /// How long a workload may take to become ready.
    pub ready_within: Duration,
    /// How many clusters are created at once; none: as many as processors and memory allow.
    pub creating: Option<usize>,
}

/// The platform `kind`.
pub struct Kind {
    options: Options,
    provider: OnceLock<Provider>,
    creating: Limit,
}

impl Kind {
    /// The platform with these options. What is missing for it is said by [`Platform::preflight`].
    pub fn new(options: Options) -> Kind {
        let creating = Limit::new(options.creating.unwrap_or_else(preflight::clusters_at_once));
        Kind { options, provider: OnceLock::new(), creating }
    }

    fn provider(&self) -> anyhow::Result<Provider> {
        if let Some(provider) = self.provider.get() {
            return Ok(*provider);
        }
        let found =
            preflight::provider(self.options.provider, std::env::var("KIND_EXPERIMENTAL_PROVIDER").ok().as_deref());
        Ok(*self.provider.get_or_init(|| found.clone().unwrap_or(Provider::Docker)))
            .and_then(|provider| found.map(|_| provider).map_err(anyhow::Error::msg))
    }

    fn node_image(&self) -> Option<String> {
        self.options
            .node_image
            .clone()
            .or_else(|| std::env::var("KIND_NODE_IMAGE").ok())
            .filter(|image| !image.is_empty())
    }
}

impl Platform for Kind {
    fn name(&self) -> &'static str {
        "kind"
    }

    fn preflight(&self, pipelines: &[Pipeline]) -> Vec<String> {
        let clusters = pipelines.len();
        let mut missing = preflight::programs();
        match self.provider() {
            Ok(_) => missing.extend(preflight::machine(clusters, self.options.workers + 1)),
            Err(error) => missing.push(format!("{error:#}")),
        }
        missing
    }

    fn prepare(&self, step: &Step, site: &Site) -> anyhow::Result<Arc<dyn Place>> {
        let service = site.pipeline.service();
        let dir = site.run.work().join(service);
        site.ledger.will_make(Some(service), Resource::Directory { path: dir.clone() })?;
        private_dir(&dir)?;
        let log = site.run.log(service, "cluster")?;
        let logs = log.parent().context("a log without a directory")?.to_owned();
        let provider = self.provider()?;
        let tools = Tools::new(step, provider, &dir);
        let name = cluster::name(&site.run_id, service);
        let ports = render::node_ports(&site.pipeline, cluster::FIRST_NODE_PORT);
        let cluster = {
            let _permit = step.permit(&self.creating)?;
            let kubeconfig = tools.kubeconfig.clone();
            site.ledger.will_make(Some(service), Resource::KindCluster { name: name.clone(), provider, kubeconfig })?;
            cluster::create(&tools, &name, self.node_image().as_deref(), &ports.concat(), self.options.workers, &log)?
        };
        // From now on: what it takes to learn what the API server knows is over when something is deployed.
        let watch = Watch::start(&tools, &name, logs.clone())?;
        let nodes = cluster.nodes.iter().map(|node| node.name.clone()).collect();
        let workloads = site.pipeline.workloads().iter().map(|workload| workload.name().to_owned());
        Ok(Arc::new(KindPlace {
            service: service.to_owned(),
            run: site.run_id.to_string(),
            namespace: name,
            store: NodeStore::new(tools.engine(), nodes, step.cancel().clone()),
            cluster,
            tools,
            secrets: site.secrets.clone(),
            recorder: Arc::clone(step.recorder()),
            logs,
            node_ports: workloads.zip(ports).collect(),
            ready_within: self.options.ready_within,
            watch,
        }))
    }
}
