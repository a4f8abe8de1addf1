//! One cluster: its name, its creation and its removal.
//!
//! kind's own account is not enough to go by. It ends with success when the node never became ready; a cluster whose
//! creation was cut short is listed like any other; and it holds a lock on the kubeconfig that outlives it when it is killed.
//! So the output is read, nothing is believed to exist because it is listed, and each cluster has a kubeconfig of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use image::{Digest, RunId};
use serde::Deserialize;
use supervise::{Cancel, Cmd, CmdError};

use super::config::config;
use super::engine::{ASK_LIMIT, Provider, Tools, kind_of};
use super::node::Node;
use super::objects::List;
use crate::Failure;
use crate::rundir::write_atomically;
use crate::step::panicked;

/// How long the node may take to become ready once Kubernetes runs on it.
const NODE_READY_LIMIT: &str = "120s";
/// How long a creation may take. The image of the node may have to be pulled first.
const CREATE_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long one attempt to delete may take. Nodes that heed their stop signal slowly need 12 s.
const DELETE_LIMIT: Duration = Duration::from_secs(90);
/// How often a deletion is tried.
const DELETE_TRIES: u32 = 3;
/// The first port that is open on every node; the default range of node ports is 30000 to 32767.
pub(super) const FIRST_NODE_PORT: u16 = 30080;

/// The name of a pipeline's cluster and of its namespace. The longest name that kind derives from it is
/// `NAME-control-plane`, a host name: at most 63 characters.
pub(super) fn name(run: &RunId, service: &str) -> String {
    const LONGEST: usize = 63 - "-control-plane".len() - "e2e-123456789012-".len();
    let short = if service.len() <= LONGEST {
        service.to_owned()
    } else {
        // Cut names must still differ.
        format!("{}-{}", &service[..LONGEST - 9], &Digest::of(service).hex()[..8])
    };
    format!("e2e-{}-{short}", run.short())
}

/// A cluster that was created, as its engine describes it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) nodes: Vec<Node>,
    /// Ports on this machine by node port.
    pub(super) host_ports: BTreeMap<u16, u16>,
}

/// Creates a cluster. It must be in the ledger already.
///
/// # Errors
/// If it cannot be created, or its node does not become ready.
pub(super) fn create(
    tools: &Tools,
    name: &str,
    image: Option<&str>,
    node_ports: &[u16],
    workers: u32,
    log: &Path,
) -> anyhow::Result<Cluster> {
    let dir = tools.kubeconfig.parent().context("a kubeconfig without a directory")?;
    let file = dir.join("cluster.json");
    write_atomically(&file, 0o600, config(node_ports, workers).as_bytes())?;
    let mut command = tools.kind().args(["create", "cluster", "--name", name, "--wait", NODE_READY_LIMIT, "--config"]);
    command = command.arg(file.as_os_str()).arg("--kubeconfig").arg(tools.kubeconfig.as_os_str());
    if let Some(image) = image {
        command = command.args(["--image", image]);
    }
    let output =
        command.deadline(CREATE_LIMIT).log(log).run(tools.cancel()).map_err(|error| explain(error, name, log))?;
    if output.tail.iter().any(|line| line.contains("WARNING: Timed out waiting for Ready")) {
        return Err(not_ready(tools, name, log).into());
    }
    fs::set_permissions(&tools.kubeconfig, fs::Permissions::from_mode(0o600)).context("protect the kubeconfig")?;
    inspect(tools, name)
}

/// Why a creation failed: kind's own line, and what helps.
fn explain(error: CmdError, name: &str, log: &Path) -> anyhow::Error {
    if !matches!(error.kind, supervise::CmdErrorKind::Exit(_)) {
        return anyhow::Error::new(error).context(format!("create the cluster `{name}`"));
    }
    let text = fs::read_to_string(log).unwrap_or_else(|_| error.tail.join("\n"));
    let line = text.lines().find_map(|line| line.strip_prefix("ERROR: ")).unwrap_or("it does not say why");
    let mut failure = Failure::new(format!("`kind` could not create the cluster `{name}`: {line}"));
    if let Some(hint) = hint(&text) {
        failure = failure.hint(hint);
    }
    failure.evidence(error.tail).log(log).into()
}

