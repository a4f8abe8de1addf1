//! The cluster that all cases share, and a witness of what it says: made once, gone at the end however that comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image::{Engine, RunId};
use pipeline::Platform;
use pipeline::kind::{Clusters, Kind, Options};
use serde_json::Value;
use supervise::{Cancel, Cmd, Process};

use crate::kit::lock;
use crate::stage::Ground;

/// Longer than a cluster takes on a machine that does something else meanwhile.
const CREATE_LIMIT: Duration = Duration::from_secs(300);
const LIMIT: Duration = Duration::from_secs(90);

/// What the witness notes of every pod, event and node: a line for each change.
const SEEN: [(&str, &str); 3] = [
    (
        "pods",
        "NAMESPACE:.metadata.namespace,WAITS:.status.containerStatuses[*].state.waiting.reason,\
         ENDED:.status.containerStatuses[*].state.terminated.reason,\
         LAST:.status.containerStatuses[*].lastState.terminated.reason,WHY:.status.conditions[*].reason",
    ),
    ("events", "NAMESPACE:.metadata.namespace,REASON:.reason,MESSAGE:.message"),
    ("nodes", "NAME:.metadata.name,WHY:.status.conditions[*].reason"),
];

/// A real cluster.
pub(crate) struct Cluster {
    name: String,
    engine: Engine,
    dir: PathBuf,
    seen: Mutex<Vec<(Instant, String)>>,
}

/// Removes the cluster when it is dropped.
pub(crate) struct Made {
    pub(crate) cluster: Arc<Cluster>,
    witnesses: Vec<Process>,
}

impl Made {
    /// Makes it; none and the reason, where there can be no cluster.
    pub(crate) fn new(cancel: &Cancel) -> Result<Made, String> {
        let kind = Kind::new(options(Clusters::PerPipeline, LIMIT));
        let missing = kind.preflight(&[crate::kit::bare("one", "ok")]);
        if !missing.is_empty() {
            return Err(missing.join("; "));
        }
        let id = RunId::new().short();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kind-{id}"));
        fs::create_dir_all(&dir).unwrap();
        let cluster =
            Cluster { name: format!("states-{id}"), engine: kind.engine().unwrap(), dir, seen: Mutex::default() };
        let mut made = Made { cluster: Arc::new(cluster), witnesses: Vec::new() };
        let cluster = &made.cluster;
        let mut create = cluster.kind().args(["create", "cluster", "--name", &cluster.name, "--wait", "120s"]);
        if let Ok(image) = std::env::var("KIND_NODE_IMAGE") {
            create = create.args(["--image", &image]);
        }
        let created = create.arg("--kubeconfig").arg(cluster.kubeconfig()).deadline(CREATE_LIMIT).run(cancel);
        created.unwrap_or_else(|error| panic!("{error}\n{}", error.tail.join("\n")));
        made.witnesses = SEEN.map(|(what, columns)| made.cluster.witness(what, columns, cancel)).into();
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for witness in self.witnesses.drain(..) {
            witness.stop();
        }
        let cluster = &self.cluster;
        let delete = cluster.kind().args(["delete", "cluster", "--name", &cluster.name, "--kubeconfig"]);
        let deleted = run(delete.arg(cluster.kubeconfig()));
        let removed = fs::remove_dir_all(&cluster.dir);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            deleted.unwrap();
            removed.unwrap();
        }
    }
}

/// The platform, in a cluster of this kind, where workloads may take so long to become ready.
pub(crate) fn options(clusters: Clusters, ready_within: Duration) -> Options {
    Options { provider: None, node_image: None, workers: 0, clusters, ready_within, creating: None }
}

impl Cluster {
    /// The platform in this cluster.
    pub(crate) fn platform(&self, ready_within: Duration) -> Kind {
        let options = options(Clusters::Reuse(self.name.clone()), ready_within);
        Kind::new(Options { provider: Some(self.engine), ..options })
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    fn node(&self) -> String {
        format!("{}-control-plane", self.name)
    }

    fn kind(&self) -> Cmd {
        Cmd::new("kind").env("KIND_EXPERIMENTAL_PROVIDER", self.engine.name())
    }

    fn kubectl_of(&self, arguments: &[&str]) -> Cmd {
        let command = Cmd::new("kubectl").env("KUBERC", "off").arg("--kubeconfig").arg(self.kubeconfig());
        command.arg("--cache-dir").arg(self.dir.join("cache")).args(arguments.iter().copied())
    }

    /// What `kubectl` prints of the whole cluster.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        run(self.kubectl_of(arguments)).unwrap()
    }

    /// What `kubectl` prints in the namespace of a pipeline.
    pub(crate) fn within(&self, ground: &Ground, arguments: &[&str]) -> String {
        self.kubectl(&[&["--namespace", &namespace(ground)], arguments].concat())
    }

    /// Makes an object in the namespace of a pipeline.
    pub(crate) fn create(&self, ground: &Ground, object: &Value) {
        let bytes = object.to_string();
        let command = self.kubectl_of(&["--namespace", &namespace(ground), "create", "--filename", "-"]);
        run(command.stdin_writer(move |stdin| stdin.write_all(bytes.as_bytes()))).unwrap();
    }

    /// What a script prints on the node.
    pub(crate) fn sh(&self, script: &str, arguments: &[&str]) -> String {
        let command = Cmd::new(self.engine.name()).args(["exec", "-i", &self.node(), "sh", "-euc", script, "sh"]);
        run(command.args(arguments.iter().copied())).unwrap()
    }

    /// The node is gone from one moment to the next.
    pub(crate) fn stop_node(&self, ground: &Ground) {
        self.note(&format!("{} stopped", namespace(ground)));
        run(Cmd::new(self.engine.name()).args(["stop", "-t", "0", &self.node()])).unwrap();
    }

    fn witness(self: &Arc<Cluster>, what: &str, columns: &str, cancel: &Cancel) -> Process {
        let columns = format!("custom-columns={columns}");
        let command = self.kubectl_of(&["get", what, "--all-namespaces", "--watch", "--no-headers", "-o", &columns]);
        let cluster = Arc::clone(self);
        command.on_line(move |line| cluster.note(line)).spawn(cancel).unwrap()
    }

    fn note(&self, line: &str) {
        lock(&self.seen).push((Instant::now(), line.to_owned()));
    }

    /// When the cluster said this for the first time, of the pipeline or, if nothing of it, of the node.
    pub(crate) fn said(&self, ground: &Ground, words: &str) -> Option<Instant> {
        let (of, node) = (namespace(ground), self.node());
        let seen = lock(&self.seen);
        let is_of = |line: &str, of: &str| line.split_whitespace().next() == Some(of);
        let find = |of: &str| seen.iter().find(|(_, line)| is_of(line, of) && line.contains(words));
        find(&of).or_else(|| find(&node)).map(|(when, _)| *when)
    }

    /// The namespaces of runs.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let names = self.kubectl(&["get", "namespaces", "--output", "name"]);
        names.lines().filter(|name| name.contains("/e2e-")).map(str::to_owned).collect()
    }
}

/// The namespace of a pipeline.
pub(crate) fn namespace(ground: &Ground) -> String {
    format!("e2e-{}-{}", ground.id, ground.service)
}

fn run(command: Cmd) -> Result<String, String> {
    let output = command.capture_stdout().deadline(LIMIT).run(&Cancel::new());
    let output = output.map_err(|error| format!("{error}: {}", error.tail.join("; ")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
