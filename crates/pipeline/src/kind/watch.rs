//! What goes on in a namespace, as it happens: pods, events and nodes, each watched by a `kubectl` of its own.
//!
//! `kubectl get --watch -o json` prints one indented object after the other; an object ends with a line that is a brace and
//! nothing else. Its one-line form is no use: those lines grow without limit. The logs of each container are followed into a
//! file that `kubectl` itself holds from the moment the container runs, so that they are there however the run ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;
use supervise::Process;

use super::engine::Tools;
use super::objects::{ClusterEvent, Node, Pod};
use crate::recorder::lock;

/// What is known of a namespace.
#[derive(Default)]
pub(super) struct View {
    pub(super) pods: BTreeMap<String, Pod>,
    pub(super) events: BTreeMap<String, ClusterEvent>,
    pub(super) nodes: BTreeMap<String, Node>,
}

impl View {
    /// The pods of a workload that are to stay.
    pub(super) fn pods_of(&self, workload: &str) -> impl Iterator<Item = &Pod> {
        self.pods.values().filter(move |pod| pod.workload() == workload && !pod.is_leaving())
    }
}

/// Watches a namespace until it is dropped.
pub(super) struct Watch {
    shared: Arc<Shared>,
    watchers: Mutex<Vec<(What, Process)>>,
}

#[derive(Clone, Copy)]
enum What {
    Pods,
    Events,
    Nodes,
}

struct Shared {
    tools: Tools,
    namespace: String,
    logs: PathBuf,
    view: Mutex<View>,
    changed: Condvar,
    events_log: File,
    followers: Mutex<Followers>,
}

#[derive(Default)]
struct Followers {
    /// Containers that are followed or were.
    seen: BTreeSet<String>,
    processes: Vec<Process>,
    over: bool,
}

impl Watch {
    /// Begins to watch. The namespace need not exist yet.
    ///
    /// # Errors
    /// If `kubectl` cannot be started, or the log of the events not be made.
    pub(super) fn start(tools: &Tools, namespace: &str, logs: PathBuf) -> anyhow::Result<Watch> {
        let path = logs.join("events.log");
        let events_log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let shared = Arc::new(Shared {
            tools: tools.clone(),
            namespace: namespace.to_owned(),
            logs,
            view: Mutex::new(View::default()),
            changed: Condvar::new(),
            events_log: events_log.with_context(|| format!("open `{}`", path.display()))?,
            followers: Mutex::new(Followers::default()),
        });
        let watch = Watch { shared, watchers: Mutex::new(Vec::new()) };
        for what in [What::Pods, What::Events, What::Nodes] {
            let process = watch.shared.watch(what)?;
            lock(&watch.watchers).push((what, process));
        }
        Ok(watch)
    }

    /// What is known now.
    pub(super) fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.shared.view)
    }

    /// Waits for the next change, at most so long, and then tells what is known.
    pub(super) fn next(&self, limit: Duration) -> MutexGuard<'_, View> {
        let view = self.view();
        self.shared.changed.wait_timeout(view, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells the address of a workload's pod, as it is at the time.
    pub(super) fn address_of(&self, workload: &str) -> impl Fn() -> Option<IpAddr> + Send + use<> {
        let (shared, workload) = (Arc::clone(&self.shared), workload.to_owned());
        move || lock(&shared.view).pods_of(&workload).find_map(|pod| pod.status.pod_ip.as_deref()?.parse().ok())
    }

    /// Starts watchers again that have ended: the API server ends every watch after some time. Gives what the last one said
    /// that ended with an error.
    ///
    /// # Errors
    /// If `kubectl` cannot be started.
    pub(super) fn renew(&self) -> anyhow::Result<Option<String>> {
        let mut fault = None;
        for (what, process) in lock(&self.watchers).iter_mut() {
            if let Some(status) = process.try_wait() {
                if !status.success() {
                    fault = Some(process.tail().pop().unwrap_or_else(|| status.to_string()));
                }
                *process = self.shared.watch(*what)?;
            }
        }
        Ok(fault)
    }

    /// Ends the watching. What was written of the logs stays.
    pub(super) fn stop(&self) {
        let watchers = std::mem::take(&mut *lock(&self.watchers));
        let followers = {
            let mut followers = lock(&self.shared.followers);
            followers.over = true;
            std::mem::take(&mut followers.processes)
        };
        std::thread::scope(|scope| {
            for process in watchers.into_iter().map(|(_, process)| process).chain(followers) {
                scope.spawn(move || process.stop());
            }
        });
    }
}

