//! A process group: the unit that is signalled and whose life decides when a command is over.
//!
//! What must hold: no signal ever goes to group 0 (our own) or 1 and below (`kill(-1)` is everybody); a group that was
//! seen empty is never signalled again, since its number may be another's by then; every live group is in one registry,
//! so that a second Ctrl-C reaches all of them. The kernel does not give a number away while a group still has
//! members, which is why the group may be asked after its leader has been reaped.
//!
//! TERM to the group can miss a member: a program that blocks signals while it forks (glibc's posix_spawn and dash do) may
//! get it before the fork, when the child is no member yet, and die of it afterwards. Such a child is an orphan that was
//! no member when TERM was sent; it is told then, and told again, since a signal that comes between fork and exec may
//! end up in a handler inherited from the parent and be lost too. Telling every newcomer was rejected: a program that
//! was told may start others to clean up.
//!
//! Killing only the leader, as `Child::kill` and duct's `Handle::kill` do, was rejected: its children stay.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::lock;

/// How long an orphan that came after the TERM has before it is told again.
const TELL_AGAIN: Duration = Duration::from_millis(100);

static LIVE: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// One process group, in the registry from its making until it was seen empty or is dropped.
pub(crate) struct Group {
    pgid: i32,
    gone: AtomicBool,
    /// The members that got TERM: with the group, or by themselves at that time.
    told: Mutex<BTreeMap<i32, Option<Instant>>>,
}

/// A running process of a group.
struct Member {
    pid: i32,
    parent: i32,
}

impl Group {
    /// The group that the freshly spawned process `pid` leads.
    pub(crate) fn new(pid: u32) -> io::Result<Group> {
        let pgid = i32::try_from(pid).ok().filter(|pgid| *pgid > 1);
        let pgid = pgid.ok_or_else(|| io::Error::other(format!("process id {pid} cannot lead a group")))?;
        lock(&LIVE).insert(pgid);
        Ok(Group { pgid, gone: AtomicBool::new(false), told: Mutex::default() })
    }

    /// TERM, and CONT after it: a stopped process does not see TERM before it runs again.
    pub(crate) fn terminate(&self) {
        *lock(&self.told) = members(self.pgid).unwrap_or_default().iter().map(|member| (member.pid, None)).collect();
        self.signal(libc::SIGTERM);
        self.signal(libc::SIGCONT);
    }

    /// TERM to orphans that came after it; see the head of this file.
    pub(crate) fn tell_orphans(&self) {
        let members = members(self.pgid).unwrap_or_default();
        let mut told = lock(&self.told);
        for member in members.iter().filter(|member| members.iter().all(|other| other.pid != member.parent)) {
            let due = told.get(&member.pid).is_none_or(|last| last.is_some_and(|last| last.elapsed() >= TELL_AGAIN));
            if due {
                told.insert(member.pid, Some(Instant::now()));
                // One that is gone by now needs no telling.
                drop(send(member.pid, libc::SIGTERM));
            }
        }
    }

    /// KILL.
    pub(crate) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// True while a member runs. Zombies do not count: where nobody reaps orphans (a container whose first process is
    /// not an init) they stay for ever, and `kill(-pgid, 0)` alone would call the group alive as long.
    pub(crate) fn alive(&self) -> bool {
        if self.gone.load(Ordering::Acquire) {
            return false;
        }
        // EPERM means that members exist which changed their user: alive.
        if send(-self.pgid, 0).is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH)) {
            self.forget();
            return false;
        }
        members(self.pgid).is_none_or(|members| !members.is_empty())
    }

    /// Takes the group out of the registry; it is not signalled any more.
    pub(crate) fn forget(&self) {
        // Under the lock, so that `kill_all` never uses a number that was given up here.
        let mut live = lock(&LIVE);
        if !self.gone.swap(true, Ordering::AcqRel) {
            live.remove(&self.pgid);
        }
    }

    fn signal(&self, signo: i32) {
        if self.gone.load(Ordering::Acquire) {
            return;
        }
        if send(-self.pgid, signo).is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH)) {
            self.forget();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.forget();
    }
}

/// KILL to every live group of this process.
pub(crate) fn kill_all() {
    for pgid in lock(&LIVE).iter() {
        // A group that is gone by now is what was wanted.
        drop(send(-*pgid, libc::SIGKILL));
    }
}

/// kill(2): a negative target is a group; `signo` 0 only asks whether there is somebody.
#[expect(unsafe_code, reason = "kill(2) has no safe form in std; it touches no memory of ours")]
fn send(target: i32, signo: i32) -> io::Result<()> {
    // 0 is our own group, -1 every process that we may signal, 1 the system's first.
    if target.unsigned_abs() <= 1 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a system call with two numbers, the first of which was checked above.
    if unsafe { libc::kill(target, signo) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The running processes of a group, out of /proc (proc_pid_stat(5)); None without /proc.
fn members(pgid: i32) -> Option<Vec<Member>> {
    let names = std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.parse().ok());
    Some(pids.filter_map(|pid: i32| member(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?, pgid)).collect())
}

/// The process of a stat line, if it runs and belongs to the group. The command name may hold anything, brackets and
/// spaces too, so the fields are counted from the last bracket. A process whose first thread ended is shown as a zombie
/// while its other threads run.
fn member(pid: i32, stat: &[u8], pgid: i32) -> Option<Member> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let fields: Vec<_> = std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace().collect();
    let (state, parent, pgrp, num_threads) = (fields.first()?, fields.get(1)?, fields.get(2)?, fields.get(17)?);
    let ended = matches!(*state, "Z" | "X") && matches!(*num_threads, "0" | "1");
    if ended || pgrp.parse() != Ok(pgid) { None } else { Some(Member { pid, parent: parent.parse().ok()? }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_group_and_everybody_are_never_signalled() {
        for target in [0, 1, -1] {
            assert_eq!(send(target, 0).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{target}");
        }
        assert!(Group::new(0).is_err() && Group::new(1).is_err() && Group::new(u32::MAX).is_err());
    }

    #[test]
    fn only_running_processes_count_whatever_their_name() {
        let line = |name: &str, state: &str, threads: u32| {
            let stat = format!("12 ({name}) {state} 5 77 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 5");
            member(12, stat.as_bytes(), 77).map(|member| (member.pid, member.parent))
        };
        assert_eq!(line("a) Z 9 (b", "S", 1), Some((12, 5)));
        assert_eq!(line("sh", "Z", 1), None);
        assert_eq!(line("first thread ended", "Z", 2), Some((12, 5)));
        assert!(member(12, b"12 (sh) S 5 78 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5", 77).is_none());
        assert!(member(12, b"garbage", 77).is_none());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only a child that nobody reaps stays a zombie")]
    fn a_group_of_zombies_is_not_alive() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("true").process_group(0).spawn().unwrap();
        let group = Group::new(child.id()).unwrap();
        let (pause, mut tries) = (crate::Cancel::new(), 0);
        while group.alive() {
            tries += 1;
            assert!(tries < 1000, "the zombie counts as alive");
            pause.wait(std::time::Duration::from_millis(10));
        }
        assert!(send(-group.pgid, 0).is_ok(), "the kernel still knows the group");
        child.wait().unwrap();
        assert!(!group.alive());
    }
}
