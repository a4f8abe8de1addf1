//! The place of one pipeline on `kind`: a namespace of a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use image::{Holder, LoadedImage, NodeStore};
use supervise::{CmdErrorKind, Network};

use super::cluster::Cluster;
use super::diagnose::{self, Dead};
use super::engine::Tools;
use super::evidence;
use super::forward::Forward;
use super::node::Node;
use super::objects::{List, Pod, Service};
use super::relay::Relay;
use super::render::{Deployment, Loaded, Outside, RUN, Target, WORKLOAD, objects};
use super::watch::{View, Watch};
use super::{look, ready};
use crate::Failure;
use crate::event::Event;
use crate::platform::{Deployable, Instance, Place, Sight};
use crate::probe;
use crate::recorder::{Recorder, lock};
use crate::secrets::{Secrets, random};
use crate::shared::{Limit, Permit};
use crate::step::Step;
use crate::workload::Workload;

pub(super) struct KindPlace {
    pub(super) service: String,
    pub(super) run: String,
    pub(super) namespace: String,
    pub(super) cluster: Cluster,
    pub(super) tools: Tools,
    pub(super) store: NodeStore,
    pub(super) secrets: Secrets,
    pub(super) recorder: Arc<Recorder>,
    pub(super) logs: PathBuf,
    pub(super) reach: Reach,
    pub(super) ready_within: Duration,
    pub(super) watch: Watch,
    /// Pod of each workload, and its restarts, when it became ready.
    pub(super) started: Mutex<BTreeMap<String, (String, u32)>>,
    /// The room that its own cluster takes on the machine. The place is dropped when the cluster is gone.
    pub(super) _room: Option<Permit<Arc<Limit>>>,
}

/// How the workloads are reached from this machine.
pub(super) enum Reach {
    /// Node ports of each workload's ports, which the engine has given ports of this machine.
    NodePorts(BTreeMap<String, Vec<u16>>),
    /// Relays through the network of a node, for as long as this process lives.
    Relays(Network, Mutex<Vec<Relay>>),
    /// The address of a node, and ports of it that the cluster chooses: where its network cannot be entered.
    Node(String),
    /// Forwards, opened when a pod runs: where the nodes cannot be reached, as on Mac or under a rootless engine.
    Forwards(Mutex<Vec<Forward>>),
}

impl Reach {
    /// The best way into a cluster that exists; if it is to stay open, only what does not end with this process.
    pub(super) fn best(nodes: &[Node], stay: bool) -> Reach {
        if !stay && let Some(network) = nodes.iter().find_map(Node::network) {
            return Reach::Relays(network, Mutex::default());
        }
        match nodes.iter().find_map(Node::reachable) {
            Some(address) => Reach::Node(address.to_string()),
            None => Reach::Forwards(Mutex::default()),
        }
    }
}

impl KindPlace {
    fn outside(&self, workload: &str) -> Outside {
        match &self.reach {
            Reach::NodePorts(ports) => Outside::NodePorts(ports.get(workload).cloned().unwrap_or_default()),
            Reach::Node(_) => Outside::AnyNodePorts,
            Reach::Relays(..) | Reach::Forwards(_) => Outside::Closed,
        }
    }

    /// Makes the namespace and the services, while the images are still being built.
    pub(super) fn reserve(&self, step: &Step, workloads: &[Workload]) -> anyhow::Result<()> {
        let reserved = |workload| Deployment { workload, outside: self.outside(workload.name()), loaded: None };
        self.apply(step, workloads.iter().map(reserved).collect())
    }

    fn apply(&self, step: &Step, deployments: Vec<Deployment>) -> anyhow::Result<()> {
        let secret = |name: &str| self.secrets.get(name).map(str::to_owned);
        let target =
            Target { namespace: &self.namespace, run: &self.run, service: &self.service, secret: &secret, deployments };
        let list = serde_json::to_vec(&objects(&target)?)?;
        let command = self.tools.within(step).kubectl().args([
            "apply",
            "--server-side",
            // What is sent has one form, which a test has checked by the API server; it takes kubectl a third of its time.
            "--validate=false",
            "--field-manager",
            "e2e",
            "--filename",
            "-",
        ]);
        let command = command.stdin_writer(move |stdin| stdin.write_all(&list)).log(self.logs.join("apply.log"));
        command.run(step.cancel()).map(drop).map_err(|error| {
            if !matches!(error.kind, CmdErrorKind::Exit(_)) {
                return anyhow::Error::new(error);
            }
            let said = error.tail.iter().find(|line| line.to_lowercase().contains("error")).or(error.tail.first());
            let cause = format!(
                "the API server does not take what was to be deployed: {}",
                said.map_or("it does not say why", String::as_str)
            );
            Failure::new(cause).evidence(error.tail).log(self.logs.join("apply.log")).into()
        })
    }

