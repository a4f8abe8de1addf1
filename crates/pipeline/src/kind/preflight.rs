//! What must be there before a cluster can be made, each with the command that mends it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use supervise::{Cancel, Cmd};

use super::engine::{Provider, answers};
use crate::workload::{Builder, Pipeline};

/// Memory that a node takes, in MiB, as measured with two small services on it.
const NODE_MIB: u64 = 1300;
/// inotify instances that a node takes: systemd, the kubelet, containerd and the control plane, as measured, with some to spare.
const NODE_INOTIFY: u64 = 40;
/// inotify watches that a node takes: what kind's documentation asks for (524,288), divided by far more nodes than anybody has.
const NODE_WATCHES: u64 = 8192;

/// The programs without which nothing works. They are looked up and not run, which would take kubectl alone longer than the
/// lookup of everything else: one that is there and does not work says so at its first command.
pub(super) fn programs() -> Vec<String> {
    const PROGRAMS: [(&str, &str); 2] = [
        (
            "kind",
            "`go install sigs.k8s.io/kind@latest`, or https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
        ),
        ("kubectl", "https://kubernetes.io/docs/tasks/tools/#kubectl"),
    ];
    let missing = PROGRAMS.into_iter().filter(|(program, _)| supervise::find_program(program).is_none());
    missing.map(|(program, how)| format!("`{program}` is not installed: {how}")).collect()
}

/// The engine: the one that was asked for, or the first that answers.
pub(super) fn provider(asked: Option<Provider>, environment: Option<&str>) -> Result<Provider, String> {
    let named = match (asked, environment.filter(|name| !name.is_empty())) {
        (Some(provider), _) => Some(provider),
        (None, Some(name)) => {
            Some(Provider::named(name).map_err(|error| format!("KIND_EXPERIMENTAL_PROVIDER: {error}"))?)
        }
        (None, None) => None,
    };
    if let Some(provider) = named {
        let how = match provider {
            Provider::Podman => "`podman info` must succeed; on Mac and Windows `podman machine start` starts it",
            Provider::Docker => {
                "`docker version` must succeed; `sudo systemctl start docker` or Docker Desktop starts it"
            }
        };
        return answers(provider)
            .map(|()| provider)
            .map_err(|why| format!("the engine does not answer ({why}): {how}"));
    }
    let tried = [Provider::Docker, Provider::Podman].map(|provider| answers(provider).map(|()| provider));
    match tried {
        [Ok(provider), _] | [_, Ok(provider)] => Ok(provider),
        [Err(docker), Err(podman)] => Err(format!(
            "kind needs an engine for its nodes, and none answers (docker: {docker}; podman: {podman}): install podman or start docker"
        )),
    }
}

/// The images of others that the engine lacks, each once.
pub(super) fn images(engine: Provider, pipelines: &[Pipeline]) -> Vec<String> {
    let mut missing = Vec::new();
    for workload in pipelines.iter().flat_map(Pipeline::workloads) {
        let Builder::Image { reference, .. } = workload.builder() else { continue };
        let (who, command) = (format!("`{}`", workload.name()), Cmd::new(engine.name()));
        let lacks = engine.require(&command, reference, &who, &Cancel::new()).err().map(|error| format!("{error:#}"));
        missing.extend(lacks.filter(|lacks| !missing.contains(lacks)));
    }
    missing
}

/// What the machine has for nodes, as far as it tells.
#[derive(Clone, Copy)]
pub(super) struct Machine {
    memory_mib: Option<u64>,
    /// Those that nobody has yet.
    inotify_instances: Option<u64>,
    inotify_watches: Option<u64>,
}

