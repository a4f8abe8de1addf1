//! Ctrl-C at every point of a run: the exit code says it, the record too, and nothing is left.

use std::thread;

use pipeline::Pipeline;
use pipeline::event::{Event, Phase, Record, StepOutcome, Verdict};
use pipeline::plan::plan;
use supervise::Cancel;

use crate::clean::running_below;
use crate::kit::{Scene, app, bare, becomes, start, workload};
use crate::ran::Ran;

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Runs and signals at the first line of the record for which `at` holds.
fn signalled(scene: &Scene, signal: i32, suite: &str, mut at: impl FnMut(&Record) -> bool + Send + 'static) -> Ran {
    let cancel = Cancel::new();
    let (inner, mut done) = (cancel.clone(), false);
    let config = scene.config(vec![bare("one", "ok").suite(suite), bare("two", "ok").suite(suite)]);
    let ran = start(&config, &cancel, move |record| {
        if !done && at(record) {
            inner.signal(signal);
            done = true;
        }
    });
    let ran = ran.unwrap();
    assert!(cancel.is_cancelled(), "the moment never came:\n{}", ran.text());
    ran
}

fn interrupted(ran: &Ran, code: u8, what: &str) {
    let text = || format!("{what}:\n{}", ran.text());
    assert_eq!((ran.outcome.verdict, ran.outcome.exit_code), (Verdict::Interrupted, code), "{}", text());
    let ended = ran.events().last();
    let told =
        matches!(ended, Some(Event::RunEnded { verdict: Verdict::Interrupted, exit_code, .. }) if *exit_code == code);
    assert!(told, "{}", text());
    for service in ["one", "two"] {
        // What had passed by then has passed; nothing is called an error that the user did.
        let (verdict, cause) = ran.ended(service);
        assert!(
            matches!(verdict, Verdict::Interrupted | Verdict::Passed),
            "{service} {verdict:?} {cause} at {}",
            text()
        );
    }
    let diagnoses = ran.events().filter(|event| matches!(event, Event::Diagnosis { .. })).count();
    assert_eq!(diagnoses, 0, "there is nothing to explain: {}", text());
    ran.nothing_left();
}

#[test]
fn an_interrupt_at_the_start_of_any_step_leaves_nothing() {
    const NAMES: [&str; 11] = [
        "make the tags",
        "build the programs",
        "build the suites",
        "prepare the place",
        "assemble app",
        "load app",
        "deploy and wait",
        "prove what runs",
        "run the suite",
        "prove that it still runs",
        "remove what the pipeline made",
    ];
    let scene = Scene::new();
    let known: Vec<_> = plan(&[app("one", "ok")]).into_iter().map(|step| step.name).collect();
    assert!(known.iter().all(|name| NAMES.contains(&name.as_str())), "a step is missing here: {known:?}");
    thread::scope(|scope| {
        for half in NAMES.chunks(NAMES.len().div_ceil(2)) {
            let scene = &scene;
            scope.spawn(move || {
                for name in half {
                    let ran = signalled(scene, SIGINT, "suite-green", move |record| {
                        matches!(&record.event, Event::StepStarted { name: started, .. } if started == name)
                    });
                    interrupted(&ran, 130, name);
                }
            });
        }
    });
}

#[test]
fn an_interrupt_while_something_runs_ends_it() {
    let scene = Scene::new();
    let commands: [(&str, &[&str]); 2] =
        [("a test that hangs", &["--exact", "hangs"]), ("a service that starts", &["BEHAVIOUR=ok"])];
    for (what, words) in commands {
        let ran = signalled(
            &scene,
            SIGTERM,
            "suite-hang",
            move |record| matches!(&record.event, Event::CommandStarted { line, .. } if words.iter().all(|word| line.contains(word))),
        );
        interrupted(&ran, 143, what);
    }
}

#[test]
fn an_interrupted_build_leaves_no_compiler_behind() {
    let scene = Scene::alone();
    let cancel = Cancel::new();
    let inner = cancel.clone();
    let config = scene.config(vec![Pipeline::new("slow").workload(workload("slow", "ok"))]);
    let build = scene.home.build();
    let ran = thread::scope(|scope| {
        scope.spawn(|| {
            // The build script is what takes long.
            assert!(becomes(|| !running_below(&build).is_empty()));
            inner.signal(SIGINT);
        });
        start(&config, &cancel, |_| {}).unwrap()
    });
    assert_eq!(ran.outcome.exit_code, 130, "{}", ran.text());
    assert_eq!(ran.ended("slow").0, Verdict::Interrupted);
    assert_eq!(running_below(&build), Vec::<u32>::new());
    let step = ran.steps().into_iter().find(|step| step.name == "build the programs").unwrap();
    assert_eq!(step.outcome, StepOutcome::Cancelled, "it did not fail by itself");
    ran.nothing_left();
}

#[test]
fn a_second_interrupt_does_not_wait_for_a_service_that_does_not_go() {
    let scene = Scene::new();
    let cancel = Cancel::new();
    let inner = cancel.clone();
    let config = scene.config(vec![bare("deaf", "deaf").suite("suite-hang")]);
    let ran = start(&config, &cancel, move |record| match &record.event {
        Event::CommandStarted { line, .. } if line.contains("--exact hangs") => inner.signal(SIGINT),
        Event::StepStarted { phase: Phase::Teardown, .. } => inner.signal(SIGTERM),
        _ => {}
    });
    let ran = ran.unwrap();
    assert_eq!(ran.outcome.exit_code, 130, "the first signal counts: {}", ran.text());
    let teardown = ran.steps().into_iter().find(|step| step.phase == Phase::Teardown).unwrap();
    let time = |seq: u64| ran.records[usize::try_from(seq).unwrap()].us;
    let took = time(teardown.ended) - time(teardown.started);
    assert!(took < 4_000_000, "a service that is deaf has 5 s to go, unless nobody wants to wait: {took} µs");
    ran.nothing_left();
}
