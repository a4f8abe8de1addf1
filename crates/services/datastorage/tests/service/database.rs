//! The database comes, goes, and is shared.

use std::thread;

use chrono::{TimeDelta, Utc};
use e2e_suite::{Client, Response, unique};
use serde_json::{Value, json};
use service_kit::Clock;

use crate::support::{BATCH, Cluster, Database, EVENTS, LIMIT, Process, Server, event, eventually_ready, total};

/// Each test once for each database.
macro_rules! on_each_database {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test(&crate::support::Database::sqlite()); })*
        }
        mod postgres {
            $(#[test] fn $test() { if let Some(database) = crate::support::Database::postgres() { super::$test(&database); } })*
        }
    };
}

on_each_database! {
    instances_started_at_once_share_one_schema
    retry_is_answered_alike_after_the_window_and_a_restart
    same_key_at_two_instances_stores_once
    chosen_id_at_two_instances_is_stored_once
    rejections_and_batches_are_counted
}

fn post_with_key(client: &Client, path: &str, body: &Value, key: &str) -> Response {
    client.post_raw(path, "application/json", body.to_string().as_bytes(), &[("Idempotency-Key", key)])
}

fn instances_started_at_once_share_one_schema(database: &Database) {
    let instances: Vec<Process> = (0..4).map(|_| Process::spawn(database)).collect();
    let id = unique("instances");
    for instance in &instances {
        let client = instance.client();
        eventually_ready(&client, None);
        client.post(EVENTS, &event(&id)).expect_status(201);
    }
    for instance in &instances {
        assert_eq!(total(&instance.client(), &id), 4);
    }
}

fn retry_is_answered_alike_after_the_window_and_a_restart(database: &Database) {
    let (id, key) = (unique("late"), unique("key"));
    let (clock, hands) = Clock::manual(Utc::now());
    let event = event(&id);
    let first = {
        let server = Server::start_at(database, clock.clone());
        post_with_key(&server.client(), EVENTS, &event, &key).expect_status(201).json()
    };
    hands.advance(TimeDelta::days(8));
    let server = Server::start_at(database, clock);
    let client = server.client();
    assert_eq!(post_with_key(&client, EVENTS, &event, &key).expect_status(201).json(), first);
    // the event itself is too old by now
    let problem = client.post(EVENTS, &event).expect_problem(400);
    assert_eq!(problem["field"], "event_timestamp", "{problem}");
    assert_eq!(total(&client, &id), 1);
    // relative times follow the same clock
    let page = client.get(&format!("{EVENTS}?correlation_id={id}&since=7d")).expect_status(200).json();
    assert_eq!(page["pagination"]["total"], 0, "{page}");
}

