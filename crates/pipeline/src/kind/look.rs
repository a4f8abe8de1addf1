//! The two links of the proof that only the cluster and its nodes can show.

use std::collections::BTreeSet;
use std::fmt::Display;

use anyhow::{Context, ensure};
use image::{BuiltImage, Digest};
use serde::Deserialize;

use super::engine::Tools;
use super::node::Node;
use super::objects::{ContainerStatus, List, Meta, Pod};
use super::render::{FINGERPRINT, WORKLOAD};
use crate::platform::{Seen, Sight};

/// Prints the sha256 of the executable that the main process of a container runs, and then its path, which the kernel marks
/// when the file there is another one by now (proc_pid_exe(5)). $1: the container's id.
const EXECUTABLE: &str = r#"pid=$(ctr -n k8s.io task ls | while read -r id pid rest; do [ "$id" = "$1" ] && echo "$pid"; done)
[ -n "$pid" ] || { echo "no process of container $1 runs" >&2; exit 1; }
sha256sum "/proc/$pid/exe"
readlink "/proc/$pid/exe""#;

/// Looks at every pod of a workload, as it is now.
pub(super) fn look(tools: &Tools, nodes: &[Node], namespace: &str, workload: &str, image: &BuiltImage) -> Sight {
    let tools = tools.uncancelled();
    let accepted = accepted(image);
    let (pods, changed) = match pods(&tools, namespace, workload) {
        Ok(pods) => pods,
        Err(error) => {
            let why = format!("{error:#}");
            return Sight {
                place_to_container: Seen::broken(&accepted[0], &why),
                container_to_process: unreadable(image, &why),
            };
        }
    };
    let place_to_container = match images(&pods, changed, &image.source().fingerprint.to_string()) {
        Ok(found) if found.iter().all(|id| accepted.contains(id)) => Seen::compare(&accepted[0], &accepted[0]),
        Ok(found) => Seen::compare(&accepted[0], found.into_iter().collect::<Vec<_>>().join(", ")),
        Err(why) => Seen::broken(&accepted[0], why),
    };
    let container_to_process = match executables(&tools, nodes, &pods) {
        Ok(found) => process(image, &found),
        Err(error) => unreadable(image, format!("{error:#}")),
    };
    Sight { place_to_container, container_to_process }
}

/// What a process runs.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Executable {
    digest: Digest,
    path: String,
    /// There is another file at the path by now.
    replaced: bool,
}

fn unreadable(image: &BuiltImage, why: impl Display) -> Seen {
    match image.executable_digest() {
        Some(expected) => Seen::broken(expected, why),
        None => Seen::broken("a file of the image", why),
    }
}

/// It must be the program that was packed, or, in an image that an engine built, the file that the image holds where the
/// process runs from: an entrypoint there may go on as any other program of its image.
fn process(image: &BuiltImage, found: &BTreeSet<Executable>) -> Seen {
    let packed = image.executable_digest();
    if packed.is_none() && image.layers().iter().any(|layer| layer.digest != layer.diff_id) {
        return Seen::unchecked(
            "a file of the image",
            "the engine gave the image compressed, and its files cannot be seen",
        );
    }
    let (mut expected, mut seen) = (BTreeSet::new(), Vec::new());
    for Executable { digest, path, replaced } in found {
        let place = if packed.is_some() { String::new() } else { format!(" {path}") };
        let note = if *replaced { ", whose file was replaced" } else { "" };
        seen.push(format!("{digest}{place}{note}"));
        let held = packed.map_or_else(|| image.file_digest(path), |packed| Ok(Some(packed)));
        expected.insert(match held {
            Ok(Some(digest)) => format!("{digest}{place}"),
            Ok(None) => format!("a file of the image, which has none at `{path}`"),
            Err(error) => return unreadable(image, format!("{error:#}")),
        });
    }
    Seen::compare(expected.into_iter().collect::<Vec<_>>().join(", "), seen.join(", "))
}

/// The ids that the kubelet may give the image: by its manifest where containerd knows the name with the digest, by its config
/// where it does not. Both name exactly what was built.
fn accepted(image: &BuiltImage) -> [String; 2] {
    [image.pinned(), image.config_digest().to_string()]
}

/// What a workload consists of.
#[derive(Deserialize)]
#[serde(tag = "kind")]
enum Object {
    Pod(Box<Pod>),
    Deployment { metadata: Meta },
}

