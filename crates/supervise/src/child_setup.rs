//! What is done in the child between fork and exec: listening sockets to fd 3 and on, root, folder, user.
//!
//! What must hold: the closure only makes system calls (no allocation, no locks: other threads of the parent may have
//! held any lock at the fork), so everything it needs is prepared before. Its error reaches the parent as one number
//! through std's own pipe; the step that failed is packed into that number, since std passes it on as it is.
//!
//! std's `uid`, `gid` and `current_dir` were not used: they act before `pre_exec`, and chroot(2) needs root and comes
//! first.

use std::ffi::{CString, OsStr};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::{io, iter};

use crate::lock;

/// First descriptor of sd_listen_fds(3).
const FIRST_LISTENER: i32 = 3;
/// Kernel error numbers are below this (MAX_ERRNO is 4095); what is above is the step.
const STEP: i32 = 4096;
/// The step of [`ChildSetup::is_collision`].
const COLLISION: i32 = 7;

/// What a child gives up before its program starts, in this order: root, folder, groups, group, user.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    /// New root folder (chroot(2)); the program's path and `dir` are looked up inside it. Needs root.
    pub root: Option<PathBuf>,
    /// User and group id to run as, with no further groups. Needs root.
    pub user: Option<(u32, u32)>,
    /// Working directory, inside `root`. With a root and without `dir` it is `/`.
    pub dir: Option<PathBuf>,
}

/// A [`Sandbox`] and listeners, ready for the child.
pub(crate) struct ChildSetup {
    /// Copies of the listeners above the numbers that they will have, so that no `dup2` overwrites one still needed.
    listeners: Vec<OwnedFd>,
    /// The given listeners and what else keeps the low numbers taken while the child is made, so that std's own channel
    /// rarely gets one; see [`ChildSetup::is_collision`].
    low: Mutex<Vec<OwnedFd>>,
    root: Option<CString>,
    dir: Option<CString>,
    user: Option<(u32, u32)>,
}

