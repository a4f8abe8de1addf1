//! The network of another process.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use supervise::{Cancel, Cmd, Network};

use crate::{LIMIT, is_root, next, with_lines};

/// The number of the calling thread's network namespace.
fn here() -> String {
    fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string()
}

#[test]
#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn one_thread_is_in_the_network_of_another_process_and_the_others_are_where_they_were() {
    if !is_root() {
        return eprintln!("not tested: only root may enter a network");
    }
    // A network of its own, in which nothing is up, not even the loopback device.
    let (cmd, lines) = with_lines(Cmd::new("unshare").args(["--net", "sh", "-c", "echo up; exec sleep 60"]));
    let process = cmd.spawn(&Cancel::new()).unwrap();
    assert_eq!(next(&lines), "up");
    let network = Network::of(process.pid()).unwrap();
    let own = here();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let work = move |entered: std::io::Result<()>| {
        entered.unwrap();
        // What it starts is there as well.
        let below = std::thread::spawn(here).join().unwrap();
        (here(), below, TcpStream::connect(address).is_err())
    };
    let (there, below, alone) = network.spawn("there", work).unwrap().join().unwrap();
    assert_eq!(there, fs::read_link(format!("/proc/{}/ns/net", process.pid())).unwrap().display().to_string());
    assert!(there == below && there != own, "{own} {there} {below}");
    assert!(alone, "what listens here is not there");
    assert_eq!(here(), own);
    TcpStream::connect(address).unwrap();
    process.stop();
}

#[test]
fn a_process_that_is_gone_has_no_network() {
    let mut process = Cmd::new("true").spawn(&Cancel::new()).unwrap();
    let pid = process.pid();
    assert!(process.wait_timeout(LIMIT).is_some());
    assert!(Network::of(pid).is_err());
}