    /// The addresses that are known once everything was applied; forwards are opened later.
    fn endpoints(&self, step: &Step, workloads: &[Deployable], instances: &mut [Instance]) -> anyhow::Result<()> {
        let services: List<Service> = match &self.reach {
            Reach::Node(_) => self.tools.within(step).get(&["services", "--namespace", &self.namespace])?,
            _ => List::default(),
        };
        for (Deployable { workload, .. }, instance) in workloads.iter().zip(instances) {
            for (index, port) in workload.ports().iter().enumerate() {
                let address = match &self.reach {
                    Reach::NodePorts(ports) => {
                        let node_port = ports.get(workload.name()).and_then(|ports| ports.get(index));
                        let host_port = node_port.and_then(|port| self.cluster.host_ports.get(port));
                        host_port.map(|port| format!("127.0.0.1:{port}"))
                    }
                    Reach::Node(node) => {
                        let service = services.items.iter().find(|service| service.metadata.name == workload.name());
                        service.and_then(|service| service.node_port(&port.name)).map(|port| format!("{node}:{port}"))
                    }
                    Reach::Relays(network, relays) => {
                        let relay = Relay::start(network, self.watch.address_of(workload.name()), port.number)
                            .with_context(|| format!("open a way to port `{}` of `{}`", port.name, workload.name()))?;
                        let address = format!("127.0.0.1:{}", relay.port());
                        lock(relays).push(relay);
                        Some(address)
                    }
                    Reach::Forwards(_) => continue,
                };
                let address = address.with_context(|| {
                    format!(
                        "the cluster `{}` has no way in to port `{}` of `{}`",
                        self.cluster.name,
                        port.name,
                        workload.name()
                    )
                })?;
                instance.endpoints.push((port.name.clone(), port.url(address)));
            }
        }
        Ok(())
    }

    /// Opens the ways to a workload that are not open from the start.
    pub(super) fn open(&self, workload: &Workload, instance: &mut Instance) -> anyhow::Result<()> {
        let Reach::Forwards(forwards) = &self.reach else { return Ok(()) };
        if instance.endpoints.len() < workload.ports().len() {
            instance.endpoints.clear();
            for port in workload.ports() {
                let forward = Forward::start(&self.tools, &self.namespace, workload.name(), port.number)?;
                instance.endpoints.push((port.name.clone(), port.url(format_args!("127.0.0.1:{}", forward.port()))));
                lock(forwards).push(forward);
            }
        }
        Ok(())
    }

    fn close(&self) {
        self.watch.stop();
        // What is dropped ends.
        match &self.reach {
            Reach::Forwards(forwards) => lock(forwards).clear(),
            Reach::Relays(_, relays) => lock(relays).clear(),
            Reach::NodePorts(_) | Reach::Node(_) => {}
        }
    }

    /// Notes which pod an instance is, and how often it had been restarted when it was ready.
    pub(super) fn note_start(&self, instance: &mut Instance) {
        if let Some((pod, _, restarts)) = pod_of(&instance.workload, &self.watch.view()) {
            instance.name = format!("pod {pod}");
            lock(&self.started).insert(instance.workload.clone(), (pod, restarts));
        }
    }

    /// Whether a workload has a container that runs and can be reached before the cluster calls it ready: what forwards a port
    /// ends with the first connection that nobody takes.
    pub(super) fn can_be_asked(&self, workload: &str) -> bool {
        let runs = |pod: &Pod| pod.containers().any(|container| container.state.running.is_some());
        !matches!(self.reach, Reach::Forwards(_)) && self.watch.view().pods_of(workload).any(runs)
    }

    /// Whether the containers of which the cluster knows are those that run: it learns of a second start later than whoever asks
    /// what was started.
    pub(super) fn is_current(&self, workload: &str) -> bool {
        let pods: Vec<_> = self.watch.view().pods_of(workload).cloned().collect();
        look::executables(&self.tools, &self.cluster.nodes, &pods).is_ok()
    }

