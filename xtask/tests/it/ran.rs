//! A run, seen through what it leaves in its directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

use crate::kit::eventually;

/// The directory of a run, which may still be under way.
pub(crate) struct Ran {
    pub(crate) dir: PathBuf,
}

impl Ran {
    pub(crate) fn new(dir: PathBuf) -> Ran {
        Ran { dir }
    }

    pub(crate) fn id(&self) -> &str {
        self.dir.file_name().and_then(|name| name.to_str()).expect("runs are called by their id")
    }

    /// A file of it, whole.
    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.dir.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.read("report.json")).expect("report.json is JSON")
    }

    /// The record so far.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.dir.join("events.jsonl")).unwrap_or_default()
    }

    /// The events of a kind so far.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let events =
            whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of the record is JSON"));
        events.filter(|event| event["kind"] == kind).collect()
    }

    /// The process of the tool.
    pub(crate) fn pid(&self) -> u32 {
        number(&self.events("run_started")[0]["pid"])
    }

    /// Waits until the record says this.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        eventually(&format!("the record says {words}"), || {
            let text = self.text();
            let found = text.contains(words);
            assert!(found || !text.contains("\"run_ended\""), "the run ended without {words}: {text}");
            found.then_some(())
        });
    }

    /// Waits until a step has begun.
    #[track_caller]
    pub(crate) fn wait_for_step(&self, name: &str) {
        self.wait_for(&format!("\"name\":\"{name}\""));
    }

    /// The process of a workload, once it was started.
    #[track_caller]
    pub(crate) fn workload(&self, name: &str) -> u32 {
        let started = || self.events("deployed").into_iter().find(|event| event["workload"] == name);
        let event = eventually(&format!("`{name}` is started"), started);
        let instance = event["instance"].as_str().unwrap_or_default();
        instance.strip_prefix("pid ").and_then(|pid| pid.parse().ok()).expect("on `local` an instance is a process")
    }

    /// The address of a workload.
    pub(crate) fn url(&self, workload: &str) -> String {
        let endpoints = self.events("endpoint");
        let found = endpoints.iter().find(|event| event["workload"] == workload);
        found.and_then(|event| event["url"].as_str()).expect("the workload has an address").to_owned()
    }

    /// What failed tests printed.
    pub(crate) fn failures(&self) -> String {
        self.events("test").iter().filter_map(|test| test["output"].as_str().map(str::to_owned)).collect()
    }

    /// Asserts that the record and the machine agree: whatever the run made is gone.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        assert_eq!(supervise::find_marked("E2E_RUN", self.id()), Vec::<u32>::new(), "processes: {}", self.text());
        assert_eq!(self.running_commands(), Vec::<u32>::new(), "commands: {}", self.text());
        assert!(!self.dir.join("work").exists(), "its working directory is there");
        let (mut will, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for line in self.read("ledger.jsonl").lines() {
            let entry: Value = serde_json::from_str(line).expect("a line of the ledger is JSON");
            will.extend(entry["will"]["n"].as_u64());
            gone.extend(entry["gone"]["n"].as_u64());
        }
        assert!(!will.is_empty() && will == gone, "the ledger says that something is left: {will:?} {gone:?}");
    }

    /// Processes of commands that the record tells of and that still run the program that they were started as.
    pub(crate) fn running_commands(&self) -> Vec<u32> {
        let commands = self.events("command_started");
        let running = commands.iter().filter(|command| {
            let line = command["line"].as_str().unwrap_or_default();
            // A number may be another process's by now, and a zombie has no words.
            let words =
                fs::read(Path::new("/proc").join(command["pid"].to_string()).join("cmdline")).unwrap_or_default();
            let words: Vec<_> = words.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
            words.len() > 1 && words[1..].iter().all(|word| line.contains(&*String::from_utf8_lossy(word)))
        });
        running.map(|command| number(&command["pid"])).collect()
    }
}

fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).expect("a process id")
}

/// A case of `junit.xml`.
pub(crate) struct Case {
    pub(crate) suite: String,
    pub(crate) name: String,
    /// The element that says how it ended, unless it passed.
    pub(crate) outcome: Option<String>,
}

/// Reads `junit.xml`, and asserts that it is well-formed and that its numbers are those of its cases.
#[track_caller]
pub(crate) fn junit(text: &str) -> Vec<Case> {
    let mut reader = Reader::from_str(text);
    let (mut open, mut cases, mut told) = (Vec::new(), Vec::<Case>::new(), BTreeMap::new());
    let mut suite = String::new();
    loop {
        let event =
            reader.read_event().unwrap_or_else(|error| panic!("junit.xml is not well-formed ({error}): {text}"));
        let (element, opens) = match &event {
            Event::Start(element) => (element, true),
            Event::Empty(element) => (element, false),
            Event::End(_) => {
                open.pop();
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        let name = element.name().as_ref().to_owned();
        let attribute = |wanted: &str| {
            let found = element.attributes().map(|one| one.expect("attributes are well-formed"));
            let found = found.into_iter().find(|one| one.key.as_ref() == wanted);
            found.map(|one| one.value.into_owned()).unwrap_or_default()
        };
        let number = |wanted: &str| attribute(wanted).parse::<usize>().expect("a number");
        match name.as_str() {
            "testsuites" => drop(told.insert(None, ["tests", "failures", "errors"].map(number))),
            "testsuite" => {
                suite = attribute("name");
                told.insert(Some(suite.clone()), ["tests", "failures", "errors"].map(number));
            }
            "testcase" => cases.push(Case { suite: suite.clone(), name: attribute("name"), outcome: None }),
            "failure" | "error" | "skipped" => {
                assert_eq!(open.last().map(String::as_str), Some("testcase"), "{text}");
                cases.last_mut().expect("it is in a case").outcome = Some(name.clone());
            }
            _ => {}
        }
        if opens {
            open.push(name);
        }
    }
    assert!(open.is_empty() && told.contains_key(&None), "junit.xml stops before its end: {text}");
    for (suite, numbers) in told {
        let of: Vec<_> = cases.iter().filter(|case| suite.as_ref().is_none_or(|name| *name == case.suite)).collect();
        let with = |outcome: &str| of.iter().filter(|case| case.outcome.as_deref() == Some(outcome)).count();
        assert_eq!(numbers, [of.len(), with("failure"), with("error")], "{suite:?}: {text}");
    }
    cases
}
