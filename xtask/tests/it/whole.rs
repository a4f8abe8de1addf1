//! One run of all services, and everything that it leaves for people and machines.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use image::Digest;
use serde_json::{Value, json};

use crate::kit::{Answer, Real, ask, home, tool};
use crate::ran::{Ran, junit};

const SERVICES: [&str; 4] = ["gateway", "remediationorchestrator", "signalprocessing", "workflowexecution"];
const PHASES: [&str; 7] = ["tag", "build", "cluster", "load", "deploy", "test", "teardown"];

/// The run: made once, looked at by many tests.
pub(crate) fn whole() -> &'static (Answer, Ran) {
    static WHOLE: OnceLock<(Answer, Ran)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let real = Real::take();
        let (answer, ran) = real.e2e(&["--all", "--format", "json"]);
        assert_eq!(real.latest(), fs::canonicalize(&ran.dir).unwrap(), "`latest` points to the newest run");
        (answer.expect(0), ran)
    })
}

/// Asserts that an object has these members, each of the kind that is expected.
#[track_caller]
fn has(value: &Value, members: &[&str], kind: fn(&Value) -> bool) {
    for member in members {
        assert!(value.get(member).is_some_and(kind), "`{member}` of {value}");
    }
}

fn is_digest(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.parse::<Digest>().is_ok())
}

fn list<'a>(value: &'a Value, member: &str) -> &'a Vec<Value> {
    value[member].as_array().unwrap_or_else(|| panic!("`{member}` of {value}"))
}

#[test]
fn the_report_has_every_member_that_other_programs_rely_on() {
    let (answer, ran) = whole();
    assert_eq!(answer.out, ran.read("report.json"), "stdout is the report, and nothing else");
    let report = ran.report();
    assert_eq!(report["run"], ran.id());
    assert_eq!(ran.id().as_bytes()[14], b'7', "a UUID of version 7");
    assert_eq!((&report["version"], &report["platform"]), (&json!(1), &json!("local")));
    assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("passed"), &json!(0)));
    has(&report, &["events_head"], is_digest);
    let services: Vec<_> = list(&report, "pipelines").iter().map(|pipeline| &pipeline["service"]).collect();
    assert_eq!(services, SERVICES);
    for pipeline in list(&report, "pipelines") {
        assert_eq!((&pipeline["verdict"], &pipeline["cause"]), (&json!("passed"), &Value::Null), "{pipeline}");
        assert!(pipeline.as_object().unwrap().contains_key("cause"), "null, not left out");
        let phases: Vec<_> = list(pipeline, "phases").iter().map(|phase| (&phase["phase"], &phase["name"])).collect();
        let expected: Vec<_> = PHASES.iter().enumerate().map(|(number, name)| (json!(number), json!(name))).collect();
        assert_eq!(phases, expected.iter().map(|(number, name)| (number, name)).collect::<Vec<_>>());
        for phase in list(pipeline, "phases") {
            has(phase, &["start_ms", "end_ms"], Value::is_u64);
            assert!(phase["start_ms"].as_u64() <= phase["end_ms"].as_u64(), "{phase}");
        }
        let tests = &pipeline["tests"];
        has(tests, &["passed", "failed", "skipped"], Value::is_u64);
        for case in list(tests, "cases") {
            has(case, &["name", "verdict"], Value::is_string);
            has(case, &["ms"], Value::is_u64);
        }
        assert_eq!(tests["passed"], list(tests, "cases").len(), "all ran, and all passed");
        let (contract, own): (Vec<_>, Vec<_>) = list(tests, "cases")
            .iter()
            .filter_map(|case| case["name"].as_str())
            .partition(|name| name.starts_with("datastorage_contract::"));
        assert!(own.len() >= 8 && contract.len() >= 12, "{}: {} {}", pipeline["service"], own.len(), contract.len());
        let distinct: BTreeSet<_> = own.iter().chain(&contract).collect();
        assert_eq!(distinct.len(), own.len() + contract.len(), "no test is counted twice");
    }
}