    /// Collects the evidence of a failure.
    pub(super) fn failed(&self, dead: Dead) -> Failure {
        let mut failure = std::thread::scope(|scope| {
            scope.spawn(|| evidence::collect(&self.tools, &self.cluster, &self.namespace, &self.logs));
            evidence::complete(&self.tools, &self.namespace, dead, &self.logs)
        });
        if failure.evidence.is_empty() {
            failure.evidence = evidence::warnings(&self.watch.view());
            failure.log.get_or_insert_with(|| self.logs.join("events.log"));
        }
        failure
    }
}

pub(super) fn node_stopped(node: &str) -> Dead {
    Dead::because(format!("the node `{node}` has stopped"), "look for what stopped its container, and run again")
}

/// Pod, container and restarts of the ready pod of a workload, or of any.
pub(super) fn pod_of(workload: &str, view: &View) -> Option<(String, String, u32)> {
    let mine = || view.pods_of(workload);
    let pod = mine().find(|pod| pod.is_ready()).or_else(|| mine().next())?;
    let status = pod.status.container_statuses.first()?;
    Some((pod.metadata.name.clone(), status.name.clone(), status.restart_count))
}

/// Whether an instance answers on its readiness path, or takes connections if it has none.
pub(super) fn answers(instance: &Instance, path: Option<&str>) -> Result<(), String> {
    if instance.endpoints.is_empty() {
        return Ok(());
    }
    let Some(path) = path else {
        return probe::open(instance).map_err(|error| format!("takes no connection: {error}"));
    };
    match probe::get(instance, path) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("answers {} {}", answer.status, answer.body.trim())),
        Err(error) => Err(format!("gives no answer: {error}")),
    }
}

impl Place for KindPlace {
    fn holder(&self, _: &Workload) -> &dyn Holder {
        &self.store
    }

    fn start(&self, step: &Step, workloads: &[Deployable]) -> anyhow::Result<Vec<Instance>> {
        let mut instances = Vec::new();
        let mut deployments = Vec::new();
        for Deployable { workload, image } in workloads {
            let identity = random();
            deployments.push(Deployment {
                workload,
                outside: self.outside(workload.name()),
                loaded: Some(Loaded {
                    image: image.image().pinned(),
                    fingerprint: image.image().source().fingerprint.to_string(),
                    identity: identity.clone(),
                }),
            });
            instances.push(Instance {
                workload: workload.name().to_owned(),
                name: format!("deployment {}/{}", self.namespace, workload.name()),
                endpoints: Vec::new(),
                identity: Some(identity),
            });
        }
        self.apply(step, deployments)?;
        self.endpoints(step, workloads, &mut instances)?;
        for (deployable, instance) in workloads.iter().zip(&instances) {
            step.event(Event::Deployed {
                service: self.service.clone(),
                workload: instance.workload.clone(),
                reference: deployable.image.image().reference().to_owned(),
                instance: instance.name.clone(),
            });
        }
        ready::wait(self, step, workloads, &mut instances)?;
        Ok(instances)
    }

    fn look(&self, instance: &Instance, image: &LoadedImage) -> Sight {
        look::look(&self.tools, &self.cluster.nodes, &self.namespace, &instance.workload, image.image())
    }

    fn down(&self, instance: &Instance) -> Option<Failure> {
        if let Some(node) = self.cluster.nodes.iter().find(|node| node.has_stopped()) {
            return Some(node_stopped(&node.name).failure);
        }
        let (pod, restarts) = lock(&self.started).get(&instance.workload)?.clone();
        let dead = diagnose::fallen(&instance.workload, &pod, restarts, &self.watch.view())?;
        Some(self.failed(dead))
    }

    fn stop(&self, _: &Step) -> anyhow::Result<()> {
        self.close();
        Ok(())
    }

    fn keep(&self) {
        self.close();
        let mut text = format!(
            "the cluster `{}` stays: `kubectl --kubeconfig {} --namespace {} get pods -l {RUN}={} -L {WORKLOAD}`; `cargo xtask clean {}` removes it",
            self.cluster.name,
            supervise::shell_quote(self.tools.kubeconfig.as_os_str()),
            self.namespace,
            self.run,
            self.run,
        );
        if let Reach::Forwards(_) = self.reach {
            text.push_str("; its addresses end with this run: `kubectl port-forward` opens new ones");
        }
        self.recorder.event(Event::Note { service: Some(self.service.clone()), text });
    }
}
