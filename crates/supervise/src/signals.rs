//! SIGINT, SIGTERM and SIGHUP become levels of a [`Cancel`].
//!
//! Children have groups of their own, so a Ctrl-C at the terminal reaches only this process, and each child gets exactly
//! one signal, from us. Signals are handled on a thread of their own (signal-hook's iterator) and never in a handler,
//! where locks and condition variables are forbidden.

use std::sync::Once;
use std::sync::atomic::AtomicBool;
use std::{io, sync, thread};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cancel::Cancel;
use crate::group;

/// Takes over SIGINT, SIGTERM and SIGHUP for this process; to be called once, early.
///
/// The first signal cancels (level 1): commands get TERM and their grace, callers remove what they made. The second
/// kills (level 2) every live group of this process, whatever switch it was started under. The third leaves at once
/// with 128+n, n being the first signal (the exit status that shells report for it); nothing is removed then.
///
/// SIGHUP stays ignored where it was ignored at the start, so `nohup` works.
///
/// # Errors
/// When the handlers cannot be registered or the thread cannot be started.
pub fn install_signals(cancel: &Cancel) -> io::Result<()> {
    let mut wanted = vec![SIGINT, SIGTERM];
    if !ignored_from_the_start(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted)?;
    let cancel = cancel.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for (count, signo) in signals.forever().enumerate() {
            if count >= 2 {
                group::kill_all();
                signal_hook::low_level::exit(128 + cancel.first_signal().unwrap_or(signo));
            }
            cancel.signal(signo);
            if count == 1 {
                group::kill_all();
            }
        }
    })?;
    Ok(())
}

/// Read from /proc (proc_pid_status(5)), as asking sigaction(2) needs unsafe code. Without /proc: not ignored.
fn ignored_from_the_start(signo: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signo - 1)) != 0
}

/// Makes sure that children can be waited for. A caller may have started this process with SIGCHLD ignored, and then
/// the kernel throws every exit status away (waitpid(2), notes); any handler ends that.
pub(crate) fn keep_sigchld() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // If it fails, waiting works as before, and that is right in all but that rare case.
        drop(signal_hook::flag::register(SIGCHLD, sync::Arc::new(AtomicBool::new(false))));
    });
}
