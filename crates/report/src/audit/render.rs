//! The audit as text, JSON and Markdown.

use std::fmt::Write;

use super::{Audit, Finding, Line, ServiceAudit};
use crate::github::markdown;
use crate::text::{columns, count, one_line, pad};

impl Audit {
    /// For a terminal or a log. The words carry the meaning; there are no colours.
    pub fn text(&self) -> String {
        let mut text = format!("audit of run {} on {}\n", self.run, self.platform);
        for service in &self.services {
            writeln!(text, "\n{}", service.service).expect("a string takes everything");
            let width = service.lines.iter().map(|line| columns(&line.title)).max().unwrap_or(0);
            for line in &service.lines {
                text_line(&mut text, line, width);
            }
        }
        writeln!(text, "\n{}", self.verdict()).expect("a string takes everything");
        text
    }

    /// For programs.
    pub fn json(&self) -> String {
        let mut value = serde_json::to_value(self).expect("strings and numbers are always JSON");
        value["passed"] = self.passed().into();
        let mut text = serde_json::to_string_pretty(&value).expect("a value is always JSON");
        text.push('\n');
        text
    }

    /// For a pull request: a table per service, folded if nothing is wrong.
    pub fn markdown(&self) -> String {
        let mut text =
            format!("## Audit of run `{}` on {}\n\n{}\n", self.run, markdown(&self.platform), self.verdict());
        for service in &self.services {
            let open = if service.lines.iter().any(|line| line.verdict == Finding::Failed) { " open" } else { "" };
            let (name, counts) = (markdown(&service.service), service.counts());
            writeln!(text, "\n<details{open}><summary>{name}: {counts}</summary>\n")
                .expect("a string takes everything");
            text.push_str("| rule | verdict | evidence | events |\n|---|---|---|---|\n");
            for line in &service.lines {
                let evidence: Vec<_> = line.evidence.iter().map(|evidence| markdown(&one_line(evidence))).collect();
                let verdict = if line.verdict == Finding::Failed { "**FAILED**" } else { word(line.verdict) };
                writeln!(
                    text,
                    "| {} | {verdict} | {} | {} |",
                    markdown(&line.title),
                    evidence.join("<br>"),
                    numbers(line).replace('#', "\\#")
                )
                .expect("a string takes everything");
            }
            text.push_str("\n</details>\n");
        }
        text
    }

    /// One sentence.
    pub fn verdict(&self) -> String {
        let all = self.services.iter().map(|service| service.lines.len()).sum();
        let (failed, unchecked) = (self.count(Finding::Failed), self.count(Finding::Unchecked));
        let word = if self.passed() { "audit passed" } else { "audit FAILED" };
        format!(
            "{word}: {} of {}, {failed} failed, {unchecked} unchecked",
            count(all, "line"),
            count(self.services.len(), "service")
        )
    }
}

impl ServiceAudit {
    fn counts(&self) -> String {
        let of = |finding| self.lines.iter().filter(|line| line.verdict == finding).count();
        let (passed, failed, unchecked) = (of(Finding::Passed), of(Finding::Failed), of(Finding::Unchecked));
        format!("{passed} passed, {failed} failed, {unchecked} unchecked")
    }
}

fn text_line(text: &mut String, line: &Line, width: usize) {
    let mut evidence = line.evidence.iter().map(|evidence| one_line(evidence));
    let first = evidence.next().unwrap_or_default();
    let (title, numbers) = (pad(&line.title, width), numbers(line));
    writeln!(text, "  {}  {title}  {first}", pad(word(line.verdict), 9)).expect("a string takes everything");
    let indent = " ".repeat(2 + 9 + 2 + width + 2);
    for more in evidence {
        writeln!(text, "{indent}{more}").expect("a string takes everything");
    }
    // The evidence names its own events where there is one for each.
    if line.evidence.iter().all(|evidence| !evidence.contains('#')) && !numbers.is_empty() {
        writeln!(text, "{indent}events {numbers}").expect("a string takes everything");
    }
}

fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Passed => "ok",
        Finding::Unchecked => "unchecked",
        Finding::Failed => "FAILED",
    }
}

fn numbers(line: &Line) -> String {
    line.events.iter().map(|seq| format!("#{seq}")).collect::<Vec<_>>().join(" ")
}
