//! GitHub Actions: workflow commands and the step summary. The caller decides whether it runs there (`GITHUB_ACTIONS=true`).
//!
//! Commands must begin their line, so this text goes to the output as it is, never through a prefix. Forms and limits:
//! GitHub's "Workflow commands for GitHub Actions".

use std::fmt::Write;

use event::Verdict;
use image::Digest;

use crate::model::{Pipeline, Summary};
use crate::query::word;
use crate::text::{count, duration, excerpt, last_lines, one_line, plain, xml};

/// Only this many annotations of a kind are shown per step.
const ANNOTATIONS: usize = 10;

/// GitHub takes at most 1 MiB of summary per step, and drops all of it beyond.
const SUMMARY_LIMIT: usize = 1024 * 1024;

/// Lines of output shown per failed test or cause in the step summary.
const SUMMARY_LINES: usize = 30;

/// Replays the log of a finished pipeline as a group that folds. No line of the log can act as a workflow command.
pub fn replay(title: &str, log: &str) -> String {
    format!("::group::{}\n{}::endgroup::\n", escape_data(&one_line(title)), inert(log))
}

/// The text so that no line of it can act as a workflow command.
pub fn inert(text: &str) -> String {
    // What ends the pause must not be known to who wrote the text: nobody can put the digest of a text into the text.
    let token = &Digest::of(text).hex()[..32];
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("::stop-commands::{token}\n{text}{end}::{token}::\n")
}

/// An error annotation per failure: pipelines that could not run to their end first, then tests.
pub fn annotations(summary: &Summary) -> String {
    let mut errors = Vec::new();
    for group in summary.not_passed() {
        let pipeline = group[0];
        if matches!(pipeline.verdict, Verdict::Error | Verdict::Interrupted) {
            let phase = summary.stopped_at(pipeline).map_or(word(pipeline.verdict), |step| step.phase.name());
            let title = format!("{}: {phase}", names(&group));
            errors.push((title, pipeline.why().unwrap_or_default().to_owned()));
        }
    }
    for pipeline in &summary.pipelines {
        for test in pipeline.failed_tests() {
            let lines = excerpt(test.output.as_deref().unwrap_or("the test failed"), 10);
            errors.push((format!("{}: {}", pipeline.service, test.name), lines.join("\n")));
        }
    }
    if errors.is_empty() && summary.verdict != Verdict::Passed {
        let cause = summary.diagnosis.as_ref().map_or("the run did not pass", |diagnosis| &diagnosis.cause);
        errors.push((format!("run {}", word(summary.verdict)), cause.to_owned()));
    }
    let more = errors.len().saturating_sub(ANNOTATIONS);
    if more > 0 {
        // One place is for the number of those that have none.
        errors.truncate(ANNOTATIONS - 1);
        errors.push((
            "more failures".to_owned(),
            format!("{} more are in the step summary and in `junit.xml`", more + 1),
        ));
    }
    let line = |(title, message): (String, String)| {
        format!("::error title={}::{}\n", escape_property(&one_line(&title)), escape_data(plain(&message).trim_end()))
    };
    errors.into_iter().map(line).collect()
}

/// The step summary, in GitHub's Markdown.
pub fn step_summary(summary: &Summary) -> String {
    let counts = summary.counts();
    let mut text = format!(
        "## E2E: {}\n\n{} passed, {} failed, {} skipped, on `{}` in {} (run `{}`)\n\n",
        word(summary.verdict),
        counts.passed,
        counts.failed,
        counts.skipped,
        summary.platform,
        duration(summary.last_us),
        summary.run
    );
    text.push_str("| service | verdict | tests | time | image | config digest |\n|---|---|---|---|---|---|\n");
    for pipeline in &summary.pipelines {
        row(&mut text, summary, pipeline);
    }
    for group in summary.not_passed() {
        let section = failure(summary, &group);
        if text.len() + section.len() > SUMMARY_LIMIT - 200 {
            text.push_str("\nThe rest did not fit: it is in `junit.xml` and the logs of the run.\n");
            break;
        }
        text.push_str(&section);
    }
    text
}

