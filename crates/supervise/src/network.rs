//! The network of another process: what only a container can reach can be reached from within its namespace.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// The network namespace of a process, which stays for as long as this does.
#[derive(Clone, Debug)]
pub struct Network(Arc<File>);

impl Network {
    /// That of a process.
    ///
    /// # Errors
    /// If there is no such process, or this one may not enter its network: that takes root's capabilities.
    pub fn of(pid: u32) -> io::Result<Network> {
        let network = Network(Arc::new(File::open(format!("/proc/{pid}/ns/net"))?));
        // Whether it may be entered is known once it was.
        let entered = network.spawn("network", |entered| entered)?;
        entered.join().map_err(|_| io::Error::other("the thread that entered the network panicked"))??;
        Ok(network)
    }

    /// Starts a thread in this network. Threads that it starts are in it as well; sockets that it was given stay in theirs.
    ///
    /// # Errors
    /// If the thread cannot be started. What `work` is given tells whether the network was entered.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(io::Result<()>) -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let namespace = Arc::clone(&self.0);
        Builder::new().name(name.to_owned()).spawn(move || work(enter(&namespace)))
    }
}

/// Puts the calling thread, and no other, into a network namespace.
fn enter(namespace: &File) -> io::Result<()> {
    #[expect(unsafe_code, reason = "std has no form of setns")]
    // SAFETY: a plain system call on a descriptor that is open as long as the call.
    let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if entered == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
