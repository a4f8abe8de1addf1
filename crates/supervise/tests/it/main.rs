//! The crate from outside, with real processes. Nothing sleeps to be in step: tests wait for a line, an end or a
//! condition, each with a limit.

mod groups;
mod network;
mod output;
mod quoting;
mod setup;
mod signals;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use supervise::{Cancel, Cmd};

/// Longer than any wait here should take; reaching it is a failure.
const LIMIT: Duration = Duration::from_secs(20);

fn is_root() -> bool {
    text(Cmd::new("id").arg("-u")) == "0"
}

/// A shell script as a command.
fn sh(script: &str) -> Cmd {
    Cmd::new("sh").arg("-c").arg(script)
}

/// The command and the lines that it writes, as they come.
fn with_lines(cmd: Cmd) -> (Cmd, Receiver<String>) {
    let (sender, receiver) = channel();
    // The receiver may be gone by the time of the last lines.
    (cmd.on_line(move |line| drop(sender.send(line.to_owned()))), receiver)
}

fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(LIMIT).expect("a line in time")
}

/// What `cmd` writes to stdout.
fn stdout(cmd: Cmd) -> Vec<u8> {
    cmd.capture_stdout().run(&Cancel::new()).expect("the command succeeds").stdout
}

fn text(cmd: Cmd) -> String {
    String::from_utf8(stdout(cmd)).expect("UTF-8").trim_end().to_owned()
}

fn signal(name: &str, target: i64) {
    let sent = sh(&format!("kill -s {name} -- {target}")).run(&Cancel::new());
    sent.unwrap_or_else(|error| panic!("{error}"));
}

/// True while a process of the group runs. `kill(-group, 0)` would also count zombies, and where the system's first
/// process reaps orphans now and then only, they stay for seconds.
fn exists(group: i64) -> bool {
    let processes = std::fs::read_dir("/proc").expect("list processes");
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    stats.into_iter().any(|stat| {
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields[0] != "Z" && fields[2] == group.to_string()
    })
}

/// A killed process is gone a moment after the signal at the latest.
fn assert_gone(group: i64) {
    let pause = Cancel::new();
    for _ in 0..500 {
        if !exists(group) {
            return;
        }
        pause.wait(Duration::from_millis(10));
    }
    panic!("group {group} still exists");
}

/// A folder of this test, empty at the start.
fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("remove the folder of an earlier run");
    }
    std::fs::create_dir_all(&path).expect("make a folder");
    path
}
