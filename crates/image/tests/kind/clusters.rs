//! Real nodes: those of two clusters, since a cluster of several needs what not every machine has.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use image::{Digest, Engine, NodeAccess, NodeStore, RunId};
use supervise::{Cancel, Cmd};

const LIMIT: Duration = Duration::from_secs(240);

/// The engine of the nodes.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let named = std::env::var("KIND_EXPERIMENTAL_PROVIDER").ok().filter(|name| !name.is_empty());
    named.map_or(Engine::Podman, |name| Engine::named(&name).unwrap())
});

/// Clusters of one node each, which go when they are dropped.
pub(crate) struct Clusters {
    names: Vec<String>,
    dir: PathBuf,
}

/// How a node is entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through the engine: anyone can.
    Engine,
    /// Straight into its namespaces, as root; blobs are then hashed from here.
    Namespaces,
}

impl Clusters {
    /// Makes two, at the same time.
    pub(crate) fn new() -> Result<Clusters, String> {
        engine(&["info"])?;
        Cmd::new("kind").arg("version").deadline(LIMIT).run(&Cancel::new()).map_err(|error| error.to_string())?;
        let names = (1..=2).map(|number| format!("e2e-nodes-{}-{number}", RunId::new().short())).collect();
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nodes-{}", RunId::new().short()));
        std::fs::create_dir_all(&dir).unwrap();
        let clusters = Clusters { names, dir };
        thread::scope(|scope| {
            for name in &clusters.names {
                scope.spawn(|| clusters.kind(&["create", "cluster"], name));
            }
        });
        Ok(clusters)
    }

    fn kind(&self, arguments: &[&str], name: &str) {
        let mut command = Cmd::new("kind").env("KIND_EXPERIMENTAL_PROVIDER", ENGINE.name());
        command = command.env("KUBECONFIG", self.dir.join(name)).args(arguments.iter().copied()).args(["--name", name]);
        let image = std::env::var("KIND_NODE_IMAGE").ok().filter(|image| !image.is_empty());
        if let (Some(image), "create") = (image, arguments[0]) {
            command = command.arg("--image").arg(image);
        }
        command
            .deadline(LIMIT)
            .run(&Cancel::new())
            .unwrap_or_else(|error| panic!("{error}\n{}", error.tail.join("\n")));
    }

    /// The node of a cluster.
    pub(crate) fn node(&self, index: usize) -> Node {
        Node(format!("{}-control-plane", self.names[index]))
    }

    /// Both nodes, as a store that knows nothing of them yet.
    pub(crate) fn store(&self, ways: [Way; 2]) -> NodeStore {
        let nodes = ways.iter().enumerate().map(|(index, way)| self.node(index).access(*way));
        NodeStore::new(nodes.collect(), Cancel::new())
    }
}

impl Drop for Clusters {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for name in &self.names {
                scope.spawn(|| self.kind(&["delete", "cluster"], name));
            }
        });
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// A node of a cluster.
pub(crate) struct Node(String);

impl Node {
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn access(&self, way: Way) -> NodeAccess {
        let inspect = ["container", "inspect", "--format", "{{.State.Pid}}", &self.0];
        let pid = (way == Way::Namespaces).then(|| engine(&inspect).unwrap().parse().unwrap());
        NodeAccess::of_container(&self.0, pid, *ENGINE, |program| Cmd::new(program))
    }

    /// The node alone, as a store that knows nothing of it yet.
    pub(crate) fn store(&self) -> NodeStore {
        NodeStore::new(vec![self.access(Way::Namespaces)], Cancel::new())
    }

    /// What a command prints there.
    pub(crate) fn run(&self, script: &str) -> String {
        engine(&["exec", &self.0, "sh", "-c", script]).unwrap()
    }

    /// The names of images of this name, of whatever run.
    pub(crate) fn names(&self, image: &str) -> Vec<String> {
        let names = self.run("ctr -n k8s.io images ls -q");
        let ours = |line: &&str| {
            line.starts_with(&format!("localhost/{image}:")) || line.starts_with(&format!("localhost/{image}@"))
        };
        names.lines().filter(ours).map(str::to_owned).collect()
    }

    pub(crate) fn has(&self, blob: &Digest) -> bool {
        self.run("ctr -n k8s.io content ls -q").contains(&blob.to_string())
    }

    /// Where it keeps a blob.
    pub(crate) fn path(blob: &Digest) -> String {
        format!("/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256/{}", blob.hex())
    }

    /// Stops it when it has begun to take in a blob of some size, and gives the time when it is down.
    pub(crate) fn stop_while_it_reads(&self, how: &[&str]) -> Instant {
        let begun = "find /var/lib/containerd/io.containerd.content.v1.content/ingest -name data -size +8M";
        // The fast way, whichever way the image goes: the moment is short.
        let enter = self.access(Way::Namespaces).enter;
        until("the node takes in a blob", || {
            let found = enter.clone().args(["sh", "-c", begun]).capture_stdout().deadline(LIMIT).run(&Cancel::new());
            found.is_ok_and(|found| !found.stdout.is_empty())
        });
        engine(&[how, &[self.name()]].concat()).unwrap();
        Instant::now()
    }
}

/// Waits until something is true.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let (patience, start) = (Cancel::new(), Instant::now());
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited 30 s until {what}");
        patience.wait(Duration::from_millis(5));
    }
}

fn engine(arguments: &[&str]) -> Result<String, String> {
    let command = Cmd::new(ENGINE.name()).args(arguments.iter().copied()).capture_stdout().deadline(LIMIT);
    let output = command.run(&Cancel::new()).map_err(|error| format!("{error}: {}", error.tail.join("; ")))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
