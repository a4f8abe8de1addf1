//! A service is added by one crate and one line.

use std::fs;

use crate::kit::ask;
use crate::product::Product;
use crate::ran::junit;

#[test]
fn a_fifth_service_is_listed_and_green() {
    let product = Product::new();
    // From a folder inside: the alias works everywhere in the workspace.
    let list = ask(product.cargo_xtask("crates/services/mine/src", &["e2e", "--list", "--format", "json"])).expect(0);
    let expected = ["gateway", "mine", "remediationorchestrator", "signalprocessing", "workflowexecution"];
    assert_eq!(list.json(), serde_json::json!(expected));
    let (answer, ran) = product.e2e(&["mine", "--format", "json"]);
    let report = answer.expect(0).json();
    assert_eq!(report, ran.report());
    let tests = &report["pipelines"][0]["tests"];
    assert_eq!((tests["passed"].as_u64(), tests["failed"].as_u64()), (Some(2), Some(0)), "{tests}");
    let images = report["pipelines"][0]["images"].as_array().unwrap();
    assert!(images[0]["reference"].as_str().unwrap().starts_with("localhost/datastorage:mine-"));
    assert!(images[1]["reference"].as_str().unwrap().starts_with("localhost/mine:mine-"));
    ran.nothing_left();
}

#[test]
fn a_service_that_does_not_compile_stops_its_own_pipeline_only() {
    let product = Product::new();
    let main = "crates/services/mine/src/main.rs";
    product.edit(main, "get(async || \"hello\")", "get(hello)");
    let line =
        fs::read_to_string(product.root.join(main)).unwrap().lines().position(|line| line.contains("get(hello)"));
    let summary = product.root.join("target/summary.md");
    drop(fs::remove_file(&summary));
    let arguments = ["e2e", "mine", "gateway", "--format", "json"];
    let command =
        product.cargo_xtask("", &arguments).env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let answer = ask(command).expect(3);
    let report = answer.json();
    let (gateway, mine) = (&report["pipelines"][0], &report["pipelines"][1]);
    assert_eq!((&gateway["service"], &mine["service"]), (&"gateway".into(), &"mine".into()));
    assert_eq!((&gateway["verdict"], &mine["verdict"]), (&"passed".into(), &"error".into()), "{}", answer.err);
    assert!(gateway["tests"]["passed"].as_u64() >= Some(20));
    let place = format!("({main}:{})", line.expect("it was edited") + 1);
    let cause = mine["cause"].as_str().unwrap();
    assert!(cause.contains("`mine` does not compile: error[E0425]") && cause.contains(&place), "{cause}");
    answer.says(&[&place, "cannot find value `hello`", "::error"]);
    assert!(fs::read_to_string(&summary).unwrap().contains("mine"), "a CI service is told too");
    let run = product.root.join("target/e2e/runs").join(report["run"].as_str().unwrap());
    let cases = junit(&fs::read_to_string(run.join("junit.xml")).unwrap());
    let wrong: Vec<_> = cases.iter().filter(|case| case.outcome.is_some()).map(|case| case.suite.as_str()).collect();
    assert_eq!(wrong, ["mine"]);
    let images = mine["images"].as_array().unwrap();
    assert!(images.iter().any(|image| image["name"] == "mine" && image["config_digest"].is_null()), "{images:?}");
}
