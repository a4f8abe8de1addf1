//! What was answered 201 is there after any end of the process.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;

use e2e_suite::{Client, eventually, unique};
use serde_json::json;

use crate::support::{BATCH, Database, EVENTS, LIMIT, Process, TOKEN, event, total};

/// Kills the process while writers are at work, again and again on one file.
#[test]
fn events_that_were_answered_survive_kill_9() {
    const WRITERS: usize = 6;
    const BATCH_SIZE: usize = 20;
    let database = Database::sqlite();
    let singles = Mutex::new(Vec::new());
    let batches = Mutex::new(Vec::new());
    let asked = Mutex::new(Vec::new());
    for round in 1..=3 {
        let mut process = Process::spawn(&database);
        let client = process.client();
        thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|_| {
                    let client = client.clone();
                    // ends with the panic of a request that gets no answer any more
                    scope.spawn(|| write_for_ever(client, BATCH_SIZE, &singles, &batches, &asked))
                })
                .collect();
            eventually("some answers", LIMIT, || {
                let answered = singles.lock().unwrap().len().min(batches.lock().unwrap().len());
                if answered >= round * 25 { Ok(()) } else { Err(format!("{answered} answers")) }
            });
            process.kill();
            writers.into_iter().for_each(|writer| drop(writer.join()));
        });
    }
    let process = Process::spawn(&database);
    let client = process.client();
    for event_id in singles.lock().unwrap().iter() {
        client.get(&format!("{EVENTS}/{event_id}")).expect_status(200);
    }
    for correlation_id in batches.lock().unwrap().iter() {
        assert_eq!(total(&client, correlation_id), BATCH_SIZE as u64);
    }
    // a batch whose answer never came is there whole or not at all
    let counts: BTreeSet<u64> = asked.lock().unwrap().iter().map(|id| total(&client, id)).collect();
    assert!(counts.is_subset(&BTreeSet::from([0, BATCH_SIZE as u64])), "{counts:?}");
}

fn write_for_ever(
    client: Client,
    batch_size: usize,
    singles: &Mutex<Vec<String>>,
    batches: &Mutex<Vec<String>>,
    asked: &Mutex<Vec<String>>,
) {
    loop {
        let answer = client.post(EVENTS, &event("single")).expect_status(201).json();
        singles.lock().unwrap().push(answer["event_id"].as_str().unwrap().to_owned());
        let id = unique("batch");
        asked.lock().unwrap().push(id.clone());
        client.post(BATCH, &json!(vec![event(&id); batch_size])).expect_status(201);
        batches.lock().unwrap().push(id);
    }
}

/// SIGTERM in the middle of a request: the request is finished, the process ends with 0, the event is there.
#[test]
fn accepted_request_is_finished_at_sigterm() {
    let database = Database::sqlite();
    let id = unique("graceful");
    let mut process = Process::spawn(&database);
    let client = process.client();
    let body = event(&id).to_string();
    let (first, rest) = body.split_at(body.len() / 2);
    let url = client.url("");
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // the server says 100 when it begins to read the body: from then on the request is accepted
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).unwrap();
    process.terminate();
    process.wait_for_line("stopping");
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(process.wait().code(), Some(0));
    // closed in good order: nothing is left in a log beside the file
    assert!(!database.file().with_extension("db-wal").exists());
    assert_eq!(total(&Process::spawn(&database).client(), &id), 1);
}
