//! What goes wrong in a run ends with its cause in one sentence, exit code 3, and nothing left.

use std::fs;

use serde_json::json;

use crate::kit::{Answer, Real, scratch, signal};
use crate::ran::{Ran, junit};

/// Asserts that the one pipeline ended for this cause, and that everybody is told.
#[track_caller]
fn failed(answer: Answer, ran: &Ran, words: &[&str]) {
    let answer = answer.expect(3);
    answer.says(words);
    let report = ran.report();
    assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("error"), &json!(3)));
    let pipeline = &report["pipelines"][0];
    assert_eq!(pipeline["verdict"], "error");
    let cause = pipeline["cause"].as_str().unwrap();
    for word in words {
        assert!(cause.contains(word), "{cause}");
    }
    assert_eq!(cause.lines().count(), 1, "{cause}");
    let cases = junit(&ran.read("junit.xml"));
    assert!(cases.iter().any(|case| case.outcome.as_deref() == Some("error")));
    ran.nothing_left();
}

#[test]
fn without_cargo_it_says_what_must_be_installed() {
    let real = Real::take();
    let empty = scratch("empty");
    fs::create_dir(&empty).unwrap();
    let before = real.runs();
    let command = real.tool(&["e2e", "gateway"]).env("PATH", &empty).env_remove("CARGO").env_remove("RUSTC");
    let answer = crate::kit::ask(command);
    fs::remove_dir(&empty).unwrap();
    let ran = real.runs().into_iter().find(|run| !before.contains(run)).map(Ran::new).expect("a run was recorded");
    failed(answer, &ran, &["must be installed"]);
}

#[test]
fn a_workload_that_dies_under_the_tests_is_the_cause() {
    let real = Real::take();
    let (answer, ran) = real.during(&["gateway", "--", "gateway::refusals", "service::"], |ran| {
        ran.wait_for_step("run the suite");
        signal("KILL", ran.workload("gateway"));
    });
    failed(answer, &ran, &["`gateway` ended by itself", "SIGKILL"]);
}

#[test]
fn a_workload_that_dies_at_its_start_is_the_cause() {
    let real = Real::take();
    let (answer, ran) = real.during(&["gateway"], |ran| signal("KILL", ran.workload("datastorage")));
    failed(answer, &ran, &["`datastorage`"]);
}
