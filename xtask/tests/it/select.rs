//! A part of the tests, and a part of what is printed.

use std::collections::BTreeSet;

use crate::kit::Real;

#[test]
fn a_filter_is_passed_on_to_the_suite() {
    let real = Real::take();
    let arguments = ["gateway", "--jobs", "1", "--verbose", "--", "service::it_", "--skip", "is_ready"];
    let (answer, ran) = real.e2e(&arguments);
    let answer = answer.expect(0);
    assert_eq!(answer.out, "", "what people read is not data");
    answer.says(&["gateway::service::it_says_what_was_built", "cargo build"]);
    let report = ran.report();
    let cases = report["pipelines"][0]["tests"]["cases"].as_array().unwrap();
    let names: BTreeSet<_> = cases.iter().filter_map(|case| case["name"].as_str()).collect();
    assert_eq!(names, ["gateway::service::it_says_what_was_built"].into(), "only what matches");
    assert_eq!(ran.events("run_started")[0]["command"], format!("cargo xtask e2e {}", arguments.join(" ")));
}

#[test]
fn a_filter_that_matches_nothing_is_wrong_usage() {
    let real = Real::take();
    let (answer, ran) = real.e2e(&["gateway", "--quiet", "--", "no_such_test"]);
    let answer = answer.expect(2);
    answer.says(&["no test matches `no_such_test`"]);
    let lines = answer.err.lines().count();
    assert!(lines <= 12, "quiet is quiet: {}", answer.err);
    ran.nothing_left();
}
