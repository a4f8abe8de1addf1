//! What a pipeline may not say. It is refused before anything is made or, where only the run can tell, with the rule.

use pipeline::event::Verdict;
use pipeline::{Pipeline, Workload, endpoint};
use supervise::Cancel;

use crate::kit::{Scene, app, bare, start, workload};

/// The error of a run that did not even begin.
fn refused(pipelines: Vec<Pipeline>) -> String {
    let scene = Scene::new();
    let error = match start(&scene.config(pipelines), &Cancel::new(), |_| {}) {
        Ok(ran) => panic!("it ran:\n{}", ran.text()),
        Err(error) => format!("{error:#}"),
    };
    assert_eq!(scene.home.ids(), Vec::<String>::new(), "nothing was made: {error}");
    error
}

#[test]
fn a_value_that_refers_to_nothing_is_refused_before_anything_is_made() {
    let with = |target: &str, port: &str| {
        let asks = workload("edited", "ok").env("OTHER_URL", endpoint(target, port));
        Pipeline::new("asks").workload(workload("app", "ok")).workload(asks)
    };
    for (target, port) in [("ap", "http"), ("app", "https"), ("", "")] {
        let error = refused(vec![app("good", "ok"), with(target, port)]);
        assert!(error.contains("`OTHER_URL` of workload `edited` in pipeline `asks`"), "{error}");
        assert!(error.contains("`app` `http`"), "what there is: {error}");
    }
}

#[test]
fn two_of_one_name_are_refused() {
    let twice = Pipeline::new("twice").workload(workload("app", "ok")).workload(workload("app", "ok"));
    let error = refused(vec![twice]);
    assert!(error.contains("two workloads called `app`"), "{error}");
    // They would share a directory and the names of their images' consumer.
    let error = refused(vec![app("same", "ok"), bare("same", "deaf")]);
    assert!(error.contains("`same`"), "{error}");
    let ports = workload("app", "ok").port("http", 9090);
    let error = refused(vec![Pipeline::new("ports").workload(ports)]);
    assert!(error.contains("two ports called `http`"), "{error}");
}

#[test]
fn a_workload_that_nobody_can_ask_is_refused() {
    // It can never be ready, nor be proved: better now than after a minute.
    let error = refused(vec![Pipeline::new("silent").workload(Workload::cargo("app").env("BEHAVIOUR", "ok"))]);
    assert!(error.contains("`app`") && error.contains("port"), "{error}");
}

#[test]
fn a_name_that_no_image_can_have_is_refused_with_the_rule_and_the_others_go_on() {
    let scene = Scene::new();
    let names = [".dot", "with space", "../../up", "", "-dash"];
    let mut pipelines = vec![app("good", "ok")];
    pipelines.extend(names.map(|name| bare(name, "ok")));
    let ran = start(&scene.config(pipelines), &Cancel::new(), |_| {}).unwrap();
    assert_eq!(ran.outcome.exit_code, 3);
    ran.passed("good");
    for name in names {
        let (verdict, cause) = ran.ended(name);
        assert_eq!(verdict, Verdict::Error, "`{name}`: {cause}");
        assert!(cause.contains(&format!("`{name}`")) && cause.len() > 30, "`{name}`: {cause}");
    }
    assert!(!scene.path("e2e/up").exists() && !scene.path("up").exists());
    ran.nothing_left();
}

#[test]
fn a_file_that_is_not_there_fails_the_image_that_wants_it() {
    let scene = Scene::new();
    let missing = Pipeline::new("missing").workload(workload("app", "ok").file("/etc/rules.toml", "app/rules.toml"));
    let ran = scene.run(vec![missing, app("good", "ok")]);
    let why = ran.why("missing");
    assert!(why.cause.contains("app/rules.toml") && why.cause.contains("`app`"), "{why:?}");
    ran.passed("good");
    ran.nothing_left();
}

#[test]
fn a_service_may_be_called_like_anything_that_the_tool_makes() {
    // A suite may be a test of the service's own package, too.
    let scene = Scene::new();
    let names = ["blobs", "programs", "suites", "run", "suite-green", "work", "images"];
    let ran = scene.run(names.map(|name| app(name, "ok")).into());
    assert_eq!(ran.outcome.exit_code, 0, "{}", ran.text());
    ran.nothing_left();
}
