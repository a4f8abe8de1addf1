//! `install_signals` with real signals: this test binary starts itself as the process that gets them.

use std::io::Write;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use supervise::{Cancel, Cmd, Process, install_signals};

use crate::{LIMIT, assert_gone, next, sh, signal, with_lines};

/// Tells the helper below what to do; without it, it does nothing.
const ROLE: &str = "SUPERVISE_TEST_ROLE";

/// The process under test. Its command is deaf to TERM and would be given a very long grace.
#[test]
fn helper() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let cancel = Cancel::new();
    if role == "status" {
        say(&format!("{}", sh("exit 3").run(&cancel).unwrap_err()));
        return;
    }
    install_signals(&cancel).unwrap();
    thread::spawn({
        let cancel = cancel.clone();
        move || {
            cancel.wait(Duration::MAX);
            say("cancelled");
        }
    });
    let script = "trap '' TERM; echo group $$; while :; do sleep 1000; done";
    let cmd = sh(script).grace(Duration::from_secs(1000)).on_line(say);
    let error = cmd.run(&cancel).unwrap_err();
    say(&format!("{:?}", error.kind));
    if role == "stuck" {
        loop {
            thread::park();
        }
    }
    leave(128 + cancel.first_signal().unwrap());
}

/// Not captured by the test harness, unlike `println!`.
fn say(line: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "> {line}").unwrap();
}

#[expect(clippy::disallowed_methods, clippy::exit, reason = "it stands for the main function of a program")]
fn leave(code: i32) {
    std::process::exit(code);
}

fn start(role: &str) -> (Process, Receiver<String>) {
    start_by(Cmd::new(std::env::current_exe().unwrap()), role)
}

fn start_by(cmd: Cmd, role: &str) -> (Process, Receiver<String>) {
    let (cmd, lines) = with_lines(cmd.args(["signals::helper", "--exact", "--nocapture"]).env(ROLE, role));
    (cmd.spawn(&Cancel::new()).unwrap(), lines)
}

/// The next line of the helper, without those of the test harness.
fn said(lines: &Receiver<String>) -> String {
    loop {
        let line = next(lines);
        // The harness writes "test … ... " without a line end before the helper's first line.
        if let Some((_, said)) = line.split_once("> ") {
            return said.to_owned();
        }
    }
}

fn group(lines: &Receiver<String>) -> i64 {
    said(lines).strip_prefix("group ").unwrap().parse().unwrap()
}

fn exit_code(process: &mut Process) -> Option<i32> {
    process.wait_timeout(LIMIT).unwrap().code()
}

#[test]
fn the_first_signal_cancels_and_the_second_kills() {
    let (mut process, lines) = start("polite");
    let (pid, group) = (i64::from(process.pid()), group(&lines));
    signal("INT", pid);
    assert_eq!(said(&lines), "cancelled");
    assert!(crate::exists(group), "the deaf command has its grace");
    assert!(process.try_wait().is_none());
    signal("INT", pid);
    assert_eq!(said(&lines), "Cancelled");
    assert_eq!(exit_code(&mut process), Some(130));
    assert_gone(group);
}

#[test]
fn the_third_signal_leaves_at_once_with_the_first_ones_code() {
    let (mut process, lines) = start("stuck");
    let (pid, group) = (i64::from(process.pid()), group(&lines));
    signal("TERM", pid);
    assert_eq!(said(&lines), "cancelled");
    signal("INT", pid);
    assert_eq!(said(&lines), "Cancelled");
    assert!(process.try_wait().is_none(), "it is stuck in its own code");
    // Not HUP: whoever runs the tests under nohup has it ignored.
    signal("INT", pid);
    assert_eq!(exit_code(&mut process), Some(143));
    assert_gone(group);
}

#[test]
fn a_hangup_is_ignored_under_nohup() {
    let cmd = sh("trap '' HUP; exec \"$0\" \"$@\"").arg(std::env::current_exe().unwrap());
    let (mut process, lines) = start_by(cmd, "polite");
    let (pid, group) = (i64::from(process.pid()), group(&lines));
    signal("HUP", pid);
    signal("TERM", pid);
    assert_eq!(said(&lines), "cancelled");
    signal("TERM", pid);
    assert_eq!(exit_code(&mut process), Some(143), "HUP was not counted");
    assert_gone(group);
}

#[test]
fn a_status_is_known_where_sigchld_was_ignored() {
    // Not `trap '' CHLD`: dash does not pass that on.
    let cmd = Cmd::new("env").arg("--ignore-signal=CHLD").arg(std::env::current_exe().unwrap());
    let (_process, lines) = start_by(cmd, "status");
    assert_eq!(said(&lines), "`sh -c 'exit 3'` failed: exit status 3");
}