impl ChildSetup {
    /// The listeners and their copies close with the setup.
    pub(crate) fn new(listeners: Vec<TcpListener>, sandbox: Option<&Sandbox>) -> io::Result<ChildSetup> {
        let end = FIRST_LISTENER + i32::try_from(listeners.len()).map_err(io::Error::other)?;
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for listener in &listeners {
            loop {
                // Gives the lowest free number from 3 on, closed on exec.
                let copy = listener.as_fd().try_clone_to_owned()?;
                if copy.as_raw_fd() >= end {
                    high.push(copy);
                    break;
                }
                low.push(copy);
            }
        }
        low.extend(listeners.into_iter().map(OwnedFd::from));
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| c_string(path.as_os_str())).transpose();
        let root = path(&sandbox.and_then(|sandbox| sandbox.root.clone()))?;
        let dir = match path(&sandbox.and_then(|sandbox| sandbox.dir.clone()))? {
            // Without it the old working directory would stay open, outside the new root.
            None if root.is_some() => Some(c"/".to_owned()),
            dir => dir,
        };
        Ok(ChildSetup {
            listeners: high,
            low: Mutex::new(low),
            root,
            dir,
            user: sandbox.and_then(|sandbox| sandbox.user),
        })
    }

    fn is_empty(&self) -> bool {
        self.listeners.is_empty() && self.root.is_none() && self.dir.is_none() && self.user.is_none()
    }

    /// Adds the steps to `command`.
    #[expect(unsafe_code, reason = "pre_exec is the only way to change fds, root and user between fork and exec")]
    pub(crate) fn install(self: &Arc<ChildSetup>, command: &mut Command) {
        if self.is_empty() {
            return;
        }
        let setup = Arc::clone(self);
        // SAFETY: `apply` makes system calls on data prepared before the fork; it neither allocates nor locks.
        unsafe { command.pre_exec(move || setup.apply()) };
    }

    /// True when std's own channel, by which the parent hears of a failed exec, had got the number of a listener: the
    /// `dup2` would have overwritten it and the error gone unheard. Another thread had closed a descriptor with that
    /// number; it is taken now, and the parent tries again.
    pub(crate) fn is_collision(&self, error: &io::Error) -> bool {
        let collision = error.raw_os_error().is_some_and(|packed| packed / STEP == COLLISION);
        if let Some(listener) = self.listeners.first().filter(|_| collision) {
            let mut low = lock(&self.low);
            let end = FIRST_LISTENER + i32::try_from(self.listeners.len()).unwrap_or(0);
            low.extend(
                iter::from_fn(|| listener.as_fd().try_clone_to_owned().ok()).take_while(|copy| copy.as_raw_fd() < end),
            );
        }
        collision
    }

    /// Runs in the child.
    #[expect(unsafe_code, reason = "dup2, chroot and the set*id calls have no safe form in std")]
    fn apply(&self) -> io::Result<()> {
        if (FIRST_LISTENER..).zip(&self.listeners).any(|(wanted, _)| is_std_channel(wanted)) {
            return Err(io::Error::from_raw_os_error(COLLISION * STEP + libc::EBUSY));
        }
        for (wanted, listener) in (FIRST_LISTENER..).zip(&self.listeners) {
            // SAFETY: plain system call; the source is owned by `self`, the target is the child's own number space.
            check(1, unsafe { libc::dup2(listener.as_raw_fd(), wanted) })?;
        }
        if let Some(root) = &self.root {
            // SAFETY: a NUL-terminated string that lives across the call.
            check(2, unsafe { libc::chroot(root.as_ptr()) })?;
        }
        if let Some(dir) = &self.dir {
            // SAFETY: as above.
            check(3, unsafe { libc::chdir(dir.as_ptr()) })?;
        }
        if let Some((user, group)) = self.user {
            // SAFETY: no groups are read, as the count is 0. Groups first: the later calls take the right to set them.
            check(4, unsafe { libc::setgroups(0, std::ptr::null()) })?;
            // SAFETY: plain system call.
            check(5, unsafe { libc::setgid(group) })?;
            // SAFETY: plain system call.
            check(6, unsafe { libc::setuid(user) })?;
        }
        Ok(())
    }

    /// The step's error in words, if `error` came out of [`ChildSetup::apply`].
    pub(crate) fn explain(&self, error: &io::Error) -> Option<io::Error> {
        let packed = error.raw_os_error().filter(|packed| *packed >= STEP)?;
        let show = |path: &Option<CString>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let (user, group) = self.user.unwrap_or_default();
        let step = match packed / STEP {
            1 => "pass a listener to the child".to_owned(),
            2 => format!("change the root to `{}`", show(&self.root).unwrap_or_default()),
            3 => format!("change to the folder `{}` in the sandbox", show(&self.dir).unwrap_or_default()),
            4 => "drop the supplementary groups".to_owned(),
            5 => format!("change to group {group}"),
            6 => format!("change to user {user}"),
            _ => "keep the channel to the parent".to_owned(),
        };
        let cause = io::Error::from_raw_os_error(packed % STEP);
        let hint = if cause.kind() == io::ErrorKind::PermissionDenied { "; this needs root" } else { "" };
        Some(io::Error::new(cause.kind(), format!("{step}: {cause}{hint}")))
    }
}

/// std's channel is the only socket of this type that a program has unless it makes one itself
/// (rust-lang/rust, library/std/src/sys/process/unix/unix.rs, `Command::spawn`).
#[expect(unsafe_code, reason = "getsockopt has no safe form in std")]
fn is_std_channel(fd: i32) -> bool {
    let mut kind: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the size told. A number that is no socket only gives an error.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, (&raw mut kind).cast(), &raw mut length) };
    result == 0 && kind == libc::SOCK_SEQPACKET
}

fn check(step: i32, result: libc::c_int) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    Err(io::Error::from_raw_os_error(step * STEP + errno))
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("path {text:?} contains a NUL byte")))
}
