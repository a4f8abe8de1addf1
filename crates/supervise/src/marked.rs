//! Processes that carry a mark in their environment: what a killed owner left behind.
//!
//! A process id that was written down may be another's by now, and one that was not written down in time is not known at
//! all. An environment variable is given to the child by the same system call that starts its program, and its children
//! inherit it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cancel::Cancel;

/// How often it is looked whether they are gone.
const LOOK: Duration = Duration::from_millis(10);
/// How long KILL may take.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Ends every process whose environment has `key=value`, this one excepted: TERM, `grace`, KILL. Processes of other users
/// cannot be seen, and are none of ours. Gives back those that are still there after a bounded time.
#[must_use = "what is still there"]
pub fn end_marked(key: &str, value: &str, grace: Duration, cancel: &Cancel) -> Vec<u32> {
    let mark = format!("{key}={value}");
    // New ones may be started by those that have not ended yet, so the list is made anew in each round.
    let mut left = signal_until(&mark, libc::SIGTERM, grace, cancel);
    if !left.is_empty() {
        left = signal_until(&mark, libc::SIGKILL, KILL_LIMIT, cancel);
    }
    left
}

/// The processes whose environment has `key=value`, this one excepted.
#[must_use]
pub fn find_marked(key: &str, value: &str) -> Vec<u32> {
    find(&format!("{key}={value}"))
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    #[expect(unsafe_code, reason = "std has no form of geteuid")]
    // SAFETY: a plain system call that cannot fail.
    let id = unsafe { libc::geteuid() };
    id == 0
}

fn signal_until(mark: &str, signo: i32, limit: Duration, cancel: &Cancel) -> Vec<u32> {
    let (start, pause) = (Instant::now(), Cancel::new());
    let mut told = Vec::new();
    loop {
        let left = find(mark);
        if left.is_empty() || start.elapsed() > limit || signo != libc::SIGKILL && cancel.is_kill() {
            return left;
        }
        for pid in &left {
            if !told.contains(pid) {
                told.push(*pid);
                signal(*pid, signo);
                signal(*pid, libc::SIGCONT);
            }
        }
        // Not on `cancel`: it may be raised already, and then no wait on it lasts.
        pause.wait(LOOK);
    }
}

fn find(mark: &str) -> Vec<u32> {
    let own = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid > 1 && *pid != own && carries(&Path::new("/proc").join(pid.to_string()), mark)).collect()
}

/// A zombie has no environment any more: it does not count.
fn carries(process: &Path, mark: &str) -> bool {
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

fn signal(pid: u32, signo: i32) {
    let Ok(pid) = i32::try_from(pid) else { return };
    #[expect(unsafe_code, reason = "std can only signal children")]
    // SAFETY: a plain system call; the process was just seen to carry our mark. That it is gone is no fault.
    let _gone = unsafe { libc::kill(pid, signo) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cmd;

    #[test]
    fn only_what_carries_the_mark_ends() {
        let cancel = Cancel::new();
        let value = format!("{}-{:?}", std::process::id(), Instant::now());
        let start = |value: &str| {
            Cmd::new("sh").args(["-c", "trap '' TERM; sleep 1000"]).env("SUPERVISE_MARK", value).spawn(&cancel)
        };
        let (mut mine, mut other) = (start(&value).unwrap(), start("another").unwrap());
        assert!(find_marked("SUPERVISE_MARK", &value).contains(&mine.pid()));
        assert!(end_marked("SUPERVISE_MARK", &value, Duration::from_millis(50), &cancel).is_empty());
        assert!(mine.wait_timeout(Duration::from_secs(5)).is_some(), "killed although it is deaf to TERM");
        assert!(other.try_wait().is_none(), "without the mark it goes on");
        drop((mine, other));
    }
}
