//! What a cluster costs: loading into its nodes, a run on a fresh one, an edit in one that stays.
//!
//! On a machine without kind each of these says why it was not measured, and that is all.

pub(super) mod edit;
pub(super) mod fresh;
pub(super) mod load;
pub(super) mod packing;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use image::{Engine, NodeAccess, RunId};
use pipeline::Platform as _;
use pipeline::kind::{Clusters, Kind, Options};
use supervise::{Cancel, Cmd};

use super::Lab;
use crate::say;

/// How long a cluster may take to come, or to go.
const LIMIT: Duration = Duration::from_secs(300);

/// A cluster, which goes when it is dropped, however the measurement ends.
pub(super) struct Cluster<'a> {
    lab: &'a Lab,
    engine: Engine,
    name: String,
    kubeconfig: PathBuf,
    deleted: bool,
}

/// A static program.
pub(super) fn program(lab: &Lab) -> anyhow::Result<PathBuf> {
    let (source, program) = (lab.dir.join("program.rs"), lab.dir.join("program"));
    fs::write(&source, "fn main() {}")?;
    let rustc = Cmd::new("rustc").args(["-C", "target-feature=+crt-static", "-o"]).arg(&program).arg(&source);
    rustc.run(&lab.cancel).context("compile a static program")?;
    Ok(program)
}

/// The engine of the clusters. None, with a line that says so, where clusters cannot be made.
pub(super) fn engine() -> anyhow::Result<Option<Engine>> {
    let kind = Kind::new(Options {
        provider: None,
        node_image: None,
        workers: 0,
        clusters: Clusters::Shared,
        ready_within: LIMIT,
        creating: None,
    });
    let missing = kind.preflight(&[]);
    if missing.is_empty() {
        return kind.engine().map(Some);
    }
    say(&format!("not measured: {}", missing.join("; ")));
    Ok(None)
}

impl<'a> Cluster<'a> {
    /// Makes a cluster, as anyone would.
    pub(super) fn create(lab: &'a Lab, engine: Engine) -> anyhow::Result<Cluster<'a>> {
        let name = format!("e2e-bench-{}", RunId::new().short());
        let kubeconfig = lab.dir.join(&name);
        // From here on it is deleted, even if it is made in part only.
        let cluster = Cluster { lab, engine, name, kubeconfig, deleted: false };
        let mut command = cluster.kind(&["create", "cluster", "--wait", "120s"]);
        if let Some(image) = std::env::var("KIND_NODE_IMAGE").ok().filter(|image| !image.is_empty()) {
            command = command.arg("--image").arg(image);
        }
        command.run(&lab.cancel)?;
        Ok(cluster)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A command of kind about this cluster.
    pub(super) fn kind(&self, arguments: &[&str]) -> Cmd {
        let command = Cmd::new("kind").env("KIND_EXPERIMENTAL_PROVIDER", self.engine.name());
        let command = command.env("KUBECONFIG", &self.kubeconfig).args(arguments.iter().copied());
        command.args(["--name", &self.name]).deadline(LIMIT)
    }

    /// Its node, reached as a run reaches it, which looks it up once.
    pub(super) fn access(&self) -> anyhow::Result<NodeAccess> {
        let node = format!("{}-control-plane", self.name);
        let engine = Cmd::new(self.engine.name());
        let pid = engine.args(["container", "inspect", "--format", "{{.State.Pid}}", &node]).capture_stdout();
        let pid =
            String::from_utf8_lossy(&pid.run(&self.lab.cancel)?.stdout).trim().parse().ok().filter(|pid| *pid != 0);
        Ok(NodeAccess::of_container(&node, pid, self.engine, |program| Cmd::new(program)))
    }

    /// Deletes it, and tells how long that took.
    pub(super) fn delete(mut self) -> anyhow::Result<Duration> {
        self.remove()
    }

    fn remove(&mut self) -> anyhow::Result<Duration> {
        if self.deleted {
            return Ok(Duration::ZERO);
        }
        self.deleted = true;
        let start = Instant::now();
        // Also when the measurement was cancelled.
        self.kind(&["delete", "cluster"]).run(&Cancel::new())?;
        Ok(start.elapsed())
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            say(&format!("the cluster `{0}` is left: `kind delete cluster --name {0}` ({error})", self.name));
        }
    }
}
