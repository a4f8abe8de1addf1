//! `junit.xml`: a suite per pipeline, a case per test.
//!
//! `<failure>` is a test that ran and failed, `<error>` is what could not run (one case, named after the step that stopped
//! the pipeline), `<skipped>` is a test marked as ignored. A pipeline that did not pass always has a failure or an error, so
//! that no reader takes a run that was cut short for a green one. The form is that of the Jenkins schema (`junit-10.xsd` of
//! its xUnit plugin), which every known reader takes.

use std::io::{self, Write};

use event::Verdict;

use crate::model::{Pipeline, Summary, Test};
use crate::query::word;
use crate::text::{one_line, xml};

/// A test case.
struct Case {
    name: String,
    took_us: u64,
    outcome: Option<Outcome>,
}

/// What is inside a case that did not pass.
struct Outcome {
    element: &'static str,
    kind: &'static str,
    message: String,
    text: String,
}

/// A suite.
struct Suite {
    name: String,
    took_us: u64,
    properties: Vec<(String, String)>,
    cases: Vec<Case>,
}

/// Writes the report.
///
/// # Errors
/// What the writer returns.
pub fn write(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let mut suites: Vec<_> = summary.pipelines.iter().map(|pipeline| suite(summary, pipeline)).collect();
    if summary.verdict != Verdict::Passed
        && suites.iter().all(|suite| suite.count("failure") + suite.count("error") == 0)
    {
        suites.push(run_suite(summary));
    }
    let total = |element| suites.iter().map(|suite| suite.count(element)).sum::<usize>();
    let attributes = [
        ("name", format!("e2e {}", summary.run)),
        ("tests", suites.iter().map(|suite| suite.cases.len()).sum::<usize>().to_string()),
        ("failures", total("failure").to_string()),
        ("errors", total("error").to_string()),
        ("time", seconds(summary.last_us)),
    ];
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites{}>", written(&attributes))?;
    suites.iter().try_for_each(|suite| suite.write(summary, out))?;
    writeln!(out, "</testsuites>")
}

/// Attributes as they are written behind the name of an element.
fn written(attributes: &[(&str, String)]) -> String {
    // A reader takes what divides lines and columns for a space if it stands there as it is (XML 1.0, section 3.3.3).
    let value = |text: &str| xml(text).replace('\n', "&#10;").replace('\t', "&#9;");
    attributes.iter().map(|(name, text)| format!(" {name}=\"{}\"", value(text))).collect()
}

impl Suite {
    fn count(&self, element: &str) -> usize {
        self.cases.iter().filter(|case| case.outcome.as_ref().is_some_and(|outcome| outcome.element == element)).count()
    }

    fn write(&self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        let attributes = [
            ("name", self.name.clone()),
            ("tests", self.cases.len().to_string()),
            ("failures", self.count("failure").to_string()),
            ("errors", self.count("error").to_string()),
            ("skipped", self.count("skipped").to_string()),
            ("time", seconds(self.took_us)),
            ("timestamp", summary.started.clone()),
        ];
        writeln!(out, "  <testsuite{}>\n    <properties>", written(&attributes))?;
        for (name, value) in &self.properties {
            writeln!(out, "      <property{}/>", written(&[("name", name.clone()), ("value", value.clone())]))?;
        }
        writeln!(out, "    </properties>")?;
        self.cases.iter().try_for_each(|case| case.write(&self.name, out))?;
        writeln!(out, "  </testsuite>")
    }
}

impl Case {
    fn write(&self, suite: &str, out: &mut dyn Write) -> io::Result<()> {
        let attributes =
            [("name", self.name.clone()), ("classname", suite.to_owned()), ("time", seconds(self.took_us))];
        let Some(Outcome { element, kind, message, text }) = &self.outcome else {
            return writeln!(out, "    <testcase{}/>", written(&attributes));
        };
        writeln!(out, "    <testcase{}>", written(&attributes))?;
        let mut attributes = vec![("message", message.clone())];
        attributes.extend((!kind.is_empty()).then(|| ("type", (*kind).to_owned())));
        writeln!(out, "      <{element}{}>{}</{element}>\n    </testcase>", written(&attributes), xml(text))
    }
}

