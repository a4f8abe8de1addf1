//! The parts of Kubernetes objects that are read here, as `kubectl -o json` prints them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A list of objects.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List { items: Vec::new() }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: String,
    pub(super) uid: String,
    /// From 1; it grows with every change of what was applied, not of what has become of it.
    pub(super) generation: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Meta,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) node_name: Option<String>,
    pub(super) containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    /// What is run instead of the image's entrypoint.
    pub(super) command: Vec<String>,
    /// What is run instead of the image's command.
    pub(super) args: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    pub(super) phase: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    pub(super) conditions: Vec<Condition>,
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    pub(super) container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) image: String,
    #[serde(rename = "imageID")]
    pub(super) image_id: String,
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
    pub(super) ready: bool,
    pub(super) restart_count: u32,
    pub(super) state: ContainerState,
    pub(super) last_state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) waiting: Option<Waiting>,
    pub(super) running: Option<Running>,
    pub(super) terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Running {}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Terminated {
    pub(super) exit_code: i32,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Pod {
    /// The workload that it is an instance of.
    pub(super) fn workload(&self) -> &str {
        self.metadata.labels.get(super::render::WORKLOAD).map_or("", String::as_str)
    }

    /// The template that it was made from.
    pub(super) fn template(&self) -> &str {
        self.metadata.labels.get("pod-template-hash").map_or("", String::as_str)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.is_leaving() && self.condition("Ready").is_some_and(|condition| condition.status == "True")
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) metadata: Meta,
    spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServicePort {
    name: String,
    node_port: Option<u16>,
}

impl Service {
    /// The node port of a port.
    pub(super) fn node_port(&self, name: &str) -> Option<u16> {
        self.spec.ports.iter().find(|port| port.name == name)?.node_port
    }
}

/// An event of the cluster (`v1`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClusterEvent {
    pub(super) metadata: Meta,
    pub(super) involved_object: Involved,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) last_timestamp: Option<String>,
    pub(super) event_time: Option<String>,
    pub(super) count: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Involved {
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) metadata: Meta,
    pub(super) status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatus {
    pub(super) conditions: Vec<Condition>,
}

impl Node {
    /// Why it is not ready, if it is not.
    pub(super) fn not_ready(&self) -> Option<String> {
        let ready = self.status.conditions.iter().find(|condition| condition.kind == "Ready");
        match ready {
            Some(condition) if condition.status == "True" => None,
            Some(condition) => Some(format!(
                "node `{}` is not ready ({}): {}",
                self.metadata.name,
                condition.reason.as_deref().unwrap_or("no reason"),
                condition.message.as_deref().unwrap_or("it does not say why")
            )),
            None => Some(format!("node `{}` has not reported yet", self.metadata.name)),
        }
    }
}
