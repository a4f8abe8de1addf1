//! The written reports, over the same records.

use event::{Event as RunEvent, Verdict};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Value, json};

use crate::fixture::{PANIC, RUN, SERVICES, Script, digest, reference};
use crate::{Summary, github, json, junit, timings};

fn summary(script: &Script) -> Summary {
    Summary::of(&script.records())
}

/// An element with its attributes and its own text.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
}

impl Element {
    fn get(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// All elements of a report in document order, read back with a parser.
fn parse(summary: &Summary) -> Vec<Element> {
    let mut out = Vec::new();
    junit::write(summary, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(text.chars().all(allowed), "only characters that XML 1.0 allows: {text:?}");
    let mut reader = Reader::from_str(&text);
    let (mut elements, mut open): (Vec<Element>, Vec<usize>) = (Vec::new(), Vec::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Start(start) => {
                open.push(elements.len());
                elements.push(element(&start));
            }
            Event::Empty(start) => elements.push(element(&start)),
            Event::Text(text) => {
                if let Some(at) = open.last() {
                    elements[*at].text.push_str(&text.xml10_content());
                }
            }
            Event::GeneralRef(reference) => {
                let name = reference.xml10_content().into_owned();
                let resolved = quick_xml::escape::unescape(&format!("&{name};")).unwrap().into_owned();
                elements[*open.last().unwrap()].text.push_str(&resolved);
            }
            Event::End(_) => drop(open.pop()),
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty());
    elements
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Element {
    let attributes = start.attributes().map(|attribute| {
        let attribute = attribute.unwrap();
        let value = quick_xml::escape::unescape(&attribute.value).unwrap().into_owned();
        (attribute.key.as_ref().to_owned(), value)
    });
    Element { name: start.name().as_ref().to_owned(), attributes: attributes.collect(), text: String::new() }
}

#[test]
fn report_json_has_the_documented_fields() {
    let head = digest("last", "line");
    let report: Value =
        serde_json::from_str(&json::report(&summary(&Script::passing(&["gateway"])), Some(head))).unwrap();
    let pipeline = &report["pipelines"][0];
    let mut top = report.clone();
    top["pipelines"] = json!([]);
    let expected = json!({
        "version": 1, "run": RUN, "platform": "local", "verdict": "passed", "exit_code": 0, "pipelines": [],
        "events_head": head.to_string(),
    });
    assert_eq!(top, expected);
    assert_eq!(
        (&pipeline["service"], &pipeline["verdict"], &pipeline["cause"]),
        (&json!("gateway"), &json!("passed"), &Value::Null)
    );
    let expected = json!({
        "name": "datastorage", "reference": reference("datastorage", "gateway"),
        "config_digest": digest("config", "datastorage"), "manifest_digest": digest("manifest", "datastorage"),
        "source_fingerprint": digest("source", "datastorage"), "executable_digest": digest("executable", "datastorage"),
    });
    assert_eq!(pipeline["images"][0], expected);
    assert_eq!(pipeline["phases"].as_array().unwrap().len(), 7);
    // From the start of the build for all pipelines to the end of its last step.
    assert_eq!(pipeline["phases"][1], json!({ "phase": 1, "name": "build", "start_ms": 3, "end_ms": 11400 }));
    let tests = &pipeline["tests"];
    assert_eq!((&tests["passed"], &tests["failed"], &tests["skipped"]), (&json!(8), &json!(0), &json!(1)));
    assert_eq!(tests["cases"][1], json!({ "name": "audit::event_1_is_stored", "verdict": "passed", "ms": 240 }));
    let path: Vec<_> =
        pipeline["critical_path"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    let expected = [
        "make the tags",
        "build the suites",
        "run the suite",
        "prove that it still runs",
        "remove what the pipeline made",
    ];
    assert_eq!(path, expected);
}

#[test]
fn report_json_tells_why() {
    let report: Value = serde_json::from_str(&json::report(&summary(&Script::mixed()), None)).unwrap();
    let verdicts: Vec<_> =
        report["pipelines"].as_array().unwrap().iter().map(|of| of["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["passed", "failed", "error", "interrupted"]);
    assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("error"), &json!(3)));
    assert_eq!(report["pipelines"][2]["cause"], "`remediationorchestrator` ended by itself: exit status: 2");
    let mut unbuilt = Script::default();
    unbuilt.start(&["gateway"]);
    unbuilt.tags(0, "gateway");
    let report: Value = serde_json::from_str(&json::report(&summary(&unbuilt), None)).unwrap();
    assert_eq!(
        (&report["verdict"], &report["exit_code"]),
        (&json!("error"), &json!(3)),
        "a run without an end did not pass"
    );
    assert_eq!(report["pipelines"][0]["images"][0]["config_digest"], Value::Null);
}

#[test]
fn the_critical_path_goes_through_who_held_the_permit() {
    let mut script = Script::default();
    script.start(&["a", "b"]);
    script.begin(10, 1, Some("a"), event::Phase::Build, "assemble a");
    script.end(60, 1, event::StepOutcome::Ok, None, 0);
    script.begin(20, 2, Some("b"), event::Phase::Build, "assemble b");
    script.end(100, 2, event::StepOutcome::Ok, None, 40_000);
    let summary = summary(&script.sorted());
    let path: Vec<_> = summary.critical_path("b").iter().map(|step| step.name.as_str()).collect();
    assert_eq!(path, ["assemble a", "assemble b"]);
}

#[test]
fn junit_is_read_back_whole() {
    let elements = parse(&summary(&Script::mixed()));
    let suites: Vec<_> = elements.iter().filter(|element| element.name == "testsuite").collect();
    let counts: Vec<_> =
        suites.iter().map(|s| [s.get("tests"), s.get("failures"), s.get("errors"), s.get("skipped")]).collect();
    assert_eq!(counts, [["9", "0", "0", "1"], ["9", "1", "0", "1"], ["1", "0", "1", "0"], ["5", "0", "1", "0"]]);
    assert_eq!((elements[0].get("tests"), elements[0].get("failures"), elements[0].get("errors")), ("24", "1", "2"));
    let failure = elements.iter().find(|element| element.name == "failure").unwrap();
    assert_eq!(failure.get("message"), "the event <created> & \"its\" ]]> parent never came: 3 of 4 after 2 s ");
    let expected = PANIC.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "").replace(['\u{0}', '\u{fffe}'], "");
    assert_eq!(failure.text, expected);
    let errors: Vec<_> = elements.iter().filter(|element| element.name == "error").collect();
    assert_eq!(errors[0].get("message"), "`remediationorchestrator` ended by itself: exit status: 2");
    assert!(errors[0].text.contains("\nerror: no such file\n"), "{}", errors[0].text);
    assert_eq!((errors[1].get("message"), errors[1].get("type")), ("cancelled by SIGINT", "test"));
    let case = elements.iter().find(|element| element.get("name") == "deploy and wait").unwrap();
    assert_eq!((case.name.as_str(), case.get("time")), ("testcase", "0.287"));
    let property =
        |name: &str| elements.iter().find(|of| of.name == "property" && of.get("name") == name).unwrap().get("value");
    assert_eq!(property("image.datastorage.reference"), reference("datastorage", "gateway"));
    assert_eq!(property("image.datastorage.config_digest"), digest("config", "datastorage").to_string());
    let logs: Vec<_> = elements.iter().filter(|of| of.get("name") == "log").map(|of| of.get("value")).collect();
    assert_eq!(logs[2], "logs/remediationorchestrator/remediationorchestrator.log");
}

#[test]
fn junit_is_never_green_for_a_run_that_did_not_pass() {
    let mut script = Script::passing(&["gateway"]);
    script.change(|event| {
        if let RunEvent::RunEnded { verdict, exit_code, .. } = event {
            (*verdict, *exit_code) = (Verdict::Interrupted, 130);
        }
    });
    let elements = parse(&summary(&script));
    assert_eq!(elements[0].get("errors"), "1");
    assert!(elements.iter().any(|element| element.name == "testsuite" && element.get("name") == "run"));
    // Cut off in the middle: neither the pipeline nor the run has an end.
    let mut cut = Script::passing(&["gateway"]);
    cut.0.truncate(30);
    assert_eq!(parse(&summary(&cut))[0].get("errors"), "1");
}

#[test]
fn the_time_line_is_one_page_without_anything_from_outside() {
    let mut script = Script::mixed();
    let attack = "</style><script>alert('1')</script> \" onload=\"x";
    script.change(|event| match event {
        RunEvent::StepStarted { name, .. } if name.starts_with("load") => *name = attack.to_owned(),
        RunEvent::RunStarted { command, .. } => *command = attack.to_owned(),
        _ => {}
    });
    let page = timings::page(&summary(&script));
    for banned in ["<script", "http:", "https:", "src=", "href=", "url(", "@import", "\" onload"] {
        assert!(!page.contains(banned), "{banned}");
    }
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{page}");
    assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    let bars = |class: &str| page.lines().filter(|line| line.contains(&format!("<div class=\"bar {class}"))).count();
    assert_eq!((bars("test critical"), bars("build critical"), bars("deploy failed")), (2, 1, 1));
    assert!(page.contains("<u style=\"width:48.78%\"></u>"), "the part of a bar that was waiting");
    assert!(timings::page(&Summary::default()).ends_with("</html>\n"), "a run without events has a page too");
}

#[test]
fn github_commands_cannot_be_forged() {
    let log = "::error::not ours\n::endgroup::\n::stop-commands::x\n";
    let text = github::replay("gateway\n::error::x", log);
    let lines: Vec<_> = text.lines().collect();
    let token = lines[1].strip_prefix("::stop-commands::").unwrap();
    assert_eq!((lines[0], lines[lines.len() - 2]), ("::group::gateway ::error::x", format!("::{token}::").as_str()));
    assert_eq!(lines.last(), Some(&"::endgroup::"));
    assert!(token.len() == 32 && !log.contains(token));
    assert_ne!(github::inert("a"), github::inert("b"), "a text cannot know the token of the next");
    assert_eq!(github::escape_data("50%\r\nx:y"), "50%25%0D%0Ax:y");
    assert_eq!(github::escape_property("a:b,c"), "a%3Ab%2Cc");
}

#[test]
fn github_annotations_are_few_and_on_one_line_each() {
    let text = github::annotations(&summary(&Script::mixed()));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(
        lines[0],
        "::error title=remediationorchestrator%3A deploy::`remediationorchestrator` ended by itself: exit status: 2"
    );
    assert!(
        lines[2].starts_with("::error title=signalprocessing%3A audit%3A%3Aevent_3_is_stored::thread 'audit::event_3_is_stored' (812) panicked at"),
        "{text}"
    );
    let mut many = Script::passing(&SERVICES);
    for service in SERVICES {
        for test in 0..8 {
            many.fail_test(service, &format!("audit::event_{test}_is_stored"), "no");
        }
    }
    let text = github::annotations(&summary(&many));
    assert_eq!(text.lines().count(), 10);
    assert!(
        text.ends_with("::error title=more failures::23 more are in the step summary and in `junit.xml`\n"),
        "{text}"
    );
    assert_eq!(github::annotations(&summary(&Script::passing(&SERVICES))), "");
}

#[test]
fn the_step_summary_survives_what_tests_print() {
    let mut script = Script::mixed();
    script.fail_test("signalprocessing", "audit::event_3_is_stored", "```\n# not a heading\n<b>|");
    let text = github::step_summary(&summary(&script));
    assert!(text.contains("\n````text\n```\n# not a heading\n<b>|\n````\n"), "{text}");
    assert!(text.contains("| signalprocessing | failed | 7 passed, 1 failed, 1 skipped | 13.4s |"), "{text}");
    assert!(text.contains("a test failed: audit::event\\_3\\_is\\_stored"), "{text}");
    script.fail_test("signalprocessing", "audit::event_3_is_stored", &"x".repeat(2_000_000));
    let text = github::step_summary(&summary(&script));
    assert!(text.len() < 1024 * 1024 && text.contains("The rest did not fit"));
}
