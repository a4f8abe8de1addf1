//! A node of a cluster: a container of the engine.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use image::NodeAccess;
use supervise::{Cmd, Network};

use super::engine::{ASK_LIMIT, Tools};
use crate::stat::start_of;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    /// Its address in the engine's network.
    pub(super) address: Option<IpAddr>,
    /// Its first process; none where the engine's containers run on another machine.
    process: Option<Process>,
}

/// A process of this machine, told from a later one of the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    start: String,
}

impl Process {
    fn find(pid: u32) -> Option<Process> {
        Some(Process { pid, start: start_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?.to_owned() })
    }
}

impl Node {
    pub(super) fn new(name: &str, address: Option<IpAddr>, pid: u32) -> Node {
        let process = if pid == 0 { None } else { Process::find(pid) };
        Node { name: name.to_owned(), address, process }
    }

    /// Whether the container has stopped, as far as this machine can see.
    pub(super) fn has_stopped(&self) -> bool {
        self.process.as_ref().is_some_and(|process| Process::find(process.pid).as_ref() != Some(process))
    }

    /// The node's address, if this machine can reach it: that of the API server is tried.
    pub(super) fn reachable(&self) -> Option<IpAddr> {
        let address = self.address?;
        TcpStream::connect_timeout(&SocketAddr::new(address, 6443), Duration::from_millis(500)).ok().map(|_| address)
    }

    /// Its network, if this machine may enter it. That it is the node's is seen by the node's address, which is nowhere else:
    /// where the engine's containers run on another machine, their process numbers mean something else here.
    pub(super) fn network(&self) -> Option<Network> {
        let (process, address) = (self.process.as_ref()?, self.address?);
        let network = Network::of(process.pid).ok()?;
        let own =
            network.spawn("network", move |entered| entered.and_then(|()| TcpListener::bind((address, 0)))).ok()?;
        own.join().ok()?.ok().map(|_| network)
    }

    /// How it is reached.
    pub(super) fn access(&self, tools: &Tools) -> NodeAccess {
        let pid = self.process.as_ref().map(|process| process.pid);
        NodeAccess::of_container(&self.name, pid, tools.provider, |program| tools.command(program))
    }

    /// What runs the command that its arguments name on the node, with this command's stdin.
    pub(super) fn enter(&self, tools: &Tools) -> Cmd {
        self.access(tools).enter
    }

    /// What a script prints on the node.
    ///
    /// # Errors
    /// If it fails there.
    pub(super) fn run(&self, tools: &Tools, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let command = self.enter(tools).args(["sh", "-c", script, "sh"]).args(arguments.iter().copied());
        let output = command.capture_stdout().deadline(ASK_LIMIT).run(tools.cancel())?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_process_of_the_same_number_is_another_one() {
        let node = Node::new("n", None, std::process::id());
        assert!(!node.has_stopped());
        let mut other = node.clone();
        other.process.as_mut().unwrap().start = "0".to_owned();
        assert!(other.has_stopped());
        // Where the containers are on another machine nothing can be seen, and nothing is claimed.
        assert!(!Node::new("n", None, 0).has_stopped());
    }
}
