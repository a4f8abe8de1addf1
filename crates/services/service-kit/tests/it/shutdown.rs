//! What happens to connections and hooks when a service is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use service_kit::{App, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::http::config;

const REQUEST: &[u8] = b"GET /api/v1/slow HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t0p-s3cret\r\n\r\n";

/// Waits until nobody listens any more.
async fn until_refused(address: std::net::SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_is_finished_then_hooks_run_then_it_ends() {
    let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let flushed = Arc::new(AtomicBool::new(false));
    let (handler_arrived, handler_go_on, hook_flushed) =
        (Arc::clone(&arrived), Arc::clone(&go_on), Arc::clone(&flushed));
    let slow = move || {
        let (arrived, go_on) = (Arc::clone(&handler_arrived), Arc::clone(&handler_go_on));
        async move {
            arrived.notify_one();
            go_on.notified().await;
            "done"
        }
    };
    let app = App::new(Router::new().route("/slow", get(slow)))
        .on_shutdown("flush", async move { hook_flushed.store(true, Ordering::SeqCst) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stopped, told) = (Arc::clone(&stop), Arc::clone(&stopping));
    let served = tokio::spawn(async move {
        let stop = async move {
            stopped.notified().await;
            told.notify_one();
        };
        serve(listener, &config(), app, stop).await
    });

    let idle = TcpStream::connect(address).await.unwrap();
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(REQUEST).await.unwrap();
    arrived.notified().await;
    stop.notify_one();
    stopping.notified().await;
    // the listening socket is closed although a request is still being answered
    until_refused(address).await;
    assert!(!flushed.load(Ordering::SeqCst), "hooks run after the last request");
    go_on.notify_one();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"), "{answer}");
    let start = Instant::now();
    served.await.unwrap().unwrap();
    assert!(flushed.load(Ordering::SeqCst));
    assert!(start.elapsed() < Duration::from_secs(2), "a connection without a request does not hold the shutdown");
    drop(idle);
}

#[tokio::test(start_paused = true)]
async fn neither_a_hanging_request_nor_a_hanging_hook_holds_the_process() {
    let arrived = Arc::new(Notify::new());
    let handler_arrived = Arc::clone(&arrived);
    let hang = move || {
        handler_arrived.notify_one();
        std::future::pending::<String>()
    };
    let app = App::new(Router::new().route("/slow", get(hang))).on_shutdown("hang", std::future::pending());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let start = tokio::time::Instant::now();
    serve(listener, &config(), app, async move { arrived.notified().await }).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}: supervisors kill after 5 s", start.elapsed());
}

#[tokio::test]
async fn a_request_that_arrives_while_it_stops_is_told_so() {
    let asked = Arc::new(Notify::new());
    let handler_asked = Arc::clone(&asked);
    let hang = move || {
        handler_asked.notify_one();
        std::future::pending::<String>()
    };
    let app = App::new(Router::new().route("/slow", get(hang)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopping) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (stopped, told) = (Arc::clone(&stop), Arc::clone(&stopping));
    drop(tokio::spawn(async move {
        let stop = async move {
            stopped.notified().await;
            told.notify_one();
        };
        serve(listener, &config(), app, stop).await
    }));
    // half a request is on its way when the service is told to stop
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(REQUEST).await.unwrap();
    asked.notified().await;
    stop.notify_one();
    stopping.notified().await;
    until_refused(address).await;
    stream.write_all(b"host: x\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 1024];
    let length = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.ends_with(r#"{"reason":"shutting_down","status":"not_ready"}"#), "{answer}");
}
