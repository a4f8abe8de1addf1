//! Whether a workload can still become ready, told from what the cluster says of it. Pure: no clock, no process.
//!
//! A state that cannot heal ends the wait at once. One that may (a second start, a scheduler that has not heard of a node yet)
//! is given a little time first. Everything else is a matter of the deadline.

use std::time::Duration;

use super::objects::{ClusterEvent, ContainerStatus, Pod, Terminated};
use super::watch::View;
use crate::Failure;

/// What the cluster knows of a workload.
#[derive(Debug)]
pub(super) enum State {
    /// A pod of it is ready.
    Ready,
    /// Not yet, and this is what it waits for.
    Waiting(String),
    /// It cannot become ready.
    Dead(Box<Dead>),
    /// It cannot, if this is still so after some time.
    Suspect(Box<Dead>, Duration),
}

/// Why it cannot become ready.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) failure: Failure,
    /// The pod and container whose log says more, and whether it is the log of the run before.
    pub(super) log_of: Option<(String, String, bool)>,
}

impl Dead {
    /// The cause becomes one sentence: what it quotes of the cluster may have lines, and a full stop.
    pub(super) fn because(cause: String, hint: &str) -> Dead {
        let cause = cause.trim_end_matches(['.', '\n', ' ']).replace('\n', " ");
        Dead { failure: Failure::new(cause).hint(hint), log_of: None }
    }

    fn with_log(mut self, pod: &Pod, status: &ContainerStatus) -> Dead {
        let previous = status.state.terminated.is_none();
        self.log_of = Some((pod.metadata.name.clone(), status.name.clone(), previous));
        self
    }
}

fn dead(cause: String, hint: &str) -> State {
    State::Dead(Box::new(Dead::because(cause, hint)))
}

/// How long a pod may be unschedulable for a reason that can pass: a node that has just reported ready is still marked.
const SCHEDULER_PATIENCE: Duration = Duration::from_secs(6);
/// How long a volume may fail to mount because what it shows does not exist.
const MOUNT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a node may be not ready: the status of a busy one is late now and then.
const NODE_PATIENCE: Duration = Duration::from_secs(5);

/// What is known of one workload.
pub(super) fn workload(name: &str, view: &View) -> State {
    let pods: Vec<_> = view.pods_of(name).collect();
    if pods.iter().any(|pod| pod.is_ready()) {
        return State::Ready;
    }
    for pod in &pods {
        for status in pod.containers() {
            if let Some(state) = container(name, pod, status, view) {
                return state;
            }
        }
        if let Some(state) = whole_pod(name, pod, view) {
            return state;
        }
    }
    if let Some(why) = view.nodes.values().find_map(super::objects::Node::not_ready) {
        let hint = "the journal of its kubelet and containerd is in the logs of the run";
        return State::Suspect(Box::new(Dead::because(format!("`{name}` cannot run: {why}"), hint)), NODE_PATIENCE);
    }
    if pods.is_empty() {
        return no_pod(name, view);
    }
    State::Waiting(pods.first().map_or_else(String::new, |pod| waiting(pod, view)))
}

/// What a container's status says that will not change.
fn container(name: &str, pod: &Pod, status: &ContainerStatus, view: &View) -> Option<State> {
    let last = status.state.terminated.as_ref().or(status.last_state.terminated.as_ref());
    if let Some(end) = last.filter(|end| end.reason == "OOMKilled") {
        let cause = format!(
            "`{name}` was killed because it used more memory than its limit (OOMKilled, exit code {})",
            end.exit_code
        );
        let hint = "find what uses the memory, or raise the limit of the workload";
        return Some(State::Dead(Box::new(Dead::because(cause, hint).with_log(pod, status))));
    }
    if let Some(end) = last.filter(|end| end.reason == "StartError" || end.reason == "ContainerCannotRun") {
        let cause = format!("the program of `{name}` cannot be started: {}", end.message.trim());
        return Some(dead(
            cause,
            "look at the entrypoint of its image, and whether it is built for this kind of processor",
        ));
    }
    let waiting = status.state.waiting.as_ref()?;
    let message = waiting.message.trim();
    let state = match waiting.reason.as_str() {
        "ErrImageNeverPull" => dead(
            format!("the node has no image for `{name}` (ErrImageNeverPull): {message}"),
            "something removed it between load and deploy: run again",
        ),
        "InvalidImageName" => dead(
            format!("the image of `{name}` has no valid name (InvalidImageName): {message}"),
            "name it `HOST/NAME@sha256:…`",
        ),
        reason if reason == "ImagePullBackOff" || reason == "ErrImagePull" && backs_off(pod, view) => dead(
            format!("the image of `{name}` cannot be pulled (ImagePullBackOff): {message}"),
            "the node must be able to reach the registry; images of this run are loaded, never pulled",
        ),
        // The kubelet has not heard yet of what was applied a moment ago; it asks again.
        "CreateContainerConfigError" if message.contains("failed to sync") => return None,
        "CreateContainerConfigError" => dead(
            format!(
                "`{name}` is configured with something that does not exist or is not allowed (CreateContainerConfigError): {message}"
            ),
            "it must be in the namespace before the pod: `cargo xtask render` shows what is applied",
        ),
        "CreateContainerError" | "RunContainerError" => dead(
            format!("the container of `{name}` cannot be made ({}): {message}", waiting.reason),
            "the journal of the node's kubelet and containerd is in the logs of the run",
        ),
        // Not before the second end: the first start may have come too early for something that it needs.
        "CrashLoopBackOff" if status.restart_count >= 1 => {
            let how = last.map_or_else(String::new, |end| format!(", the last time with {}", ending(end)));
            let cause = format!("`{name}` ended {} times{how} (CrashLoopBackOff)", status.restart_count + 1);
            State::Dead(Box::new(Dead::because(cause, "its last lines above say why").with_log(pod, status)))
        }
        _ => return None,
    };
    Some(state)
}

