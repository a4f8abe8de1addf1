//! Ways to put something else where the right thing was, on a node and in its cluster.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kit::{becomes, get};
use crate::stage::Ground;

/// Where containerd keeps blobs.
const BLOBS: &str = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256";

/// Gives a program another byte, as a file of its own. $1: the file.
const OTHER: &str = r#"cp "$1" "$1.new"; printf x >>"$1.new"; chmod 755 "$1.new""#;

/// Another image, complete and valid, under the reference $1: the same but for the fingerprint in its label.
const FORGE: &str = r#"folder=$(mktemp -d); cd "$folder"
ctr -n k8s.io images export - "$1" | tar -x
cd blobs/sha256
manifest=$(grep -l '"layers":' $(find . -size -20k -type f) | head -n 1); manifest=${manifest#./}
config=$(grep -o '"config":{[^}]*' "$manifest" | grep -o 'sha256:[0-9a-f]*'); config=${config#sha256:}
ones=$(printf '%064d' 0 | tr 0 1)
sed "s/\(source-fingerprint\":\"sha256:\)[0-9a-f]*/\1$ones/" "$config" >new
forged=$(sha256sum new | cut -c 1-64); [ "$forged" != "$config" ]; mv new "$forged"
sed "s/$config/$forged/" "$manifest" >new; named=$(sha256sum new | cut -c 1-64); mv new "$named"
cd ../..; sed -i "s/$manifest/$named/" index.json; rm -f manifest.json
tar -c . | ctr -n k8s.io images import -; rm -r "$folder""#;

/// The references of a workload's image on the node: this pipeline's, in the order of their tags.
fn reference(cluster: &Cluster, ground: &Ground, workload: &str) -> String {
    let listed = cluster.sh("ctr -n k8s.io images ls -q", &[]);
    let mine = format!("localhost/{workload}:{}-", ground.service);
    listed.lines().find(|name| name.starts_with(&mine)).unwrap_or_else(|| panic!("no {mine} in {listed}")).to_owned()
}

/// The digest that a reference stands for.
fn manifest(cluster: &Cluster, reference: &str) -> String {
    let listed = cluster.sh(r#"ctr -n k8s.io images ls "name==$1""#, &[reference]);
    let digest = listed.split_whitespace().find(|word| word.starts_with("sha256:"));
    digest.unwrap_or_else(|| panic!("no digest in {listed}")).to_owned()
}

/// The name that means exactly these bytes.
fn pinned(cluster: &Cluster, ground: &Ground, workload: &str) -> String {
    let digest = manifest(cluster, &reference(cluster, ground, workload));
    format!("localhost/{workload}@{digest}")
}

/// Lets a name of an image stand for another image.
fn give(cluster: &Cluster, name: &str, image: &str) {
    cluster.sh(r#"ctr -n k8s.io images tag --force "$1" "$2""#, &[image, name]);
}

/// The image is not there any more, under no name.
pub(crate) fn unload(cluster: &Cluster, ground: &Ground) {
    let names = [reference(cluster, ground, "app"), pinned(cluster, ground, "app")];
    cluster.sh(r#"ctr -n k8s.io images rm "$1" "$2""#, &[&names[0], &names[1]]);
}

/// There is nothing under the tag any more.
pub(crate) fn unname(cluster: &Cluster, ground: &mut Ground) {
    cluster.sh(r#"ctr -n k8s.io images rm "$1""#, &[&reference(cluster, ground, "app")]);
}

/// An image of the node's own under the tag.
pub(crate) fn swap(cluster: &Cluster, ground: &mut Ground) {
    let listed = cluster.sh("ctr -n k8s.io images ls -q", &[]);
    let foreign = listed.lines().find(|name| name.contains('/') && !name.starts_with("localhost/")).unwrap();
    give(cluster, &reference(cluster, ground, "app"), foreign);
}

/// The image of `app` under the tag of `aged`.
pub(crate) fn share(cluster: &Cluster, ground: &mut Ground) {
    give(cluster, &reference(cluster, ground, "aged"), &reference(cluster, ground, "app"));
}

/// The image of `aged` under the name of `app` that pods are started by.
pub(crate) fn swap_pinned(cluster: &Cluster, ground: &mut Ground) {
    give(cluster, &pinned(cluster, ground, "app"), &reference(cluster, ground, "aged"));
}

/// Another label under the same tag.
pub(crate) fn forge_label(cluster: &Cluster, ground: &mut Ground) {
    cluster.sh(FORGE, &[&reference(cluster, ground, "app")]);
}

/// The blob that a workload's manifest names first (its configuration) or last (its upper layer).
fn blob(cluster: &Cluster, ground: &Ground, last: bool) -> String {
    let manifest = manifest(cluster, &reference(cluster, ground, &ground.workload));
    let manifest: Value = serde_json::from_str(&cluster.sh(r#"ctr -n k8s.io content get "$1""#, &[&manifest])).unwrap();
    let blob = if last {
        &manifest["layers"].as_array().unwrap().last().unwrap()["digest"]
    } else {
        &manifest["config"]["digest"]
    };
    format!("{BLOBS}/{}", blob.as_str().unwrap().trim_start_matches("sha256:"))
}

/// A byte of a blob is another one.
pub(crate) fn damage(cluster: &Cluster, ground: &mut Ground, layer: bool) {
    let middle =
        r#"size=$(stat -c %s "$1"); printf '\001' | dd of="$1" bs=1 seek=$((size / 2)) conv=notrunc status=none"#;
    cluster.sh(middle, &[&blob(cluster, ground, layer)]);
}

/// A blob is not there any more.
pub(crate) fn lose(cluster: &Cluster, ground: &mut Ground) {
    cluster.sh(r#"rm "$1""#, &[&blob(cluster, ground, false)]);
}

/// The executable is another one where containers find it, while the blob that it was unpacked from is as it was.
pub(crate) fn alter_unpacked(cluster: &Cluster, ground: &mut Ground) {
    let every = r#"for file in /var/lib/containerd/io.containerd.snapshotter.v1.*/snapshots/*/fs/usr/bin/"$1"; do printf x >>"$file"; done"#;
    cluster.sh(every, &[&ground.workload]);
}

fn selector(workload: &str) -> String {
    format!("app.kubernetes.io/name={workload}")
}

/// The only container of a workload, and its process on the node.
fn container(cluster: &Cluster, ground: &Ground) -> (String, String) {
    let path = "jsonpath={.items[0].status.containerStatuses[0].containerID}";
    let id = cluster.within(ground, &["get", "pods", "--selector", &selector("app"), "--output", path]);
    let id = id.trim_start_matches("containerd://").to_owned();
    let listed = cluster.sh(r#"ctr -n k8s.io task ls | grep "^$1""#, &[&id]);
    (id, listed.split_whitespace().nth(1).unwrap().to_owned())
}

/// The file that the process was started from is replaced by another, as a build does it.
pub(crate) fn replace(cluster: &Cluster, ground: &mut Ground) {
    let (id, _) = container(cluster, ground);
    let file = format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{id}/rootfs/usr/bin/app");
    cluster.sh(&format!(r#"{OTHER}; mv "$1.new" "$1""#), &[&file]);
}

/// The process goes on as another program, under the same id, with the same environment.
fn become_other(ground: &Ground, program: &str) {
    assert_eq!(get(&ground.url(&format!("/exec/{program}"))).unwrap(), "going");
    assert!(becomes(|| get(&ground.url("/readyz")).is_ok_and(|answer| answer.contains("\"ready\""))));
}

pub(crate) fn restart_from_replaced(cluster: &Cluster, ground: &mut Ground) {
    replace(cluster, ground);
    become_other(ground, "/usr/bin/app");
}

pub(crate) fn restart_from_another(cluster: &Cluster, ground: &mut Ground) {
    let (_, pid) = container(cluster, ground);
    let script =
        format!(r#"cp "/proc/$1/root/usr/bin/app" "/proc/$1/root/tmp/a"; set -- "/proc/$1/root/tmp/a"; {OTHER}"#);
    cluster.sh(&script, &[&pid]);
    become_other(ground, "/tmp/a.new");
}

/// The pod is made again, from the image of another workload.
pub(crate) fn start_from_another(cluster: &Cluster, ground: &mut Ground) {
    let image = format!("main={}", pinned(cluster, ground, "aged"));
    cluster.within(ground, &["set", "image", "deployment/app", &image]);
    cluster.within(ground, &["rollout", "status", "deployment/app", "--timeout=60s"]);
}

/// The pod is made again with another environment, by another replica set.
pub(crate) fn change(cluster: &Cluster, ground: &mut Ground) {
    cluster.within(ground, &["set", "env", "deployment/app", "DATABASE=another"]);
    cluster.within(ground, &["rollout", "status", "deployment/app", "--timeout=60s"]);
}

/// The pod says that it is of another source.
pub(crate) fn forge_annotation(cluster: &Cluster, ground: &mut Ground) {
    let forged = format!("e2e/source-fingerprint=sha256:{}", "1".repeat(64));
    cluster.within(ground, &["annotate", "pods", "--selector", &selector("app"), "--overwrite", &forged]);
}

/// A pod beside the right one, which passes for one of the workload.
pub(crate) fn add_pod(cluster: &Cluster, ground: &mut Ground) {
    let pods = cluster.within(ground, &["get", "pods", "--selector", &selector("app"), "--output", "json"]);
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let mut pod = pods["items"][0].clone();
    let mut labels = pod["metadata"]["labels"].clone();
    labels["pod-template-hash"] = json!("another");
    let annotations = pod["metadata"]["annotations"].clone();
    pod["metadata"] = json!({ "name": "another", "labels": labels, "annotations": annotations });
    pod["spec"]["nodeName"] = Value::Null;
    pod["status"] = Value::Null;
    cluster.create(ground, &pod);
    cluster.within(ground, &["wait", "pod/another", "--for=condition=Ready", "--timeout=60s"]);
}

/// What answers on the address of `app` is another workload. The node gives addresses to pods in turn: what is left of this
/// meets nobody else.
pub(crate) fn redirect(cluster: &Cluster, ground: &mut Ground) {
    let version = || get(&ground.url("/version"));
    let own = version().unwrap();
    let address = |workload| {
        let path = "jsonpath={.items[0].status.podIP}";
        cluster.within(ground, &["get", "pods", "--selector", &selector(workload), "--output", path])
    };
    cluster.sh(
        r#"iptables -t nat -I OUTPUT -d "$1" -p tcp -j DNAT --to-destination "$2""#,
        &[&address("app"), &address("aged")],
    );
    assert!(becomes(|| version().is_ok_and(|answer| answer != own)));
}