impl Shared {
    fn watch(self: &Arc<Shared>, what: What) -> anyhow::Result<Process> {
        let command = self.tools.kubectl().arg("get");
        let command = match what {
            What::Pods => command.args(["pods", "--namespace", &self.namespace]),
            What::Events => command.args(["events", "--namespace", &self.namespace]),
            What::Nodes => command.arg("nodes"),
        };
        let (shared, object) = (Arc::clone(self), Mutex::new(Objects::default()));
        let command = command.args(["--watch", "--output", "json"]).on_line(move |line| {
            if let Some(text) = lock(&object).line(line) {
                shared.take(what, &text);
            }
        });
        Ok(command.grace(Duration::from_secs(1)).spawn(self.tools.cancel())?)
    }

    fn take(self: &Arc<Shared>, what: What, text: &str) {
        match what {
            What::Pods => {
                let Some(pod) = parse::<Pod>(text) else { return };
                self.follow(&pod);
                lock(&self.view).pods.insert(pod.metadata.name.clone(), pod);
            }
            What::Events => {
                let Some(event) = parse::<ClusterEvent>(text) else { return };
                let when = event.last_timestamp.as_deref().or(event.event_time.as_deref()).unwrap_or("-");
                let line = format!(
                    "{when} {} {} {}/{}: {}\n",
                    event.kind, event.reason, event.involved_object.kind, event.involved_object.name, event.message
                );
                // What cannot be written is not worth failing a run for.
                drop((&self.events_log).write_all(line.as_bytes()));
                lock(&self.view).events.insert(event.metadata.name.clone(), event);
            }
            What::Nodes => {
                let Some(node) = parse::<Node>(text) else { return };
                lock(&self.view).nodes.insert(node.metadata.name.clone(), node);
            }
        }
        self.changed.notify_all();
    }

    /// Follows the log of every container of a pod that runs or has run.
    fn follow(&self, pod: &Pod) {
        let mut followers = lock(&self.followers);
        for status in pod.containers() {
            let Some(id) = &status.container_id else { continue };
            let begun = status.state.running.is_some() || status.state.terminated.is_some();
            if !begun || followers.over || !followers.seen.insert(id.clone()) {
                continue;
            }
            let log = self.logs.join(format!("{}.log", pod.workload()));
            let command = self.tools.kubectl().args([
                "logs",
                "--namespace",
                &self.namespace,
                "--follow",
                "--container",
                &status.name,
            ]);
            let command = command.arg(&pod.metadata.name).grace(Duration::from_secs(1)).log_directly(log);
            // Without it the evidence is poorer; the run is not worse for it.
            followers.processes.extend(command.spawn(self.tools.cancel()).ok());
        }
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Puts the lines of indented objects together again.
#[derive(Default)]
struct Objects(String);

impl Objects {
    /// The whole object, if this line ends one. What lies between objects (warnings) is dropped.
    fn line(&mut self, line: &str) -> Option<String> {
        match line {
            "{" => self.0 = "{".to_owned(),
            "}" if !self.0.is_empty() => {
                self.0.push('}');
                return Some(std::mem::take(&mut self.0));
            }
            _ if !self.0.is_empty() && line.starts_with(' ') => self.0.push_str(line.trim_start()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_put_together_from_their_lines_whatever_lies_between() {
        let printed = "Warning: x\n{\n    \"metadata\": {\n        \"name\": \"a\"\n    }\n}\n{\n    \"status\": {\n{\n    \"metadata\": {\"name\": \"b\"}\n}\n";
        let mut objects = Objects::default();
        let names: Vec<_> =
            printed.lines().filter_map(|line| objects.line(line)).filter_map(|text| parse::<Pod>(&text)).collect();
        let names: Vec<_> = names.iter().map(|pod| pod.metadata.name.as_str()).collect();
        assert_eq!(names, ["a", "b"], "an object that was cut short is dropped");
    }
}