fn hint(text: &str) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 7] = [
        (
            "failed to pull image",
            "name a node image that is here or can be pulled: `--node-image IMAGE` or KIND_NODE_IMAGE",
        ),
        ("too many open files", "`sudo sysctl fs.inotify.max_user_instances=1024 fs.inotify.max_user_watches=1048576`"),
        (
            "could not find a log line",
            "the node did not boot: look whether the engine may run systemd, and at the inotify limits",
        ),
        ("no space left on device", "free some disk space: a cluster takes about 1.2 GB"),
        ("address already in use", "another program took the port: run again"),
        ("database is locked", "another process holds the engine's store: run again when it is done"),
        ("failed to lock config file", "another `kind` uses this kubeconfig: run again"),
    ];
    KNOWN.iter().find(|(sign, _)| text.contains(sign)).map(|(_, hint)| *hint)
}

/// kind ends well although the node is not ready: the node says why.
fn not_ready(tools: &Tools, name: &str, log: &Path) -> Failure {
    let nodes: List<super::objects::Node> = tools.get(&["nodes"]).unwrap_or_default();
    let why: Vec<_> = nodes.items.iter().filter_map(super::objects::Node::not_ready).collect();
    let why = if why.is_empty() { "it does not say why".to_owned() } else { why.join("; ") };
    Failure::new(format!("the node of the cluster `{name}` was not ready within {NODE_READY_LIMIT}: {why}"))
        .log(log)
        .hint("a machine under load may need longer: run fewer pipelines at once, or run again")
}

#[derive(Deserialize)]
struct Inspected {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "NetworkSettings")]
    network: Network,
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "Pid")]
    pid: u32,
}

#[derive(Deserialize)]
struct Network {
    #[serde(rename = "Ports")]
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    #[serde(rename = "Networks")]
    networks: Option<BTreeMap<String, Attachment>>,
}

#[derive(Deserialize)]
struct Attachment {
    #[serde(rename = "IPAddress")]
    address: String,
}

#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "HostPort")]
    host_port: String,
}

/// The nodes of a cluster and their open ports, as the engine has them.
///
/// # Errors
/// If the cluster has no nodes, or the engine does not describe them.
pub(super) fn inspect(tools: &Tools, name: &str) -> anyhow::Result<Cluster> {
    let names =
        tools.kind().args(["get", "nodes", "--name", name]).capture_stdout().deadline(ASK_LIMIT).run(tools.cancel())?;
    let names = String::from_utf8_lossy(&names.stdout).into_owned();
    let names: Vec<_> = names.split_whitespace().collect();
    // `kind get nodes` says so with success.
    anyhow::ensure!(!names.is_empty(), "the cluster `{name}` has no nodes");
    let command = tools.engine().args(["container", "inspect"]).args(names).capture_stdout().deadline(ASK_LIMIT);
    parse_inspected(name, &command.run(tools.cancel())?.stdout)
}