#[test]
fn each_service_has_images_of_its_own() {
    let report = whole().1.report();
    let mut references = BTreeSet::new();
    for pipeline in list(&report, "pipelines") {
        let service = pipeline["service"].as_str().unwrap();
        let names: Vec<_> = list(pipeline, "images").iter().map(|image| image["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["datastorage", service]);
        for image in list(pipeline, "images") {
            let members = ["config_digest", "manifest_digest", "source_fingerprint", "executable_digest"];
            has(image, &members, is_digest);
            let reference = image["reference"].as_str().unwrap();
            let prefix = format!("localhost/{}:{service}-", image["name"].as_str().unwrap());
            let unique = reference.strip_prefix(&prefix).unwrap_or_else(|| panic!("{reference} is not {prefix}…"));
            assert!(unique.len() >= 12 && unique.bytes().all(|byte| byte.is_ascii_hexdigit()), "{reference}");
            references.insert(reference.to_owned());
        }
    }
    assert_eq!(references.len(), 8, "no two images have the same name: {references:?}");
}

#[test]
fn people_are_told_on_stderr_how_it_went() {
    let (answer, ran) = whole();
    answer.says(&SERVICES);
    answer.says(&["PASSED", ran.id()]);
    assert!(!answer.err.contains('\x1b'), "no terminal, no codes for one");
}

#[test]
fn junit_has_a_case_for_each_test() {
    let ran = &whole().1;
    let cases = junit(&ran.read("junit.xml"));
    for pipeline in list(&ran.report(), "pipelines") {
        let service = pipeline["service"].as_str().unwrap();
        let expected: BTreeSet<_> =
            list(&pipeline["tests"], "cases").iter().map(|case| case["name"].as_str().unwrap().to_owned()).collect();
        let found: BTreeSet<_> =
            cases.iter().filter(|case| case.suite == service).map(|case| case.name.clone()).collect();
        assert_eq!(found, expected);
    }
    assert!(cases.iter().all(|case| case.outcome.is_none()), "all passed");
}

#[test]
fn the_timeline_needs_nothing_from_elsewhere() {
    let page = whole().1.read("timings.html");
    for service in SERVICES {
        assert!(page.contains(service));
    }
    for elsewhere in ["://", "src=", "@import", "url(", "<link", "<iframe"] {
        assert!(!page.contains(elsewhere), "the page asks for something: {elsewhere}");
    }
    assert!(page.trim_end().ends_with("</html>") && page.contains("run the suite"));
}

#[test]
fn each_image_has_a_provenance_record() {
    let ran = &whole().1;
    for pipeline in list(&ran.report(), "pipelines") {
        let service = pipeline["service"].as_str().unwrap();
        for image in list(pipeline, "images") {
            let name = image["name"].as_str().unwrap();
            let record: Value = serde_json::from_str(&ran.read(&format!("provenance/{service}-{name}.json"))).unwrap();
            assert_eq!(record["_type"], "https://in-toto.io/Statement/v1");
            assert_eq!(record["predicateType"], "https://slsa.dev/provenance/v1");
            let subject = |digest: &Value| {
                let found = list(&record, "subject").iter().find(|subject| {
                    digest.as_str().and_then(|text| text.strip_prefix("sha256:"))
                        == subject["digest"]["sha256"].as_str()
                });
                found.unwrap_or_else(|| panic!("{digest} is no subject of {record}"))["name"].as_str().unwrap()
            };
            assert_eq!(subject(&image["manifest_digest"]), image["reference"].as_str().unwrap());
            subject(&image["config_digest"]);
            subject(&image["executable_digest"]);
            let (definition, details) = (&record["predicate"]["buildDefinition"], &record["predicate"]["runDetails"]);
            has(definition, &["buildType"], |value| value.as_str().is_some_and(|text| text.starts_with("https://")));
            assert_eq!(definition["externalParameters"]["consumer"], service);
            assert_eq!(definition["externalParameters"]["image"], name);
            has(definition, &["internalParameters"], Value::is_object);
            let materials: Vec<_> =
                list(definition, "resolvedDependencies").iter().filter_map(|of| of["name"].as_str()).collect();
            let source = format!("crates/services/{name}/src/lib.rs");
            assert!(materials.contains(&source.as_str()), "{source} is no material: {materials:?}");
            let fingerprint = image["source_fingerprint"].as_str().unwrap();
            assert!(record.to_string().contains(fingerprint.trim_start_matches("sha256:")));
            has(&details["builder"], &["id"], Value::is_string);
            assert_eq!(details["metadata"]["invocationId"], ran.id());
            has(&details["metadata"], &["startedOn", "finishedOn"], |value| {
                value.as_str().is_some_and(|text| text.ends_with('Z') && text.as_bytes()[10] == b'T')
            });
        }
    }
}

#[test]
fn the_audit_of_the_record_is_complete_and_green() {
    let ran = &whole().1;
    let audit = |more: &[&str]| ask(tool(home()).args(["audit", ran.id()]).args(more.iter().copied())).expect(0);
    let json = audit(&["--format", "json"]).json();
    assert_eq!(json["run"], ran.id());
    let services: Vec<_> = list(&json, "services").iter().map(|of| &of["service"]).collect();
    assert_eq!(services, SERVICES);
    for service in list(&json, "services") {
        let lines = list(service, "lines");
        // Eight rules, six links of the proof for each of two workloads, and that nothing is left.
        assert_eq!(lines.len(), 8 + 2 * 6 + 1, "{service}");
        for line in lines {
            assert_eq!(line["verdict"], "passed", "{line}");
            assert!(!list(line, "evidence").is_empty(), "{line}");
        }
    }
    let text = audit(&[]).out;
    assert!(text.contains("no re-tag") && text.contains("0 failed, 0 unchecked"), "{text}");
    let markdown = audit(&["--format", "markdown"]).out;
    assert!(SERVICES.iter().all(|service| markdown.contains(service)) && markdown.contains("|---"), "{markdown}");
}

#[test]
fn what_a_run_leaves_is_its_owners_and_tells_no_secret() {
    let ran = &whole().1;
    ran.nothing_left();
    assert_eq!(fs::metadata(&ran.dir).unwrap().permissions().mode() & 0o777, 0o700);
    let proof: Value = serde_json::from_str(&ran.read("proof.json")).unwrap();
    assert_eq!(proof["complete"], true);
    assert_eq!(list(&proof, "workloads").len(), 8);
    for line in ran.text().lines().filter(|line| line.contains("API_TOKEN=")) {
        assert!(line.contains("API_TOKEN=***"), "{line}");
    }
}