fn row(text: &mut String, summary: &Summary, pipeline: &Pipeline) {
    let counts = pipeline.counts();
    let references: Vec<_> = pipeline.images.iter().map(|image| code(&image.reference)).collect();
    let digests =
        pipeline.images.iter().map(|image| image.built.as_ref().map_or("not built", |built| &built.config_digest));
    // Enough digits to compare by eye; `report.json` has them all.
    let digests: Vec<_> = digests.map(|digest| code(digest.get(..19).unwrap_or(digest))).collect();
    writeln!(
        text,
        "| {} | {} | {} passed, {} failed, {} skipped | {} | {} | {} |",
        markdown(&pipeline.service),
        word(pipeline.verdict),
        counts.passed,
        counts.failed,
        counts.skipped,
        duration(pipeline.end_us.unwrap_or(summary.last_us)),
        references.join("<br>"),
        digests.join("<br>")
    )
    .expect("a string takes everything");
}

fn names(group: &[&Pipeline]) -> String {
    group.iter().map(|pipeline| pipeline.service.as_str()).collect::<Vec<_>>().join(", ")
}

fn failure(summary: &Summary, group: &[&Pipeline]) -> String {
    let pipeline = group[0];
    let mut text = format!("\n### {}: {}\n\n", markdown(&names(group)), word(pipeline.verdict));
    let mut paragraph = |content: String| {
        text.push_str(&content);
        text.push_str("\n\n");
    };
    if let Some(cause) = pipeline.why() {
        paragraph(markdown(&one_line(cause)));
    }
    if let Some(command) = summary.failed_command(pipeline) {
        paragraph(fenced(&format!("{}\n# {}", command.line, command.status)));
    }
    if let Some(diagnosis) = &pipeline.diagnosis {
        if !diagnosis.evidence.is_empty() {
            paragraph(fenced(&last_lines(&diagnosis.evidence.join("\n"), SUMMARY_LINES).join("\n")));
        }
        if let Some(hint) = &diagnosis.hint {
            paragraph(format!("Hint: {}", markdown(&one_line(hint))));
        }
        if let Some(log) = &diagnosis.log {
            paragraph(format!("Log: {}", code(log)));
        }
    }
    for test in pipeline.failed_tests() {
        let output = excerpt(test.output.as_deref().unwrap_or_default(), SUMMARY_LINES).join("\n");
        let title = format!("{} ({})", xml(&test.name), duration(test.took_us));
        paragraph(format!("<details><summary>{title}</summary>\n\n{}\n\n</details>", fenced(&output)));
    }
    let shown = pipeline.failed_tests().count();
    if shown > 0 {
        paragraph(format!("{} failed.", count(shown, "test")));
    }
    text
}

/// The value of a command: `%`, CR and LF would end or change it.
pub(crate) fn escape_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property of a command, which `:` and `,` would end too.
pub(crate) fn escape_property(text: &str) -> String {
    escape_data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text that Markdown takes as it is: everything that has a meaning is escaped. Spans in backticks stay code.
pub(crate) fn markdown(text: &str) -> String {
    let parts: Vec<_> = text.split('`').collect();
    // An odd one out is no span.
    let paired = parts.len() % 2 == 1;
    let mut escaped = String::new();
    for (at, part) in parts.iter().enumerate() {
        if paired && at % 2 == 1 && !part.is_empty() {
            escaped.push_str(&code(part));
            continue;
        }
        for c in part.chars() {
            match c {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '@' => {
                    escaped.push('\\');
                    escaped.push(c);
                }
                c => escaped.push(c),
            }
        }
        if !paired && at + 1 < parts.len() {
            escaped.push_str("\\`");
        }
    }
    escaped
}

/// Code within a line or a table cell: HTML, since a pipe or a backtick in Markdown code would end the cell or the code.
/// Markdown goes on inside HTML, so what has a meaning in it is written as a character reference.
pub(crate) fn code(text: &str) -> String {
    let mut escaped = String::new();
    for c in xml(&one_line(text)).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                write!(escaped, "&#{};", u32::from(c)).expect("a string takes everything");
            }
            c => escaped.push(c),
        }
    }
    format!("<code>{escaped}</code>")
}

/// A block of code whose fence is longer than any in the text.
fn fenced(text: &str) -> String {
    let text = plain(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}