fn parse_inspected(name: &str, json: &[u8]) -> anyhow::Result<Cluster> {
    let inspected: Vec<Inspected> = serde_json::from_slice(json).context("read what the engine says of the nodes")?;
    let (mut nodes, mut host_ports) = (Vec::new(), BTreeMap::new());
    for container in inspected {
        let networks = container.network.networks.unwrap_or_default();
        let address = networks.values().find_map(|network| network.address.parse().ok());
        nodes.push(Node::new(container.name.trim_start_matches('/'), address, container.state.pid));
        for (port, bindings) in container.network.ports.unwrap_or_default() {
            let node_port = port.strip_suffix("/tcp").and_then(|port| port.parse::<u16>().ok());
            let host_port = bindings.and_then(|all| all.first()?.host_port.parse::<u16>().ok());
            host_ports.extend(node_port.zip(host_port));
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Cluster { name: name.to_owned(), nodes, host_ports })
}

/// Writes the kubeconfig of a cluster that exists, and describes it.
///
/// # Errors
/// If there is no such cluster, it does not run, or its kubeconfig leads anywhere but to its own node.
pub(super) fn adopt(tools: &Tools, name: &str) -> anyhow::Result<Cluster> {
    let get = tools.kind().args(["get", "kubeconfig", "--name", name]).capture_stdout().deadline(ASK_LIMIT);
    let (output, cluster) = thread::scope(|scope| {
        let cluster = scope.spawn(|| inspect(tools, name));
        (get.run(tools.cancel()), cluster.join().map_err(panicked))
    });
    let output = output.map_err(|error| {
        let said =
            error.tail.iter().find_map(|line| line.strip_prefix("ERROR: ")).unwrap_or("it does not say why").to_owned();
        anyhow::Error::new(error)
            .context(format!("the cluster `{name}` cannot be used: {said}; `kind get clusters` lists those that exist"))
    })?;
    write_atomically(&tools.kubeconfig, 0o600, &output.stdout)?;
    let cluster = cluster??;
    let kubeconfig = String::from_utf8_lossy(&output.stdout).into_owned();
    check_server(&kubeconfig, &cluster)?;
    Ok(cluster)
}

/// That the server of a kubeconfig is the port by which the cluster's own node can be reached.
fn check_server(kubeconfig: &str, cluster: &Cluster) -> anyhow::Result<()> {
    let server = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap_or("(none)");
    let published = cluster.host_ports.get(&6443);
    let matches = published.is_some_and(|port| server.ends_with(&format!(":{port}")));
    let published = published.map_or_else(|| "no port".to_owned(), |port| format!("port {port}"));
    anyhow::ensure!(
        matches,
        "the kubeconfig of the cluster `{}` points to {server}, but its node has {published}: it is not used, since that may be another cluster",
        cluster.name
    );
    Ok(())
}

/// Deletes a namespace of a cluster with everything in it; it is no error if there is none.
///
/// What runs in it, and the ways to it, are deleted by themselves: a cluster leaves them alone for the first five seconds of a
/// namespace's end (`namespaceDeletionGracePeriod` of the controller manager), and would then close the ways of this run just
/// when it is to open those of the next. Nobody waits for any end: that of a pod and that of a namespace cannot be taken back,
/// and a pod is given two seconds for its own.
///
/// # Errors
/// If the cluster does not take the order.
pub(crate) fn delete_namespace(name: &str, kubeconfig: &Path) -> anyhow::Result<()> {
    let delete = |arguments: &[&str]| {
        let command = Cmd::new("kubectl").env("KUBERC", "off").arg("--kubeconfig").arg(kubeconfig.as_os_str());
        let command = command.arg("--cache-dir").arg(kubeconfig.with_file_name("kubectl")).arg("delete");
        let command = command.args(arguments.iter().copied()).arg("--ignore-not-found").deadline(DELETE_LIMIT);
        command.run(&Cancel::new()).map(drop).map_err(|error| {
            let said = error.tail.last().cloned().unwrap_or_default();
            anyhow::Error::new(error).context(said)
        })
    };
    thread::scope(|scope| {
        let workloads = scope.spawn(|| delete(&["deployments,services", "--all", "--namespace", name]));
        let namespace = delete(&["namespace", name, "--wait=false"]);
        workloads.join().map_err(panicked)?.and(namespace)
    })
}

/// Deletes a cluster with everything of it; it is no error if there is none.
///
/// # Errors
/// If a container or a volume of it is still there after three attempts, or after one that failed for a reason that does not
/// pass by itself.
pub(crate) fn delete(name: &str, provider: Provider, kubeconfig: &Path) -> anyhow::Result<()> {
    let cancel = Cancel::new();
    for attempt in 1.. {
        // Nobody else uses this kubeconfig: a lock on it was left by a `kind` that was killed.
        drop(fs::remove_file(kubeconfig.with_extension("lock")));
        let command = kind_of(Cmd::new("kind"), provider).args(["delete", "cluster", "--name", name, "--kubeconfig"]);
        let result = command.arg(kubeconfig.as_os_str()).deadline(DELETE_LIMIT).run(&cancel);
        match result {
            Ok(_) => break,
            Err(error) if attempt < DELETE_TRIES && passes(&error) => {
                cancel.wait(Duration::from_secs(u64::from(attempt)));
            }
            Err(error) => {
                let said = error.tail.iter().rev().find(|line| line.contains("ERROR") || line.contains("Error"));
                let said = said.cloned().unwrap_or_default();
                return Err(anyhow::Error::new(error).context(format!("{said} (attempt {attempt} of {DELETE_TRIES})")));
            }
        }
    }
    // kind believes its engine; what is left is asked for by the label that every part of the cluster carries.
    let label = format!("label=io.x-k8s.kind.cluster={name}");
    for arguments in [["ps", "-a", "-q"].as_slice(), &["volume", "ls", "-q"]] {
        let command = Cmd::new(provider.name()).args(arguments).args(["--filter", &label]);
        let left = command.capture_stdout().deadline(ASK_LIMIT).run(&cancel)?;
        let left = String::from_utf8_lossy(&left.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        if !left.is_empty() {
            bail!("`kind delete cluster` succeeded, but this is left of `{name}`: {left}");
        }
    }
    Ok(())
}

/// Whether a failed deletion may well succeed a moment later.
fn passes(error: &CmdError) -> bool {
    const PASSING: [&str; 8] = [
        "container state improper",
        "device or resource busy",
        "database is locked",
        "failed to lock config file",
        "resource temporarily unavailable",
        "removal already in progress",
        "removal of container",
        "timeout",
    ];
    error.tail.iter().any(|line| PASSING.iter().any(|sign| line.contains(sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_derived_from_a_cluster_is_a_valid_host_name() {
        let run = RunId::new();
        let long = "a-service-with-a-name-that-nobody-wants-to-type-twice";
        for service in ["gateway", "remediationorchestrator", long] {
            let node = format!("{}-control-plane", name(&run, service));
            assert!(node.len() <= 63 && node.contains(&run.short()), "{node}");
        }
        assert!(name(&run, "gateway").ends_with("-gateway"));
        assert_ne!(name(&run, &format!("{long}-1")), name(&run, &format!("{long}-2")));
        assert_ne!(name(&run, "gateway"), name(&RunId::new(), "gateway"));
    }

    #[test]
    fn a_kubeconfig_that_points_elsewhere_is_refused() {
        let cluster = Cluster { name: "n".to_owned(), nodes: Vec::new(), host_ports: BTreeMap::from([(6443, 46189)]) };
        let kubeconfig = |server: &str| format!("clusters:\n- cluster:\n    server: {server}\n  name: kind-n\n");
        check_server(&kubeconfig("https://127.0.0.1:46189"), &cluster).unwrap();
        let error = check_server(&kubeconfig("https://10.0.0.7:6443"), &cluster).unwrap_err().to_string();
        assert!(error.contains("points to https://10.0.0.7:6443, but its node has port 46189"), "{error}");
        assert!(check_server("", &cluster).is_err());
    }

    #[test]
    fn ports_are_read_back_from_either_engine() {
        // podman 4.3 and docker 28 as recorded, the fields that are read; docker puts a slash before the name.
        let podman = r#"[{"Name":"n-control-plane","State":{"Pid":1},"NetworkSettings":{"Ports":
            {"30080/tcp":[{"HostIp":"127.0.0.1","HostPort":"44843"}],"6443/tcp":[{"HostIp":"127.0.0.1","HostPort":"46189"}]},
            "Networks":{"kind":{"IPAddress":"10.89.0.2"}}}},
            {"Name":"/n-worker","State":{"Pid":0},"NetworkSettings":{"Ports":{"8080/udp":null}}}]"#;
        let cluster = parse_inspected("n", podman.as_bytes()).unwrap();
        assert_eq!(cluster.host_ports, BTreeMap::from([(30080, 44843), (6443, 46189)]));
        assert_eq!(cluster.nodes[0].address, Some("10.89.0.2".parse().unwrap()));
        let nodes: Vec<_> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(nodes, ["n-control-plane", "n-worker"]);
    }
}