fn suite(summary: &Summary, pipeline: &Pipeline) -> Suite {
    let mut cases: Vec<_> = pipeline.tests.iter().map(case).collect();
    let no_failure =
        !cases.iter().any(|case| case.outcome.as_ref().is_some_and(|outcome| outcome.element != "skipped"));
    let stopped = matches!(pipeline.verdict, Verdict::Error | Verdict::Interrupted);
    if stopped || (pipeline.verdict == Verdict::Failed && no_failure) {
        cases.push(stop(summary, pipeline));
    }
    let phases = summary.phases(&pipeline.service);
    Suite {
        name: pipeline.service.clone(),
        took_us: pipeline.end_us.or(phases.iter().map(|span| span.end_us).max()).unwrap_or(summary.last_us),
        properties: properties(summary, pipeline),
        cases,
    }
}

fn case(test: &Test) -> Case {
    let output = test.output.as_deref().unwrap_or_default();
    // The message of a panic is the shortest account that a test gives of its failure; the line before names the place.
    let told = output.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
    let outcome = |element, kind, message: &str| {
        Some(Outcome { element, kind, message: message.to_owned(), text: output.to_owned() })
    };
    let outcome = match test.verdict {
        Verdict::Passed => None,
        Verdict::Skipped => outcome("skipped", "", "marked as ignored"),
        Verdict::Failed => outcome("failure", "failed", &one_line(told.unwrap_or("the test failed"))),
        Verdict::Error | Verdict::Interrupted => {
            outcome("error", word(test.verdict), "the test did not run to its end")
        }
    };
    Case { name: test.name.clone(), took_us: test.took_us, outcome }
}

/// What could not run.
fn stop(summary: &Summary, pipeline: &Pipeline) -> Case {
    let step = summary.stopped_at(pipeline);
    let name = step.map_or_else(|| format!("pipeline {}", word(pipeline.verdict)), |step| step.name.clone());
    let took_us = step.map_or(0, |step| step.end_us.unwrap_or(summary.last_us) - step.start_us);
    let mut text = Vec::new();
    if let Some(command) = summary.failed_command(pipeline) {
        text.push(format!("command: {}\n{}", command.line, command.status));
    }
    if let Some(diagnosis) = &pipeline.diagnosis {
        text.extend(diagnosis.evidence.iter().cloned());
        text.extend(diagnosis.hint.iter().map(|hint| format!("hint: {hint}")));
    }
    let kind = step.map_or(word(pipeline.verdict), |step| step.phase.name());
    let message = one_line(pipeline.why().unwrap_or(word(pipeline.verdict)));
    Case { name, took_us, outcome: Some(Outcome { element: "error", kind, message, text: text.join("\n") }) }
}

/// A suite for a run that did not pass although nothing is wrong with any pipeline.
fn run_suite(summary: &Summary) -> Suite {
    let cause = summary.diagnosis.as_ref().map_or("the run did not come to its end", |diagnosis| &diagnosis.cause);
    let outcome = Outcome {
        element: "error",
        kind: word(summary.verdict),
        message: one_line(cause),
        text: summary.left.join("\n"),
    };
    Suite {
        name: "run".to_owned(),
        took_us: summary.last_us,
        properties: Vec::new(),
        cases: vec![Case { name: "run".to_owned(), took_us: summary.last_us, outcome: Some(outcome) }],
    }
}

fn properties(summary: &Summary, pipeline: &Pipeline) -> Vec<(String, String)> {
    let mut properties =
        vec![("run".to_owned(), summary.run.clone()), ("platform".to_owned(), summary.platform.clone())];
    if let Some(revision) = &summary.revision {
        let dirty = if summary.dirty { " with local changes" } else { "" };
        properties.push(("revision".to_owned(), format!("{revision}{dirty}")));
    }
    for image in &pipeline.images {
        let mut add =
            |what: &str, value: &str| properties.push((format!("image.{}.{what}", image.name), value.to_owned()));
        add("reference", &image.reference);
        if let Some(built) = &image.built {
            add("config_digest", &built.config_digest);
            add("manifest_digest", &built.manifest_digest);
            add("source_fingerprint", &built.source_fingerprint);
        }
    }
    let log = pipeline.diagnosis.as_ref().and_then(|diagnosis| diagnosis.log.clone());
    // Without a log of its own to point to, the directory that holds them all, as the run's layout has it.
    properties.push(("log".to_owned(), log.unwrap_or_else(|| format!("logs/{}", pipeline.service))));
    properties
}

/// Microseconds in the form that JUnit wants: seconds with a point.
fn seconds(us: u64) -> String {
    format!("{}.{:03}", us / 1_000_000, us / 1000 % 1000)
}
