//! What is collected when something fails, before anything is removed.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::cluster::Cluster;
use super::diagnose::Dead;
use super::engine::Tools;
use super::watch::View;
use crate::Failure;

/// How many lines of a log are evidence.
const LINES: usize = 20;
/// How long collecting may take: a cluster that does not answer must not hold the run up.
const LIMIT: Duration = Duration::from_secs(15);

/// Writes what the cluster and its nodes say into the logs of the run.
pub(super) fn collect(tools: &Tools, cluster: &Cluster, namespace: &str, logs: &Path) {
    let tools = tools.uncancelled();
    let describe = |what: &str, file: &str| {
        let command =
            tools.kubectl().args(["describe", what, "--namespace", namespace]).deadline(LIMIT).log(logs.join(file));
        drop(command.run(tools.cancel()));
    };
    thread::scope(|scope| {
        scope.spawn(|| describe("pods,replicasets,deployments,services", "describe.log"));
        scope.spawn(|| describe("nodes", "nodes.log"));
        for node in &cluster.nodes {
            let tools = &tools;
            scope.spawn(move || {
                let journal =
                    ["journalctl", "--no-pager", "--lines", "500", "--unit", "kubelet", "--unit", "containerd"];
                let log = logs.join(format!("{}.journal.log", node.name));
                drop(node.enter(tools).args(journal).deadline(LIMIT).log(log).run(tools.cancel()));
            });
        }
    });
}

/// The newest warnings of the cluster: evidence where no container has said anything.
pub(super) fn warnings(view: &View) -> Vec<String> {
    let mut events: Vec<_> = view.events.values().filter(|event| event.kind == "Warning").collect();
    events.sort_by_key(|event| event.last_timestamp.as_ref().or(event.event_time.as_ref()));
    let lines = events.iter().map(|event| {
        let about = &event.involved_object;
        format!("{}/{}: {}: {}", about.kind, about.name, event.reason, event.message.trim())
    });
    lines.skip(events.len().saturating_sub(LINES)).collect()
}

/// The failure, with the last lines of the log of the container concerned.
pub(super) fn complete(tools: &Tools, namespace: &str, dead: Dead, logs: &Path) -> Failure {
    let Some((pod, container, previous)) = dead.log_of else { return dead.failure };
    let tools = tools.uncancelled();
    let log = logs.join(format!("{pod}.last.log"));
    let mut command =
        tools.kubectl().args(["logs", "--namespace", namespace, "--container", &container, "--tail", "200", &pod]);
    if previous {
        command = command.arg("--previous");
    }
    match command.log(&log).deadline(LIMIT).run(tools.cancel()) {
        Ok(output) => {
            let from = output.tail.len().saturating_sub(LINES);
            dead.failure.evidence(output.tail[from..].to_vec()).log(log)
        }
        Err(_) => dead.failure,
    }
}
