//! The end of a command is the end of its group: deadlines, cancellation, what stays behind.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use supervise::{Cancel, CmdErrorKind, Observer};

use crate::{LIMIT, assert_gone, exists, next, sh, signal, with_lines};

/// Without end, and deaf to TERM with everything that it starts.
const DEAF: &str = "trap '' TERM; echo ready $$; while :; do sleep 1000; done";

fn number(line: &str) -> i64 {
    line.split(' ').next_back().and_then(|word| word.parse().ok()).expect("a line that ends with a number")
}

#[test]
fn a_grandchild_that_holds_the_pipe_is_ended_and_reported() {
    let started = Instant::now();
    let output = sh("sleep 1000 & echo group $$").run(&Cancel::new()).unwrap();
    assert!(output.leaked);
    assert!(started.elapsed() < LIMIT, "it waited for the grandchild");
    assert!(output.duration < started.elapsed(), "the time is the leader's, not that of the cleaning");
    assert_gone(number(&output.tail[0]));
}

#[test]
fn a_grandchild_that_holds_nothing_is_ended_and_reported() {
    let output = sh("sleep 1000 >/dev/null 2>&1 & echo group $$").run(&Cancel::new()).unwrap();
    assert!(output.leaked);
    assert_gone(number(&output.tail[0]));
}

#[test]
fn a_process_that_left_the_group_cannot_hold_the_run() {
    let started = Instant::now();
    let output = sh("setsid sleep 1000 & echo escaped $!").run(&Cancel::new()).unwrap();
    assert!(output.leaked && started.elapsed() < LIMIT);
    signal("KILL", number(&output.tail[0]));
}

#[test]
fn a_process_that_left_the_group_and_writes_on_cannot_hold_the_run() {
    let started = Instant::now();
    let output = sh("setsid yes & echo escaped $! >&2").capture_stdout().run(&Cancel::new());
    // `yes` may fill the limit of captured output before it is cut off.
    match output {
        Ok(output) => assert!(output.leaked),
        Err(error) => assert!(matches!(error.kind, CmdErrorKind::OutputTooLarge), "{error}"),
    }
    // The pipe that `yes` writes to is closed, which ends it.
    assert!(started.elapsed() < LIMIT);
}

#[test]
fn a_grandchild_that_ends_in_time_is_no_leak() {
    // Several tries: on a busy machine the grandchild may not get its turn within the limit.
    let tidy = (0..10).any(|_| {
        let output = sh("echo first; (sleep 0.02; echo late) &").run(&Cancel::new()).unwrap();
        !output.leaked && output.tail == ["first", "late"]
    });
    assert!(tidy);
}

#[test]
fn a_deadline_ends_the_whole_group() {
    let started = Instant::now();
    let limit = Duration::from_millis(300);
    let error = sh("echo group $$; sleep 1000 & sleep 1000").deadline(limit).run(&Cancel::new()).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::Deadline(passed) if passed == limit), "{error}");
    assert!(error.to_string().ends_with("was stopped: it ran longer than 300ms"), "{error}");
    assert!(started.elapsed() >= limit && started.elapsed() < LIMIT);
    assert_gone(number(&error.tail[0]));
}

#[test]
fn a_deaf_child_is_killed_after_its_grace() {
    let (cmd, lines) = with_lines(sh(DEAF).grace(Duration::from_millis(150)));
    let process = cmd.spawn(&Cancel::new()).unwrap();
    next(&lines);
    let (pid, started) = (i64::from(process.pid()), Instant::now());
    let stopped = process.stop();
    assert_eq!((stopped.status.as_str(), stopped.killed, stopped.leaked), ("ended by SIGKILL", true, false));
    assert!(started.elapsed() >= Duration::from_millis(150), "the grace was not given");
    assert_gone(pid);
}