/// The pods of a workload, and whether its deployment is another one than was applied.
fn pods(tools: &Tools, namespace: &str, workload: &str) -> anyhow::Result<(Vec<Pod>, bool)> {
    let selector = format!("{WORKLOAD}={workload}");
    let objects: List<Object> = tools.get(&["pods,deployments", "--namespace", namespace, "--selector", &selector])?;
    let (mut pods, mut changed) = (Vec::new(), true);
    for object in objects.items {
        match object {
            Object::Pod(pod) => pods.push(*pod),
            Object::Deployment { metadata } => changed = metadata.generation != 1,
        }
    }
    Ok((pods, changed))
}

/// The images that the pods run; every one must be of the one template that was applied, run what its image says, and say that it is of
/// this source.
fn images(pods: &[Pod], changed: bool, fingerprint: &str) -> Result<BTreeSet<String>, String> {
    if pods.is_empty() {
        return Err("there is no pod".to_owned());
    }
    let templates: BTreeSet<_> = pods.iter().map(Pod::template).collect();
    if templates.len() > 1 {
        return Err(format!("its pods are of {} templates: {templates:?}", templates.len()));
    }
    let mut found = BTreeSet::new();
    if changed {
        found.insert("a deployment that was changed since it was applied".to_owned());
    }
    for pod in pods {
        let told = pod.metadata.annotations.get(FINGERPRINT).map_or("(none)", String::as_str);
        if told != fingerprint {
            found.insert(format!("the pod `{}`, which says that it is of source {told}", pod.metadata.name));
        }
        if let Some(other) = pod.spec.containers.iter().find(|one| !one.command.is_empty() || !one.args.is_empty()) {
            let command = other.command.iter().chain(&other.args).map(String::as_str).collect::<Vec<_>>().join(" ");
            found.insert(format!("the pod `{}`, which was told to run `{command}`", pod.metadata.name));
        }
        for status in &pod.status.container_statuses {
            if status.state.running.is_none() {
                return Err(format!("the container `{}` of pod `{}` does not run", status.name, pod.metadata.name));
            }
            found.insert(status.image_id.clone());
        }
    }
    Ok(found)
}

/// What runs in the containers of pods, asked of their nodes.
///
/// # Errors
/// If one of them does not run.
pub(super) fn executables(tools: &Tools, nodes: &[Node], pods: &[Pod]) -> anyhow::Result<BTreeSet<Executable>> {
    let mut found = BTreeSet::new();
    for pod in pods {
        let name = pod.spec.node_name.as_deref().context("its pod is on no node")?;
        let node = nodes.iter().find(|node| node.name == name).with_context(|| format!("its node `{name}` is new"))?;
        let [ContainerStatus { container_id: Some(id), .. }] = pod.status.container_statuses.as_slice() else {
            anyhow::bail!("its pod has no running container, or more than one");
        };
        let id = id.strip_prefix("containerd://").with_context(|| format!("`{id}` is no container of containerd"))?;
        let printed = node.run(tools, EXECUTABLE, &[id])?;
        let (sum, path) = printed.trim_end().split_once('\n').unwrap_or_default();
        let sum = sum.split_whitespace().next().unwrap_or_default();
        let digest =
            format!("sha256:{sum}").parse().with_context(|| format!("node `{name}` answers `{}`", printed.trim()))?;
        let there = path.strip_suffix(" (deleted)");
        let (path, replaced) = (there.unwrap_or(path).to_owned(), there.is_some());
        found.insert(Executable { digest, path, replaced });
    }
    ensure!(!found.is_empty(), "there is no pod");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods as the API server shows them; the second one is told apart by this part of its container's specification.
    fn pods(other: &serde_json::Value) -> Vec<Pod> {
        let pod = |name: &str, container: &serde_json::Value| {
            serde_json::from_value(serde_json::json!({
                "metadata": { "name": name, "annotations": { FINGERPRINT: "sha256:1" } },
                "spec": { "containers": [container] },
                "status": { "containerStatuses": [{ "name": "main", "imageID": "a@sha256:2", "state": { "running": {} } }] },
            }))
            .unwrap()
        };
        vec![pod("one", &serde_json::json!({})), pod("two", other)]
    }

    #[test]
    fn a_pod_that_was_told_what_to_run_does_not_run_what_its_image_says() {
        let found = |container| images(&pods(&container), false, "sha256:1").unwrap();
        assert_eq!(found(serde_json::json!({ "image": "a@sha256:2" })), BTreeSet::from(["a@sha256:2".to_owned()]));
        for other in [serde_json::json!({ "command": ["sleep", "9"] }), serde_json::json!({ "args": ["sleep", "9"] })] {
            let found = found(other);
            assert!(found.contains("the pod `two`, which was told to run `sleep 9`"), "{found:?}");
        }
    }
}
