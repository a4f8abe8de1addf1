//! The way into a cluster whose ports were not chosen by us: `kubectl port-forward`, started again whenever it ends.
//!
//! The port on this machine is chosen by the system at the first start and kept: who has the address keeps it. A forward
//! ends by itself when the pod does, or when a connection breaks, so it is never taken for a sign of the workload's end.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use supervise::{Cancel, Process};

use super::engine::Tools;
use crate::shared::Promise;

/// How long `kubectl` may take to say which port it chose.
const START_LIMIT: Duration = Duration::from_secs(15);
/// The pause before it is started again.
const PAUSE: Duration = Duration::from_millis(200);

/// A forward to one port of a pod; ended when it is dropped.
pub(super) struct Forward {
    port: u16,
    over: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Forward {
    /// Opens a port on this machine that leads to a port of a workload.
    ///
    /// # Errors
    /// If no pod of it runs, or `kubectl` cannot reach it.
    pub(super) fn start(tools: &Tools, namespace: &str, workload: &str, port: u16) -> anyhow::Result<Forward> {
        let (process, chosen) = open(tools, namespace, workload, None, port)?;
        let over = Cancel::new();
        let (tools, namespace, workload, end) =
            (tools.clone(), namespace.to_owned(), workload.to_owned(), over.clone());
        let thread = Builder::new().name("forward".to_owned()).spawn(move || {
            let mut process = Some(process);
            while !end.wait(PAUSE) && !tools.cancel().is_kill() {
                let ended = process.as_mut().is_none_or(|process| process.try_wait().is_some());
                if ended {
                    process = open(&tools, &namespace, &workload, Some(chosen), port).ok().map(|(process, _)| process);
                }
            }
            if let Some(process) = process {
                process.stop();
            }
        });
        Ok(Forward { port: chosen, over, thread: Some(thread.context("start a thread")?) })
    }

    /// The port on this machine.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.over.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic there has been shown, and there is nothing left to end.
            drop(thread.join());
        }
    }
}

/// One `kubectl port-forward`, and the port that it listens on.
fn open(
    tools: &Tools,
    namespace: &str,
    workload: &str,
    local: Option<u16>,
    port: u16,
) -> anyhow::Result<(Process, u16)> {
    let chosen = Arc::new(Promise::new());
    let heard = Arc::clone(&chosen);
    let local = local.map_or_else(String::new, |port| port.to_string());
    let command = tools.kubectl().args(["port-forward", "--namespace", namespace, "--address", "127.0.0.1"]);
    let command =
        command.args([format!("deployment/{workload}"), format!("{local}:{port}")]).grace(Duration::from_secs(1));
    let command = command.on_line(move |line| {
        if let Some(port) = listening(line) {
            heard.keep(port);
        }
    });
    let mut process = command.spawn(tools.cancel())?;
    let waits = START_LIMIT.as_millis() / 20;
    for _ in 0..waits {
        if let Some(port) = chosen.now() {
            return Ok((process, port));
        }
        if process.wait_timeout(Duration::from_millis(20)).is_some() {
            break;
        }
        tools.cancel().check()?;
    }
    let said = process.tail().pop().unwrap_or_else(|| "it does not say why".to_owned());
    anyhow::bail!("no way to port {port} of `{workload}` can be opened: {said}")
}

/// `Forwarding from 127.0.0.1:40615 -> 8080`.
fn listening(line: &str) -> Option<u16> {
    line.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_what_kubectl_says() {
        assert_eq!(listening("Forwarding from 127.0.0.1:40615 -> 8080"), Some(40615));
        assert_eq!(listening("Handling connection for 40615"), None);
        assert_eq!(listening("Forwarding from [::1]:40615 -> 8080"), None);
    }
}