#[test]
fn a_deaf_grandchild_that_outlives_its_leader_is_killed() {
    let (cmd, lines) = with_lines(sh(&format!("({DEAF}) & wait")).grace(Duration::from_millis(150)));
    let process = cmd.spawn(&Cancel::new()).unwrap();
    next(&lines);
    let pid = i64::from(process.pid());
    let stopped = process.stop();
    assert_eq!((stopped.status.as_str(), stopped.killed, stopped.leaked), ("ended by SIGTERM", true, true));
    assert_gone(pid);
}

#[test]
fn a_stop_lets_the_group_finish_its_work() {
    let script = "trap 'echo flushed; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let (cmd, lines) = with_lines(sh(script));
    let process = cmd.spawn(&Cancel::new()).unwrap();
    assert_eq!(next(&lines), "ready");
    let stopped = process.stop();
    assert_eq!((stopped.status.as_str(), stopped.killed, stopped.leaked), ("exit status 0", false, false));
    // The shell also says that its `sleep` was terminated.
    assert!(lines.iter().any(|line| line == "flushed"));
}

#[test]
fn an_orphan_that_the_term_missed_is_told_too() {
    // What a fork at the wrong moment does: the child comes after the TERM, and its parent is gone.
    let script = "trap 'sleep 1000 & exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let (cmd, lines) = with_lines(sh(script).grace(LIMIT));
    let process = cmd.spawn(&Cancel::new()).unwrap();
    assert_eq!(next(&lines), "ready");
    let (group, stopped) = (i64::from(process.pid()), process.stop());
    assert_eq!((stopped.status.as_str(), stopped.killed, stopped.leaked), ("exit status 0", false, false));
    assert_gone(group);
}

#[test]
fn what_cleans_up_after_the_term_is_left_alone() {
    let script = "(trap 'sleep 0.1 && echo cleaned; exit' TERM; echo ready; while :; do sleep 0.01; done) & wait";
    let (cmd, lines) = with_lines(sh(script).grace(LIMIT));
    let process = cmd.spawn(&Cancel::new()).unwrap();
    assert_eq!(next(&lines), "ready");
    let stopped = process.stop();
    assert_eq!((stopped.status.as_str(), stopped.killed, stopped.leaked), ("ended by SIGTERM", false, false));
    assert!(lines.iter().any(|line| line == "cleaned"));
}

#[test]
fn a_stopped_process_sees_the_term() {
    let (cmd, lines) = with_lines(sh("echo ready; kill -STOP $$; sleep 1000"));
    let mut process = cmd.spawn(&Cancel::new()).unwrap();
    assert_eq!(next(&lines), "ready");
    assert!(process.try_wait().is_none());
    let stopped = process.stop();
    assert_eq!((stopped.status.as_str(), stopped.killed), ("ended by SIGTERM", false));
}

#[test]
fn a_cancel_from_another_thread_ends_a_run() {
    let cancel = Cancel::new();
    let (cmd, lines) = with_lines(sh("echo group $$; sleep 1000"));
    let run = thread::spawn({
        let cancel = cancel.clone();
        move || cmd.run(&cancel)
    });
    let group = number(&next(&lines));
    let started = Instant::now();
    cancel.cancel();
    let error = run.join().unwrap().unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::Cancelled), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3), "far below the grace of 5 s: {:?}", started.elapsed());
    assert_gone(group);
}

#[test]
fn level_2_cuts_the_grace_short() {
    let cancel = Cancel::new();
    let (cmd, lines) = with_lines(sh(DEAF).grace(Duration::from_secs(1000)));
    let run = thread::spawn({
        let cancel = cancel.clone();
        move || cmd.run(&cancel)
    });
    let group = number(&next(&lines));
    cancel.signal(2);
    assert!(exists(group), "level 1 only asks");
    cancel.signal(2);
    assert!(matches!(run.join().unwrap().unwrap_err().kind, CmdErrorKind::Cancelled));
    assert_gone(group);
}

