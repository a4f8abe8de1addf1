//! The way to a pod through the network of its node: a port of this machine whose connections are carried on from inside the
//! node's network namespace, where a pod's address leads to the pod.
//!
//! Rejected for a cluster that exists, where no port was mapped when it was made: a node port, which kube-proxy opens once a
//! second, so that the second pod of a run is reached a second after it runs; and `kubectl port-forward` where it can be helped,
//! since every connection then goes through the API server and the kubelet (a suite of 53 tests takes twice as long).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use supervise::{Cancel, Network};

/// How long a pod may take to accept a connection. It is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The pause after a connection that could not be accepted, as when too many files are open.
const PAUSE: Duration = Duration::from_millis(50);

/// A port of this machine that leads to a port of a pod; ended when it is dropped. Connections that are open then are
/// left to those who hold them.
pub(super) struct Relay {
    port: u16,
    over: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Opens a port on this machine. Where it leads to is asked for each connection; as long as there is no address, each is
    /// closed.
    ///
    /// # Errors
    /// If no port can be opened, or no thread started.
    pub(super) fn start(
        network: &Network,
        to: impl Fn() -> Option<IpAddr> + Send + 'static,
        port: u16,
    ) -> io::Result<Relay> {
        // Here, not in the network that the thread enters: a socket stays where it was made.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let here = listener.local_addr()?.port();
        let over = Cancel::new();
        let end = over.clone();
        let thread = network.spawn("relay", move |entered| {
            // Without the network every connection would lead to another machine's port: better none.
            if entered.is_ok() {
                serve(&listener, &end, || Some(SocketAddr::new(to()?, port)));
            }
        })?;
        Ok(Relay { port: here, over, thread: Some(thread) })
    }

    /// The port on this machine.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.cancel();
        // Wakes the thread, unless it has ended already.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            // A panic there has been shown, and there is nothing left to end.
            drop(thread.join());
        }
    }
}

fn serve(listener: &TcpListener, over: &Cancel, to: impl Fn() -> Option<SocketAddr>) {
    loop {
        let accepted = listener.accept();
        if over.is_cancelled() {
            return;
        }
        match accepted {
            Ok((client, _)) => {
                let Some(to) = to() else { continue };
                // It starts in this thread's network. Without a thread the connection is closed, and who made it is told so.
                drop(thread::Builder::new().name("relayed".to_owned()).spawn(move || carry(client, to)));
            }
            Err(_) => drop(over.wait(PAUSE)),
        }
    }
}

/// Carries a connection on, both ways, until both are over.
fn carry(client: TcpStream, to: SocketAddr) {
    let carried = TcpStream::connect_timeout(&to, CONNECT_LIMIT).and_then(|pod| {
        // What is small is sent at once by who wrote it, and so it is here.
        client.set_nodelay(true)?;
        pod.set_nodelay(true)?;
        let (from_pod, to_client) = (pod.try_clone()?, client.try_clone()?);
        let back = thread::Builder::new().name("relayed".to_owned()).spawn(move || copy(from_pod, to_client))?;
        copy(client, pod);
        back.join().map_err(|_| io::Error::other("a relay panicked"))
    });
    // Whoever holds the connection has seen it end: that is how it is told.
    drop(carried);
}

/// One way, to its end: what ends here is said to end there.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    if io::copy(&mut from, &mut to).is_err() {
        // A connection that was reset is over in both directions.
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    }
    drop(to.shutdown(Shutdown::Write));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::recorder::lock;

    /// Answers every connection with a name and what it was told, once the other side has said all.
    fn server(name: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let mut told = String::new();
                client.read_to_string(&mut told).unwrap();
                write!(client, "{name}: {told}").unwrap();
            }
        });
        port
    }

    fn ask(port: u16, text: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(text.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
    fn connections_go_where_the_pod_is_at_the_time_and_end_with_the_relay() {
        let Ok(network) = Network::of(std::process::id()) else {
            return eprintln!("not tested: entering a network takes root");
        };
        let port = server("pod");
        let address = Arc::new(Mutex::new(None));
        let to = Arc::clone(&address);
        let relay = Relay::start(&network, move || *lock(&to), port).unwrap();
        // No pod yet: whoever asks is told by the end of the connection.
        assert!(ask(relay.port(), "").map_or(true, |answer| answer.is_empty()));
        *lock(&address) = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let long = "x".repeat(1 << 20);
        assert_eq!(ask(relay.port(), &long).unwrap(), format!("pod: {long}"));
        thread::scope(|scope| {
            for number in 0..20 {
                let port = relay.port();
                scope.spawn(move || assert_eq!(ask(port, &number.to_string()).unwrap(), format!("pod: {number}")));
            }
        });
        // A pod that is gone.
        *lock(&address) = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
        assert!(ask(relay.port(), "").map_or(true, |answer| answer.is_empty()));
        let port = relay.port();
        drop(relay);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "the port is closed");
    }
}