/// The kubelet says so in an event ten seconds and more before it does in the status, which it writes before each try.
fn backs_off(pod: &Pod, view: &View) -> bool {
    about(view, "Pod", &pod.metadata.name).any(|event| event.message == "Error: ImagePullBackOff")
}

fn ending(end: &Terminated) -> String {
    match end.exit_code {
        code @ 129..=192 => format!("signal {}", code - 128),
        code => format!("exit code {code}"),
    }
}

fn whole_pod(name: &str, pod: &Pod, view: &View) -> Option<State> {
    if pod.status.phase == "Failed" {
        let (reason, message) =
            (pod.status.reason.as_deref().unwrap_or("Failed"), pod.status.message.as_deref().unwrap_or_default());
        return Some(dead(
            format!("the pod of `{name}` failed ({reason}): {message}"),
            "`kubectl describe` of it is in the logs of the run",
        ));
    }
    let scheduled = pod.condition("PodScheduled").filter(|condition| condition.status == "False");
    if let Some(message) =
        scheduled.filter(|c| c.reason.as_deref() == Some("Unschedulable")).and_then(|c| c.message.as_deref())
    {
        let cause = format!("no node can take `{name}` (Unschedulable): {message}");
        return Some(match shortage(message) {
            Some(what) => dead(
                format!("no node has enough {what} for `{name}` (Unschedulable): {message}"),
                "ask for less, or use a bigger machine",
            ),
            None => {
                State::Suspect(Box::new(Dead::because(cause, "look at the taints of the nodes")), SCHEDULER_PATIENCE)
            }
        });
    }
    let lacks = |event: &&ClusterEvent| {
        event.reason == "FailedMount"
            && event.message.contains("not found")
            && !event.message.contains("kube-root-ca.crt")
    };
    let mount = about(view, "Pod", &pod.metadata.name).find(lacks)?;
    let cause = format!("a volume of `{name}` shows something that does not exist: {}", mount.message);
    Some(State::Suspect(Box::new(Dead::because(cause, "it must be in the namespace before the pod")), MOUNT_PATIENCE))
}

/// `0/1 nodes are available: 1 Insufficient memory. …` → `memory`.
fn shortage(message: &str) -> Option<&str> {
    let rest = message.split_once("Insufficient ")?.1;
    rest.split([',', '.', ' ']).next()
}

fn about<'a>(view: &'a View, kind: &'a str, name: &'a str) -> impl Iterator<Item = &'a ClusterEvent> {
    view.events.values().filter(move |event| event.involved_object.kind == kind && event.involved_object.name == name)
}

/// Why there is no pod: who makes pods says so in an event.
fn no_pod(name: &str, view: &View) -> State {
    let mine = |event: &&ClusterEvent| {
        let object = &event.involved_object.name;
        event.reason == "FailedCreate"
            && (object == name || object.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')))
    };
    let Some(event) = view.events.values().find(mine) else {
        return State::Waiting("its pod has not been made yet".to_owned());
    };
    let message = event.message.trim();
    if message.contains("serviceaccount") && message.contains("not found") {
        return dead(
            format!("the service account of `{name}` does not exist: {message}"),
            "it must be in the namespace before the deployment",
        );
    }
    if message.contains("violates PodSecurity")
        || message.contains("is forbidden")
        || message.contains("denied the request")
    {
        return dead(
            format!("the cluster does not admit the pod of `{name}`: {message}"),
            "the namespace enforces Pod Security \"restricted\"",
        );
    }
    State::Waiting(format!("its pod cannot be made: {message}"))
}

/// What a pod waits for, as far as the cluster says so.
fn waiting(pod: &Pod, view: &View) -> String {
    let name = &pod.metadata.name;
    let newest = about(view, "Pod", name)
        .filter(|event| event.kind == "Warning")
        .max_by_key(|event| event.last_timestamp.clone());
    let container = pod.containers().find_map(|status| {
        let waiting = status.state.waiting.as_ref()?;
        Some(format!("its container waits ({}) {}", waiting.reason, waiting.message))
    });
    match (container, newest) {
        (Some(container), Some(event)) => format!("{container}: {}", event.message),
        (Some(container), None) => container,
        (None, Some(event)) => event.message.clone(),
        (None, None) => format!("its pod `{name}` is {}", pod.status.phase),
    }
}

/// Why a workload that was ready is so no more, if that is so: `restarts` is what it had then.
pub(super) fn fallen(name: &str, pod: &str, restarts: u32, view: &View) -> Option<Dead> {
    let pod = view.pods.get(pod)?;
    let hint = "its last lines above say why";
    if pod.is_leaving() {
        return Some(Dead::because(
            format!("the pod `{}` of `{name}` was deleted", pod.metadata.name),
            "look for what deleted it",
        ));
    }
    let fallen =
        pod.containers().find(|status| status.restart_count > restarts || status.state.terminated.is_some())?;
    let end = fallen.state.terminated.as_ref().or(fallen.last_state.terminated.as_ref());
    let how = end
        .map_or_else(|| "for a reason that is not known".to_owned(), |end| format!("{} ({})", ending(end), end.reason));
    Some(Dead::because(format!("`{name}` ended by itself: {how}"), hint).with_log(pod, fallen))
}

#[cfg(test)]
mod tests;
