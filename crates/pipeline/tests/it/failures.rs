//! What goes wrong with a service: each failure ends its pipeline with the cause, the last lines of the log concerned and what
//! to try; the pipelines beside it go on, and nothing is left of any.

use std::sync::Arc;
use std::time::Duration;

use pipeline::Pipeline;
use pipeline::event::{Event, Link, Moment, StepOutcome, Verdict};
use supervise::Cancel;

use crate::kit::{Scene, app, bare, start, workload};
use crate::ran::Ran;
use crate::stage::Stage;

#[test]
fn each_failure_is_one_pipelines_own_and_says_its_cause() {
    let (scene, stage) = (Scene::new(), Stage::new());
    stage.patience("never-ready", Duration::from_secs(1));
    stage.patience("mute", Duration::from_secs(1));
    let broken = Pipeline::new("broken").workload(workload("app", "ok")).workload(workload("broken", "ok"));
    let unknown = Pipeline::new("unknown").workload(workload("nowhere", "ok"));
    let pipelines = vec![
        app("good", "ok"),
        app("exits", "exits"),
        app("never-ready", "never-ready"),
        app("mute", "mute"),
        app("crashes", "crashes"),
        app("lies", "lies"),
        app("deaf", "deaf"),
        app("leaks", "leaks"),
        broken,
        unknown,
    ];
    let ran = start(&scene.config_on(Arc::new(stage), pipelines), &Cancel::new(), |_| {}).unwrap();
    assert_eq!((ran.outcome.verdict, ran.outcome.exit_code), (Verdict::Error, 3), "{}", ran.text());
    ran.passed("good");
    ran.nothing_left();
    exits(&ran);
    never_ready(&ran);
    crashes(&ran);
    lies(&ran);
    ends_badly(&ran);
    does_not_compile(&ran);
}

fn exits(ran: &Ran) {
    let why = ran.why("exits");
    assert!(why.cause.contains("`app` ended by itself: exit status: 3"), "{why:?}");
    assert_eq!(why.evidence.last().unwrap(), "cannot open the rule table: no such table");
    assert!(why.evidence.len() > 10 && why.evidence.len() <= 40, "its last lines, not all: {why:?}");
    assert_eq!(why.log, "logs/exits/app.log");
    let deployed =
        ran.steps().into_iter().find(|s| s.service.as_deref() == Some("exits") && s.name == "deploy and wait");
    assert_eq!(deployed.unwrap().outcome, StepOutcome::Failed);
    // Seen at once: nobody waited for the limit of a minute.
    let took = ran.records.last().unwrap().us;
    assert!(took < 55_000_000, "{took} µs");
}

fn never_ready(ran: &Ran) {
    let why = ran.why("never-ready");
    assert!(why.cause.contains("`app` did not become ready within 1 s"), "{why:?}");
    assert!(why.cause.contains("503") && why.cause.contains("the other database is away"), "what it says: {why:?}");
    assert!(why.evidence.iter().any(|line| line == "still waiting for the other database"), "its log: {why:?}");
    assert_eq!(why.log, "logs/never-ready/app.log");
    assert!(why.hint.contains("--ready-within"), "{why:?}");
    let why = ran.why("mute");
    assert!(why.cause.contains("within 1 s") && why.cause.contains("no answer"), "{why:?}");
}

fn crashes(ran: &Ran) {
    let why = ran.why("crashes");
    assert!(why.cause.starts_with("while the tests ran: `app` ended by itself: signal: 6 (SIGABRT)"), "{why:?}");
    assert!(why.evidence.iter().any(|line| line.contains("index out of bounds")), "{why:?}");
    let tests = ran.tests("crashes");
    assert_eq!(tests["the_service_answers"].0, Verdict::Failed, "and the test that saw it is told of too");
}

fn lies(ran: &Ran) {
    let why = ran.why("lies");
    assert!(why.cause.contains("process → endpoint of `app`"), "{why:?}");
    assert_eq!(ran.broken("lies"), Some((Link::ProcessToEndpoint, Moment::BeforeTests)));
    assert!(ran.tests("lies").is_empty(), "no test ran against it");
    assert!(why.evidence.iter().any(|line| line.contains("sha256:0000")), "both values: {why:?}");
    assert!(why.evidence.len() == 2 && !why.hint.is_empty(), "{why:?}");
}

/// Services that pass their tests and then do not go: they pass, and are made to go.
fn ends_badly(ran: &Ran) {
    ran.passed("deaf");
    let killed = ran.notes().into_iter().filter(|note| note.contains("SIGTERM") && note.contains("killed")).count();
    assert_eq!(killed, 1, "{:?}", ran.notes());
    ran.passed("leaks");
    let leaked = ran.events().filter(|event| matches!(event, Event::CommandEnded { leaked: true, .. })).count();
    assert!(leaked <= 1, "only one of them leaves a child behind");
}

fn does_not_compile(ran: &Ran) {
    let why = ran.why("broken");
    assert!(why.cause.contains("`broken` does not compile") && why.cause.contains("mismatched types"), "{why:?}");
    assert!(why.cause.contains("broken/src/main.rs:4"), "where: {why:?}");
    assert!(why.evidence.iter().any(|line| line.contains("\"seven\"")), "{why:?}");
    assert_eq!(why.log, "logs/run/programs.log");
    let why = ran.why("unknown");
    assert!(why.cause.contains("nowhere"), "{why:?}");
}

#[test]
fn a_run_of_nothing_passes_and_leaves_nothing() {
    let ran = Scene::new().run(Vec::new());
    assert_eq!((ran.outcome.verdict, ran.outcome.exit_code), (Verdict::Passed, 0));
}

#[test]
fn a_pipeline_without_a_suite_stops_after_the_proof() {
    let scene = Scene::new();
    let ran = scene.run(vec![bare("bare", "ok")]);
    ran.passed("bare");
    assert!(ran.steps().iter().all(|step| step.name != "build the suites" && step.name != "run the suite"));
    ran.nothing_left();
}
