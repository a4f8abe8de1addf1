//! When a process began, as the kernel has it.

use std::fs;
use std::time::{Duration, SystemTime};

use chrono::Utc;

/// The kernel tells times in hundredths of a second, whatever it counts in itself (`USER_HZ`, time(7)).
const TICKS_PER_SECOND: f64 = 100.0;

/// The time at which a process started, in ticks since the machine did: field 22 of proc_pid_stat(5), counted from behind the
/// name, which may hold anything.
pub(crate) fn start_of(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)
}

/// When this process began, to a few hundredths of a second. `cargo run` becomes the program that it has built: then that is when
/// cargo began to build it. None where the kernel does not tell.
pub fn began() -> Option<SystemTime> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let start: f64 = start_of(&stat)?.parse().ok()?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let age = Duration::try_from_secs_f64(uptime - start / TICKS_PER_SECOND).unwrap_or_default();
    SystemTime::from(Utc::now()).checked_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat =
            "1234 (a) b (c) S 1 1234 1234 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 200 18446744073709551615";
        assert_eq!(start_of(stat), Some("98765"));
    }

    /// A file that is made now is younger than this process, and the program that it runs is older.
    #[test]
    fn this_process_began_between_its_program_and_now() {
        let began = began().unwrap();
        let program = std::env::current_exe().unwrap().metadata().unwrap().modified().unwrap();
        assert!(program < began && began < SystemTime::from(Utc::now()), "{program:?} {began:?}");
    }
}
