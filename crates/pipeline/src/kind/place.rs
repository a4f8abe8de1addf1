//! The place of one pipeline on `kind`: a namespace of a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use image::{Holder, LoadedImage, NodeStore};
use supervise::CmdErrorKind;

use super::cluster::Cluster;
use super::diagnose::{self, Dead, State};
use super::engine::Tools;
use super::evidence;
use super::look;
use super::render::{Deployment, RUN, Target, WORKLOAD, objects};
use super::watch::{View, Watch};
use crate::Failure;
use crate::event::Event;
use crate::platform::{Deployable, Instance, Place, Sight};
use crate::probe;
use crate::recorder::Recorder;
use crate::secrets::{Secrets, random};
use crate::step::Step;
use crate::workload::Workload;

/// The longest sleep between two looks: so late a cancellation is heeded.
const TICK: Duration = Duration::from_millis(50);
/// How often an API server may end every watch with an error before it counts as gone.
const MOST_FAULTS: u32 = 20;

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
    /// Node ports of each workload's ports.
    pub(super) node_ports: BTreeMap<String, Vec<u16>>,
    pub(super) ready_within: Duration,
    pub(super) watch: Watch,
}

impl KindPlace {
    fn apply(&self, step: &Step, deployments: Vec<Deployment>) -> anyhow::Result<()> {
        let secret = |name: &str| self.secrets.get(name).map(str::to_owned);
        let target =
            Target { namespace: &self.namespace, run: &self.run, service: &self.service, secret: &secret, deployments };
        let list = serde_json::to_vec(&objects(&target)?)?;
        let command = self.tools.within(step).kubectl().args([
            "apply",
            "--server-side",
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

    fn endpoints(&self, workload: &Workload) -> anyhow::Result<Vec<(String, String)>> {
        let node_ports = self.node_ports.get(workload.name()).map_or(&[][..], Vec::as_slice);
        let url = |(port, node_port): (&crate::workload::Port, &u16)| {
            let host_port = self.cluster.host_ports.get(node_port);
            let host_port = host_port.with_context(|| {
                format!("the cluster `{}` has no port for node port {node_port}", self.cluster.name)
            })?;
            Ok((port.name.clone(), format!("http://127.0.0.1:{host_port}")))
        };
        workload.ports().iter().zip(node_ports).map(url).collect()
    }

    /// Waits until every workload has a ready pod that answers, or one cannot have it.
    fn wait(&self, step: &Step, workloads: &[Deployable], instances: &mut [Instance]) -> anyhow::Result<()> {
        let start = step.recorder().elapsed();
        let (mut suspects, mut faults) = (BTreeMap::<String, (String, Duration)>::new(), 0);
        let mut pending: Vec<_> = (0..instances.len()).collect();
        loop {
            step.cancel().check()?;
            let waited = step.recorder().elapsed().saturating_sub(start);
            let states: Vec<_> = {
                let view = self.watch.next(TICK);
                pending.iter().map(|index| diagnose::workload(&instances[*index].workload, &view)).collect()
            };
            let mut last = String::new();
            let mut still = Vec::new();
            for (index, state) in pending.iter().copied().zip(states) {
                let name = instances[index].workload.clone();
                let ready_path = workloads[index].workload.ready_path();
                match state {
                    State::Dead(dead) => return Err(self.failed(*dead).into()),
                    State::Suspect(dead, patience) => {
                        let cause = dead.failure.cause.clone();
                        let (_, since) = suspects.entry(name).or_insert_with(|| (cause.clone(), waited));
                        if waited.saturating_sub(*since) > patience {
                            return Err(self.failed(*dead).into());
                        }
                        last = cause;
                        still.push(index);
                    }
                    State::Waiting(what) => {
                        suspects.remove(&name);
                        last = format!("`{name}` is not ready: {what}");
                        still.push(index);
                    }
                    State::Ready => match answers(&instances[index], ready_path) {
                        Ok(()) => self.ready(step, &mut instances[index], waited),
                        // The way from outside may open a little later than the pod is ready.
                        Err(answer) => {
                            last = format!("`{name}` is ready, but not from outside: {answer}");
                            still.push(index);
                        }
                    },
                }
            }
            pending = still;
            let Some(first) = pending.first() else { return Ok(()) };
            if let Some(node) = self.cluster.nodes.iter().find(|node| node.has_stopped()) {
                return Err(self.failed(node_stopped(&node.name)).into());
            }
            if let Some(fault) = self.watch.renew()? {
                faults += 1;
                if faults > MOST_FAULTS {
                    let cause =
                        format!("the API server of the cluster `{}` does not answer: {fault}", self.cluster.name);
                    return Err(self.failed(Dead { failure: Failure::new(cause), log_of: None }).into());
                }
                step.cancel().wait(TICK);
            }
            if waited > self.ready_within {
                let answer = answers(&instances[*first], workloads[*first].workload.ready_path()).err();
                let answer = answer.map_or_else(String::new, |answer| {
                    format!("; `{}` {answer}", workloads[*first].workload.ready_path())
                });
                let cause = format!("not ready within {} s: {last}{answer}", self.ready_within.as_secs());
                let hint = "the log of the workload says what it waits for; `--ready-within SECONDS` gives it longer";
                let failure = Failure::new(cause).hint(hint);
                let log_of = pod_of(&instances[*first].workload, &self.watch.view())
                    .map(|(pod, container, _)| (pod, container, false));
                return Err(self.failed(Dead { failure, log_of }).into());
            }
        }
    }

    fn ready(&self, step: &Step, instance: &mut Instance, waited: Duration) {
        if let Some((pod, _, _)) = pod_of(&instance.workload, &self.watch.view()) {
            instance.name = format!("pod {pod}");
        }
        step.event(Event::Ready {
            service: self.service.clone(),
            workload: instance.workload.clone(),
            waited_us: u64::try_from(waited.as_micros()).unwrap_or(u64::MAX),
        });
    }

    /// Collects the evidence of a failure.
    fn failed(&self, dead: Dead) -> Failure {
        std::thread::scope(|scope| {
            scope.spawn(|| evidence::collect(&self.tools, &self.cluster, &self.namespace, &self.logs));
            evidence::complete(&self.tools, &self.namespace, dead, &self.logs)
        })
    }
}

fn node_stopped(node: &str) -> Dead {
    let failure = Failure::new(format!("the node `{node}` has stopped"))
        .hint("look for what stopped its container, and run again");
    Dead { failure, log_of: None }
}

/// Pod, container and restarts of the ready pod of a workload, or of any.
fn pod_of(workload: &str, view: &View) -> Option<(String, String, u32)> {
    let mine = || view.pods.values().filter(|pod| pod.workload() == workload && !pod.is_leaving());
    let pod = mine().find(|pod| pod.is_ready()).or_else(|| mine().next())?;
    let status = pod.status.container_statuses.first()?;
    Some((pod.metadata.name.clone(), status.name.clone(), status.restart_count))
}

fn answers(instance: &Instance, path: &str) -> Result<(), String> {
    if instance.endpoints.is_empty() {
        return Ok(());
    }
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
                image: image.image().pinned(),
                fingerprint: image.image().source().fingerprint.to_string(),
                identity: identity.clone(),
                node_ports: self.node_ports.get(workload.name()).cloned().unwrap_or_default(),
            });
            instances.push(Instance {
                workload: workload.name().to_owned(),
                name: format!("deployment {}/{}", self.namespace, workload.name()),
                endpoints: self.endpoints(workload)?,
                identity: Some(identity),
            });
        }
        self.apply(step, deployments)?;
        for (deployable, instance) in workloads.iter().zip(&instances) {
            step.event(Event::Deployed {
                service: self.service.clone(),
                workload: instance.workload.clone(),
                reference: deployable.image.image().reference().to_owned(),
                instance: instance.name.clone(),
            });
        }
        self.wait(step, workloads, &mut instances)?;
        Ok(instances)
    }

    fn look(&self, instance: &Instance, image: &LoadedImage) -> Sight {
        look::look(&self.tools, &self.namespace, &instance.workload, image.image())
    }

    fn down(&self, instance: &Instance) -> Option<Failure> {
        if let Some(node) = self.cluster.nodes.iter().find(|node| node.has_stopped()) {
            return Some(node_stopped(&node.name).failure);
        }
        let dead = diagnose::fallen(&instance.workload, instance.name.strip_prefix("pod ")?, 0, &self.watch.view())?;
        Some(self.failed(dead))
    }

    fn stop(&self, _: &Step) -> anyhow::Result<()> {
        self.watch.stop();
        Ok(())
    }

    fn keep(&self) {
        self.watch.stop();
        let text = format!(
            "the cluster `{}` stays: `kubectl --kubeconfig {} --namespace {} get pods -l {RUN}={} -L {WORKLOAD}`; `cargo xtask clean {}` removes it",
            self.cluster.name,
            supervise::shell_quote(self.tools.kubeconfig.as_os_str()),
            self.namespace,
            self.run,
            self.run,
        );
        self.recorder.event(Event::Note { service: Some(self.service.clone()), text });
    }
}