impl Machine {
    /// As it is now.
    pub(super) fn now() -> Machine {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok().and_then(|text| text.trim().parse().ok())
        };
        Machine {
            memory_mib: available_mib(),
            inotify_instances: read("max_user_instances").map(|most: u64| most.saturating_sub(inotify_in_use())),
            inotify_watches: read("max_user_watches"),
        }
    }

    /// How many clusters of so many nodes it has room for at the same time; at least one, which may be said to be too many.
    pub(super) fn clusters(self, nodes: u32) -> usize {
        let needs =
            [(self.memory_mib, NODE_MIB), (self.inotify_instances, NODE_INOTIFY), (self.inotify_watches, NODE_WATCHES)];
        let room = needs.into_iter().filter_map(|(has, node)| Some(has? / (node * u64::from(nodes)))).min();
        room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX)).max(1)
    }

    /// What it is short of, for so many clusters of so many nodes at the same time.
    pub(super) fn lacks(self, clusters: usize, nodes: u32) -> Vec<String> {
        let nodes = clusters as u64 * u64::from(nodes);
        let mut missing = Vec::new();
        if let Some(free) = self.memory_mib.filter(|free| *free < nodes * NODE_MIB) {
            missing.push(format!(
                "{nodes} nodes need about {} MiB of memory and {free} are free: run fewer services at once, or `--platform local`",
                nodes * NODE_MIB
            ));
        }
        let needed = nodes * NODE_INOTIFY;
        if let Some(limit) = self.inotify_instances.filter(|limit| *limit < needed) {
            let enough = needed.next_power_of_two().max(512);
            missing.push(format!(
                "{nodes} nodes need about {needed} inotify instances and a user may have {limit} more: `sudo sysctl fs.inotify.max_user_instances={enough}`"
            ));
        }
        if let Some(limit) = self.inotify_watches.filter(|limit| *limit < nodes * NODE_WATCHES) {
            missing.push(format!("a user may have {limit} inotify watches, too few for {nodes} nodes: `sudo sysctl fs.inotify.max_user_watches=524288`"));
        }
        missing
    }
}

/// How many clusters are created at once: creating keeps a processor busy.
pub(super) fn clusters_at_once() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// inotify instances that processes of this user have, as far as they can be looked at: the limit is one of each user, and other
/// clusters take their share.
fn inotify_in_use() -> u64 {
    let user = |path: &Path| fs::metadata(path).ok().map(|of| of.uid());
    let (ours, processes) = (user(Path::new("/proc/self")), fs::read_dir("/proc").into_iter().flatten().flatten());
    let files = processes
        .map(|process| process.path())
        .filter(|process| user(process) == ours)
        .filter_map(|process| fs::read_dir(process.join("fd")).ok())
        .flat_map(|files| files.flatten());
    let instances =
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|to| to == Path::new("anon_inode:inotify")));
    instances.count() as u64
}

fn available_mib() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(memory_mib: Option<u64>, inotify_instances: Option<u64>, inotify_watches: Option<u64>) -> Machine {
        Machine { memory_mib, inotify_instances, inotify_watches }
    }

    #[test]
    fn what_is_short_is_said_with_what_mends_it() {
        assert_eq!(machine(Some(20_000), Some(512), Some(524_288)).lacks(4, 1), [""; 0]);
        assert_eq!(machine(None, None, None).lacks(4, 1), [""; 0], "what cannot be read is not in the way");
        let memory = machine(Some(3_000), None, None).lacks(2, 2);
        assert!(memory[0].contains("need about 5200 MiB of memory and 3000 are free"), "{memory:?}");
        let instances = machine(None, Some(128), None).lacks(4, 1);
        assert!(
            instances[0].contains("a user may have 128 more: `sudo sysctl fs.inotify.max_user_instances=512`"),
            "{instances:?}"
        );
        let watches = machine(None, None, Some(8192)).lacks(4, 1);
        assert!(watches[0].contains("sudo sysctl fs.inotify.max_user_watches=524288"), "{watches:?}");
    }

    #[test]
    fn as_many_clusters_at_a_time_as_there_is_room_for() {
        let room = |memory, instances, nodes| machine(memory, instances, Some(1_000_000)).clusters(nodes);
        assert_eq!(room(Some(20_000), Some(128), 1), 3);
        assert_eq!(room(Some(3_000), Some(1024), 1), 2);
        assert_eq!(room(Some(20_000), Some(128), 2), 1);
        assert_eq!(room(Some(1_000), Some(128), 1), 1, "one is tried, or was refused with the reason");
        assert_eq!(machine(None, None, None).clusters(1), usize::MAX);
    }

    #[test]
    fn an_engine_that_nobody_drives_is_refused_with_those_that_are() {
        let error = provider(None, Some("nerdctl")).unwrap_err();
        assert!(error.contains("KIND_EXPERIMENTAL_PROVIDER") && error.contains("`podman` or `docker`"), "{error}");
    }
}