#[test]
fn level_2_kills_a_process_that_nobody_waits_for() {
    let cancel = Cancel::new();
    let (cmd, lines) = with_lines(sh(DEAF));
    let mut process = cmd.spawn(&cancel).unwrap();
    next(&lines);
    cancel.cancel();
    assert!(process.try_wait().is_none(), "at level 1 the owner decides");
    cancel.kill();
    assert!(process.wait_timeout(LIMIT).is_some());
    assert_gone(i64::from(process.pid()));
}

#[test]
fn a_run_that_level_2_killed_at_once_is_cancelled_too() {
    for _ in 0..20 {
        let cancel = Cancel::new();
        let (cmd, lines) = with_lines(sh("echo ready; exec sleep 1000"));
        let run = thread::spawn({
            let cancel = cancel.clone();
            move || cmd.run(&cancel)
        });
        next(&lines);
        cancel.kill();
        let error = run.join().unwrap().unwrap_err();
        assert!(matches!(error.kind, CmdErrorKind::Cancelled), "{error}");
    }
}

#[test]
fn nothing_starts_once_cancelled() {
    let cancel = Cancel::new();
    cancel.cancel();
    let file = crate::folder("cancelled").join("made");
    let error = sh("touch \"$0\"").arg(&file).run(&cancel).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::Cancelled) && !file.exists(), "{error}");
}

#[test]
fn a_dropped_process_leaves_nobody() {
    let (cmd, lines) = with_lines(sh(&format!("({DEAF}) & wait")));
    let process = cmd.spawn(&Cancel::new()).unwrap();
    let (group, grandchild) = (i64::from(process.pid()), next(&lines));
    drop(process);
    assert_gone(group);
    assert!(grandchild.starts_with("ready"));
}

#[test]
fn a_service_that_ends_by_itself_is_noticed_with_its_words() {
    let mut process = sh("echo no database; exit 7").spawn(&Cancel::new()).unwrap();
    assert_eq!(process.wait_timeout(LIMIT).and_then(|status| status.code()), Some(7));
    assert_eq!(process.try_wait().and_then(|status| status.code()), Some(7));
    let tail = process.tail();
    let stopped = process.stop();
    assert_eq!((stopped.status.as_str(), stopped.killed, stopped.leaked), ("exit status 7", false, false));
    assert!(tail.is_empty() || tail == ["no database"]);
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn started(&self, line: &str, pid: u32) -> u64 {
        assert!(pid > 1);
        self.0.lock().unwrap().push(format!("start {line}"));
        41
    }

    fn ended(&self, id: u64, status: &str, ok: bool, leaked: bool) {
        self.0.lock().unwrap().push(format!("end {id} {status} ok={ok} leaked={leaked}"));
    }
}

#[test]
fn an_observer_hears_each_start_and_each_end_once() {
    let (notes, cancel) = (Arc::new(Notes::default()), Cancel::new());
    sh("exit 0").observer(notes.clone()).run(&cancel).unwrap();
    sh("exit 3").observer(notes.clone()).run(&cancel).unwrap_err();
    sh("sleep 1000").deadline(Duration::from_millis(1)).observer(notes.clone()).run(&cancel).unwrap_err();
    sh("exec sleep 1000").observer(notes.clone()).spawn(&cancel).unwrap().stop();
    drop(sh("exec sleep 1000").observer(notes.clone()).spawn(&cancel).unwrap());
    supervise::Cmd::new("no-such-program-here").observer(notes.clone()).run(&cancel).unwrap_err();
    let expected = [
        "start sh -c 'exit 0'",
        "end 41 exit status 0 ok=true leaked=false",
        "start sh -c 'exit 3'",
        "end 41 exit status 3 ok=false leaked=false",
        "start sh -c 'sleep 1000'",
        "end 41 stopped after 1ms: ended by SIGTERM ok=false leaked=false",
        "start sh -c 'exec sleep 1000'",
        "end 41 ended by SIGTERM ok=true leaked=false",
        "start sh -c 'exec sleep 1000'",
        "end 41 dropped: ended by SIGKILL ok=false leaked=false",
    ];
    assert_eq!(*notes.0.lock().unwrap(), expected);
}
