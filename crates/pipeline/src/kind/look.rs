//! The two links of the proof that only the cluster and its nodes can show.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use image::BuiltImage;

use super::engine::Tools;
use super::node::Node;
use super::objects::{ContainerStatus, List, Pod};
use super::render::WORKLOAD;
use crate::platform::{Seen, Sight};

/// Prints the sha256 of the executable that the main process of a container runs. $1: the container's id.
const EXECUTABLE: &str = r#"pid=$(ctr -n k8s.io task ls | while read -r id pid rest; do [ "$id" = "$1" ] && echo "$pid"; done)
[ -n "$pid" ] || { echo "no process of container $1 runs" >&2; exit 1; }
sha256sum "/proc/$pid/exe""#;

/// Looks at every pod of a workload, as it is now.
pub(super) fn look(tools: &Tools, nodes: &[Node], namespace: &str, workload: &str, image: &BuiltImage) -> Sight {
    let tools = tools.uncancelled();
    let accepted = accepted(image);
    let expected = image.executable_digest();
    let pods = match pods(&tools, namespace, workload) {
        Ok(pods) => pods,
        Err(error) => {
            let why = format!("{error:#}");
            return Sight {
                place_to_container: Seen::broken(&accepted[0], &why),
                container_to_process: expected.map_or_else(unknown, |expected| Seen::broken(expected, &why)),
            };
        }
    };
    let place_to_container = match images(&pods) {
        Ok(found) if found.iter().all(|id| accepted.contains(id)) => Seen::compare(&accepted[0], &accepted[0]),
        Ok(found) => Seen::compare(&accepted[0], found.into_iter().collect::<Vec<_>>().join(", ")),
        Err(why) => Seen::broken(&accepted[0], why),
    };
    let container_to_process = match (expected, executables(&tools, nodes, &pods)) {
        (Err(why), _) => unknown(why),
        (Ok(expected), Ok(found)) => Seen::compare(expected, found.into_iter().collect::<Vec<_>>().join(", ")),
        (Ok(expected), Err(error)) => Seen::broken(expected, format!("{error:#}")),
    };
    Sight { place_to_container, container_to_process }
}

/// Nothing is known of the executable.
fn unknown(why: &str) -> Seen {
    Seen::unchecked("the executable of the image", why)
}

/// The ids that the kubelet may give the image: by its manifest where containerd knows the name with the digest, by its config
/// where it does not. Both name exactly what was built.
fn accepted(image: &BuiltImage) -> [String; 2] {
    [image.pinned(), image.config_digest().to_string()]
}

fn pods(tools: &Tools, namespace: &str, workload: &str) -> anyhow::Result<Vec<Pod>> {
    let selector = format!("{WORKLOAD}={workload}");
    let pods: List<Pod> = tools.get(&["pods", "--namespace", namespace, "--selector", &selector])?;
    Ok(pods.items)
}

/// The images that the pods run; every one must be of one template, and run.
fn images(pods: &[Pod]) -> Result<BTreeSet<String>, String> {
    if pods.is_empty() {
        return Err("there is no pod".to_owned());
    }
    let templates: BTreeSet<_> = pods.iter().map(Pod::template).collect();
    if templates.len() > 1 {
        return Err(format!("its pods are of {} templates: {templates:?}", templates.len()));
    }
    let mut found = BTreeSet::new();
    for pod in pods {
        for status in &pod.status.container_statuses {
            if status.state.running.is_none() {
                return Err(format!("the container `{}` of pod `{}` does not run", status.name, pod.metadata.name));
            }
            found.insert(status.image_id.clone());
        }
    }
    Ok(found)
}

fn executables(tools: &Tools, nodes: &[Node], pods: &[Pod]) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for pod in pods {
        let name = pod.spec.node_name.as_deref().context("its pod is on no node")?;
        let node = nodes.iter().find(|node| node.name == name).with_context(|| format!("its node `{name}` is new"))?;
        let [ContainerStatus { container_id: Some(id), .. }] = pod.status.container_statuses.as_slice() else {
            anyhow::bail!("its pod has no running container, or more than one");
        };
        let id = id.strip_prefix("containerd://").with_context(|| format!("`{id}` is no container of containerd"))?;
        let printed = node.run(tools, EXECUTABLE, &[id])?;
        let sum = printed.split_whitespace().next().unwrap_or_default();
        ensure!(sum.len() == 64, "node `{name}` answers `{}`", printed.trim());
        found.insert(format!("sha256:{sum}"));
    }
    ensure!(!found.is_empty(), "there is no pod");
    Ok(found)
}
