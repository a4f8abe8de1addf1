//! Suites: which test failed and what it printed, which exit code follows, and suites that cannot be run.

use std::time::Duration;

use pipeline::event::Verdict;
use supervise::Cancel;

use crate::kit::{Scene, app, bare, start};

#[test]
fn a_failing_test_is_named_and_the_exit_code_is_one() {
    let scene = Scene::new();
    let ran = scene.run(vec![app("good", "ok"), bare("mixed", "ok").suite("suite-mixed")]);
    assert_eq!((ran.outcome.verdict, ran.outcome.exit_code), (Verdict::Failed, 1), "{}", ran.text());
    ran.passed("good");
    let (verdict, cause) = ran.ended("mixed");
    assert_eq!(verdict, Verdict::Failed);
    assert_eq!(cause, "2 tests failed: fails, fails_without_a_word");
    let tests = ran.tests("mixed");
    let verdicts: Vec<_> = tests.iter().map(|(name, (verdict, _))| (name.as_str(), *verdict)).collect();
    assert_eq!(
        verdicts,
        [
            ("does_not_run", Verdict::Skipped),
            ("fails", Verdict::Failed),
            // It claims on its output that it passed, and ends with another status.
            ("fails_without_a_word", Verdict::Failed),
            // It claims on its output that it failed.
            ("passes", Verdict::Passed),
        ]
    );
    let output = &tests["fails"].1;
    assert!(output.contains("the seventh event") && output.contains("try 100"), "{output}");
    assert!(output.lines().count() <= 40, "its last lines only");
    assert!(tests["passes"].1.is_empty(), "what a test prints that passed is in the log");
    let log = std::fs::read_to_string(ran.outcome.dir.join("logs/mixed/suite.log")).unwrap();
    assert!(log.contains("try 1\n") && log.contains("a test may print"), "all of it");
    ran.nothing_left();
}

#[test]
fn a_suite_that_cannot_be_run_fails_its_pipeline_and_no_other() {
    let scene = Scene::new();
    let suite = |service: &str, package: &str| bare(service, "ok").suite(package);
    let ran = scene.run(vec![app("good", "ok"), suite("broken", "suite-broken"), suite("empty", "suite-empty")]);
    assert_eq!(ran.outcome.exit_code, 3, "{}", ran.text());
    ran.nothing_left();
    ran.passed("good");
    let why = ran.why("broken");
    assert!(why.cause.contains("`suite-broken` does not compile") && why.cause.contains("E0425"), "{why:?}");
    assert!(why.cause.contains("tests/suite.rs:5") && why.log == "logs/run/suites.log", "{why:?}");
    // Green because nothing was tested is the worst kind of green.
    let why = ran.why("empty");
    assert!(why.cause.contains("no test"), "{why:?}");
}

#[test]
fn a_suite_that_cargo_does_not_find_fails_its_pipeline_and_no_other() {
    let scene = Scene::new();
    let suite = |service: &str, package: &str| bare(service, "ok").suite(package);
    let ran = scene.run(vec![app("good", "ok"), suite("without", "app"), suite("unknown", "suite-nowhere")]);
    assert_eq!(ran.outcome.exit_code, 3, "{}", ran.text());
    ran.nothing_left();
    ran.passed("good");
    let why = ran.why("without");
    assert!(why.cause.contains("`app` has no integration test called `suite`") && !why.hint.is_empty(), "{why:?}");
    let why = ran.why("unknown");
    assert!(why.cause.contains("`suite-nowhere` did not match any packages"), "{why:?}");
}

#[test]
fn a_filter_selects_tests_by_name_in_every_suite() {
    let scene = Scene::new();
    let mut config = scene.config(vec![app("good", "ok"), bare("mixed", "ok").suite("suite-mixed")]);
    config.filter = vec!["passes".to_owned()];
    let ran = start(&config, &Cancel::new(), |_| {}).unwrap();
    assert_eq!(ran.outcome.exit_code, 0, "{}", ran.text());
    assert_eq!((ran.tests("good").len(), ran.tests("mixed").len()), (0, 1));
    ran.nothing_left();
}

#[test]
fn when_what_is_tested_has_ended_no_further_test_is_begun() {
    let scene = Scene::new();
    let ran = scene.run(vec![bare("falls", "crashes").suite("suite-falls")]);
    assert_eq!(ran.outcome.exit_code, 3, "{}", ran.text());
    let why = ran.why("falls");
    assert!(why.cause.starts_with("while the tests ran: `app` ended by itself"), "{why:?}");
    // Those that ran already are told; of 61 in all most had not begun.
    let begun = ran.tests("falls").len();
    assert!((1..=40).contains(&begun), "{begun} tests: {}", ran.text());
    ran.nothing_left();
}

#[test]
fn a_test_that_takes_too_long_fails_and_says_how_it_gets_longer() {
    let scene = Scene::new();
    let mut config = scene.config(vec![bare("hangs", "ok").suite("suite-hang")]);
    config.test_within = Duration::from_secs(1);
    let ran = start(&config, &Cancel::new(), |_| {}).unwrap();
    assert_eq!((ran.outcome.verdict, ran.outcome.exit_code), (Verdict::Failed, 1), "{}", ran.text());
    let (verdict, output) = &ran.tests("hangs")["hangs"];
    assert_eq!(*verdict, Verdict::Failed);
    assert!(output.contains("waiting for an event that never comes"), "what it printed: {output}");
    assert!(output.contains("did not end within 1 s and was killed; `--test-within SECONDS`"), "{output}");
    ran.nothing_left();
}