fn same_key_at_two_instances_stores_once(database: &Database) {
    let servers = [Server::start(database), Server::start(database)];
    let (id, key) = (unique("race"), unique("key"));
    let batch = json!([event(&id), event(&id)]);
    let answers: Vec<Value> = thread::scope(|scope| {
        let requests: Vec<_> = (0..8)
            .map(|n| {
                let (client, batch, key) = (servers[n % 2].client(), &batch, &key);
                scope.spawn(move || post_with_key(&client, BATCH, batch, key).expect_status(201).json())
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(total(&servers[0].client(), &id), 2);
}

fn chosen_id_at_two_instances_is_stored_once(database: &Database) {
    let servers = [Server::start(database), Server::start(database)];
    let id = unique("chosen");
    let mut event = event(&id);
    event["event_id"] = servers[0].client().post(EVENTS, &event).expect_status(201).json()["event_id"].clone();
    servers[0].client().post(EVENTS, &event).expect_problem(409);
    event["event_id"] = json!(uuid::Uuid::now_v7().to_string());
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let requests: Vec<_> = (0..8)
            .map(|n| {
                let (client, event) = (servers[n % 2].client(), &event);
                scope.spawn(move || client.post(EVENTS, event).status)
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(total(&servers[1].client(), &id), 2);
}

fn rejections_and_batches_are_counted(database: &Database) {
    let server = Server::start(database);
    let client = server.client();
    let (id, key) = (unique("counted"), unique("key"));
    client.post(BATCH, &json!([event(&id), event(&id), event(&id)])).expect_status(201);
    post_with_key(&client, EVENTS, &event(&id), &key).expect_status(201);
    client.post(EVENTS, &json!({})).expect_problem(400);
    client.post(BATCH, &json!([])).expect_problem(400);
    client.post_raw(EVENTS, "text/plain", b"", &[]).expect_problem(415);
    post_with_key(&client, EVENTS, &json!({}), &key).expect_problem(422);
    let metrics = client.get("/metrics").expect_status(200).text();
    for line in [
        "datastorage_events_stored_total 4",
        "datastorage_batch_events_sum 3.0",
        "datastorage_batch_events_count 1",
        r#"datastorage_writes_rejected_total{reason="invalid"} 2"#,
        r#"datastorage_writes_rejected_total{reason="content_type"} 1"#,
        r#"datastorage_writes_rejected_total{reason="key_reused"} 1"#,
    ] {
        assert!(metrics.lines().any(|known| known == line), "no `{line}` in {metrics}");
    }
}

/// A file that is moved away is not written to: nobody would find what was stored there.
#[test]
fn sqlite_file_that_is_away_makes_the_service_not_ready() {
    let database = Database::sqlite();
    let server = Server::start(&database);
    let client = server.client();
    let id = unique("away");
    client.post(EVENTS, &event(&id)).expect_status(201);
    let (file, aside) = (database.file(), database.file().with_extension("aside"));
    std::fs::rename(&file, &aside).unwrap();
    eventually_ready(&client, Some("database_unreachable"));
    let refused = client.post(EVENTS, &event(&id));
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.expect_problem(503);
    client.get(EVENTS).expect_problem(503);
    // alive all the same: a restart would not bring the file back
    client.get("/healthz").expect_status(200);
    std::fs::rename(&aside, &file).unwrap();
    eventually_ready(&client, None);
    client.post(EVENTS, &event(&id)).expect_status(201);
    assert_eq!(total(&client, &id), 2);
}

/// The service starts before its database, and outlives its crash.
#[test]
fn postgres_that_is_away_makes_the_service_not_ready() {
    let Some(cluster) = Cluster::create() else { return };
    let process = Process::spawn_with(&[
        ("DATABASE_URL", &cluster.url("postgres")),
        ("API_TOKEN", crate::support::TOKEN),
        ("LISTEN_ADDR", "127.0.0.1:0"),
    ]);
    let client = process.client();
    eventually_ready(&client, Some("database_unreachable"));
    cluster.start();
    eventually_ready(&client, None);
    let id = unique("outage");
    client.post(EVENTS, &event(&id)).expect_status(201);
    cluster.stop();
    eventually_ready(&client, Some("database_unreachable"));
    let start = std::time::Instant::now();
    client.post(EVENTS, &event(&id)).expect_problem(503);
    assert!(start.elapsed() < LIMIT / 2, "an answer took {:?}", start.elapsed());
    client.get(EVENTS).expect_problem(503);
    cluster.start();
    eventually_ready(&client, None);
    // a restart that nobody noticed costs no request: connections that ended meanwhile are not used
    cluster.stop();
    cluster.start();
    client.post(EVENTS, &event(&id)).expect_status(201);
    assert_eq!(total(&client, &id), 2);
}

/// What a service waits for is in its log, also when that changes: a server may be there before the database is.
#[test]
fn a_database_that_comes_late_is_waited_for_and_told() {
    let Some(cluster) = Cluster::create() else { return };
    let name = unique("late").replace('-', "_");
    let process = Process::spawn_with(&[
        ("DATABASE_URL", &cluster.url(&name)),
        ("API_TOKEN", crate::support::TOKEN),
        ("LISTEN_ADDR", "127.0.0.1:0"),
    ]);
    let client = process.client();
    process.wait_for_line("not ready until the database is there: error connecting to server");
    cluster.start();
    process.wait_for_line(&format!("still not ready: database \"{name}\" does not exist (3D000)"));
    eventually_ready(&client, Some("database_unreachable"));
    cluster.execute("postgres", &format!("CREATE DATABASE {name}"));
    // Nobody has to ask for it.
    process.wait_for_line("datastorage: the database is there");
    eventually_ready(&client, None);
    let id = unique("late");
    client.post(EVENTS, &event(&id)).expect_status(201);
    assert_eq!(total(&client, &id), 1);
}

/// An older program must not write into a schema that it does not know.
#[test]
fn schema_of_a_newer_version_is_refused() {
    let database = Database::sqlite();
    drop(Server::start(&database));
    rusqlite::Connection::open(database.file())
        .unwrap()
        .execute("INSERT INTO schema_migrations VALUES (99, 'later')", [])
        .unwrap();
    let mut databases = vec![database];
    if let Some(database) = Database::postgres() {
        drop(Server::start(&database));
        let name = database.url.rsplit('/').next().unwrap().to_owned();
        Cluster::shared().unwrap().execute(&name, "INSERT INTO schema_migrations VALUES (99)");
        databases.push(database);
    }
    for database in databases {
        let mut process = Process::spawn(&database);
        assert_eq!(process.wait().code(), Some(1));
        process.wait_for_line("schema version 99, this program knows 1: use a newer one or another database");
    }
}

/// What is wrong with the configuration is one line, without the password.
#[test]
fn bad_database_url_is_explained() {
    for (url, expected) in [
        ("sqlite://relative.db", "an absolute path"),
        ("postgres://u:s3cret@h:port/d", "not a PostgreSQL URL"),
        ("mysql://u:s3cret@h/d", "begins with `sqlite:///` or `postgres://`"),
        ("", "DATABASE_URL is missing or empty"),
    ] {
        let mut process =
            Process::spawn_with(&[("DATABASE_URL", url), ("API_TOKEN", "t"), ("LISTEN_ADDR", "127.0.0.1:0")]);
        assert_eq!(process.wait().code(), Some(2), "{url}");
        let line = process.wait_for_line("DATABASE_URL");
        assert!(line.contains(expected) && !line.contains("s3cret"), "{line}");
    }
    let mut process = Process::spawn_with(&[
        ("DATABASE_URL", "sqlite:///nowhere/at/all/audit.db"),
        ("API_TOKEN", "t"),
        ("LISTEN_ADDR", "127.0.0.1:0"),
    ]);
    assert_eq!(process.wait().code(), Some(1));
    process.wait_for_line("cannot open the database /nowhere/at/all/audit.db");
}
