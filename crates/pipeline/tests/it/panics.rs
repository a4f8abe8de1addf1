//! A fault of the tool itself: it is reported like any other, the other pipelines go on, and everything is removed.

use std::sync::Arc;
use std::thread;

use pipeline::event::{Event, Verdict};
use supervise::Cancel;

use crate::kit::{Scene, app, becomes, start};
use crate::stage::{Stage, When};

const FAULT: &str = "index out of bounds in the platform";

#[test]
fn a_panic_in_any_step_is_a_failure_of_its_pipeline() {
    let (scene, stage) = (Scene::new(), Stage::new());
    let moments = [
        ("in-prepare", When::Prepare),
        ("in-load", When::Received),
        ("in-start", When::Start),
        ("after-start", When::Started),
        ("in-proof", When::Look),
    ];
    for (service, moment) in moments {
        stage.act(service, move |when, _| assert!(when != moment, "{FAULT}"));
    }
    let mut pipelines: Vec<_> = moments.iter().map(|(service, _)| app(service, "ok")).collect();
    pipelines.push(app("good", "ok"));
    let ran = start(&scene.config_on(Arc::new(stage), pipelines), &Cancel::new(), |_| {}).unwrap();
    assert_eq!((ran.outcome.verdict, ran.outcome.exit_code), (Verdict::Error, 3), "{}", ran.text());
    ran.passed("good");
    for (service, _) in moments {
        let why = ran.why(service);
        assert!(why.cause.contains("the tool itself panicked") && why.cause.contains(FAULT), "{service}: {why:?}");
    }
    ran.nothing_left();
}

#[test]
fn a_panic_in_the_teardown_takes_nothing_from_the_verdict_and_leaves_nothing() {
    let (scene, stage) = (Scene::new(), Stage::new());
    stage.act("in-stop", |when, _| assert!(when != When::Stop, "{FAULT}"));
    let pipelines = vec![app("in-stop", "ok"), app("good", "ok")];
    let ran = start(&scene.config_on(Arc::new(stage), pipelines), &Cancel::new(), |_| {}).unwrap();
    ran.passed("good");
    ran.passed("in-stop");
    assert!(ran.notes().iter().any(|note| note.contains(FAULT)), "{:?}", ran.notes());
    ran.nothing_left();
}

#[test]
fn a_reader_that_panics_does_not_stop_the_run() {
    let (scene, cancel) = (Scene::new(), Cancel::new());
    let config = scene.config(vec![app("good", "ok")]);
    let inner = cancel.clone();
    let run = thread::spawn(move || {
        start(&config, &inner, |record| {
            assert!(!matches!(record.event, Event::StepStarted { service: None, .. }), "a fault in the terminal");
        })
    });
    // Or it waits for a value that nobody makes any more.
    let ended = becomes(|| run.is_finished());
    cancel.signal(2);
    let outcome = run.join();
    assert!(ended, "the run waits for ever");
    let error = match outcome.expect("the panic is caught") {
        Ok(ran) => panic!("a report that was cut short is not told of\n{}", ran.text()),
        Err(error) => format!("{error:#}"),
    };
    assert!(error.contains("a fault in the terminal"), "{error}");
    let id = &scene.home.ids()[0];
    assert_eq!(supervise::find_marked(pipeline::ledger::RUN_MARK, id), Vec::<u32>::new());
    assert!(!scene.home.runs().join(id).join("work").exists());
}
