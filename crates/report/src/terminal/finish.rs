//! The end of a run: a table, and for each pipeline that did not pass its cause and the evidence.

use std::fmt::Write;

use event::{Phase, Verdict};

use super::{Style, Terminal, Verbosity, style};
use crate::model::{Diagnosis, Pipeline, Summary, Test};
use crate::query::word;
use crate::text::{columns, count, duration, excerpt, last_lines, one_line, pad};

/// Lines of evidence per cause, as many as the record keeps.
const EVIDENCE_LINES: usize = 40;
/// Lines of output per failed test.
const TEST_LINES: usize = 15;
/// Failed tests of a pipeline that are shown with their output.
const SHOWN_TESTS: usize = 5;
/// A phase that took less than this in every pipeline has no column where the terminal is narrow.
const SHORT_US: u64 = 100_000;

impl Terminal {
    pub(super) fn report(&self, summary: &Summary) -> String {
        let mut text = String::new();
        let quiet = self.config.verbosity == Verbosity::Quiet;
        if !quiet && !summary.pipelines.is_empty() {
            text.push('\n');
            text.push_str(&self.table(summary));
        }
        for group in summary.not_passed() {
            text.push_str(&self.failure(summary, &group));
        }
        if let Some(diagnosis) = &summary.diagnosis {
            text.push_str(&self.heading("run", summary.verdict));
            self.cause(&mut text, &diagnosis.cause);
            self.diagnosis(&mut text, diagnosis);
        }
        if !quiet {
            text.push('\n');
            self.field(&mut text, "reports", &self.path(""));
            if summary.retries > 0 {
                let number = if summary.retries == 1 { "1 retry" } else { &format!("{} retries", summary.retries) };
                self.field(&mut text, "retries", &format!("{number} of transient faults"));
            }
        }
        if summary.ended && !summary.clean {
            let left = match summary.left.len() {
                0 => "what the run made was kept".to_owned(),
                left => format!("{} could not be removed", count(left, "thing")),
            };
            self.field(&mut text, "left", &format!("{left}: `cargo xtask clean {}` removes it", summary.run));
        }
        let counts = summary.counts();
        let verdict = self.paint(style(summary.verdict), &word(summary.verdict).to_uppercase());
        if !quiet {
            writeln!(text, "  {verdict} in {}", duration(summary.last_us)).expect("a string takes everything");
        }
        // The form is fixed: scripts and people count on the last line.
        writeln!(text, "{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped)
            .expect("a string takes everything");
        text
    }

    /// Pipelines that stopped for the same reason.
    fn failure(&self, summary: &Summary, group: &[&Pipeline]) -> String {
        let Some(pipeline) = group.first() else { return String::new() };
        let names: Vec<_> = group.iter().map(|pipeline| pipeline.service.as_str()).collect();
        let mut text = self.heading(&names.join(", "), pipeline.verdict);
        if let Some(why) = pipeline.why() {
            self.cause(&mut text, why);
        }
        let mut steps: Vec<_> =
            group.iter().filter_map(|of| summary.stopped_at(of)).map(|step| one_line(&step.name)).collect();
        steps.dedup();
        if !steps.is_empty() {
            self.field(&mut text, "step", &steps.join(", "));
        }
        if let Some(command) = summary.failed_command(pipeline) {
            self.field(&mut text, "command", &one_line(&command.line));
            self.field(&mut text, "ended", &one_line(&command.status));
        }
        if let Some(diagnosis) = &pipeline.diagnosis {
            self.diagnosis(&mut text, diagnosis);
        }
        let failed: Vec<_> = pipeline.failed_tests().collect();
        let shown = if self.config.verbosity == Verbosity::Verbose { failed.len() } else { SHOWN_TESTS };
        for test in failed.iter().take(shown) {
            self.test(&mut text, test);
        }
        if failed.len() > shown {
            self.field(&mut text, "more", &format!("{} failed", count(failed.len() - shown, "other test")));
        }
        if !failed.is_empty() {
            let logs = self.path(&format!("logs/{}", pipeline.service));
            self.field(&mut text, "logs", &logs);
        }
        text
    }

    fn heading(&self, name: &str, verdict: Verdict) -> String {
        format!(
            "\n{}: {}\n",
            self.paint(Style::Strong, name),
            self.paint(style(verdict), &word(verdict).to_uppercase())
        )
    }

    fn cause(&self, text: &mut String, cause: &str) {
        self.field(text, "cause", &one_line(cause));
    }

    fn diagnosis(&self, text: &mut String, diagnosis: &Diagnosis) {
        self.quote(text, &last_lines(&diagnosis.evidence.join("\n"), EVIDENCE_LINES));
        if let Some(hint) = &diagnosis.hint {
            self.field(text, "hint", &one_line(hint));
        }
        if let Some(log) = &diagnosis.log {
            self.field(text, "log", &self.path(log));
        }
    }

    fn test(&self, text: &mut String, test: &Test) {
        let verdict = self.paint(style(test.verdict), &word(test.verdict).to_uppercase());
        self.field(text, "test", &format!("{} {verdict} ({})", one_line(&test.name), duration(test.took_us)));
        let output = test.output.as_deref().unwrap_or_default();
        let verbose = self.config.verbosity == Verbosity::Verbose;
        self.quote(text, &if verbose { last_lines(output, usize::MAX) } else { excerpt(output, TEST_LINES) });
    }

    fn field(&self, text: &mut String, name: &str, value: &str) {
        let name = self.paint(Style::Faint, &pad(name, 7));
        writeln!(text, "  {name}  {value}").expect("a string takes everything");
    }

    /// Output of something else, told from our own by a bar. The bar also keeps it from acting as a workflow command where a
    /// CI system reads the lines.
    fn quote(&self, text: &mut String, lines: &[String]) {
        let bar = self.paint(Style::Faint, "|");
        for line in lines {
            writeln!(text, "    {bar} {line}").expect("a string takes everything");
        }
    }

    fn path(&self, path: &str) -> String {
        self.config.run_dir.join(path).display().to_string()
    }

    fn table(&self, summary: &Summary) -> String {
        let reached = |phase: Phase| {
            let took = summary.pipelines.iter().filter_map(|pipeline| took(summary, pipeline, phase));
            took.max()
        };
        let all: Vec<_> = Phase::ALL.into_iter().filter(|phase| reached(*phase).is_some()).collect();
        let long: Vec<_> = all.iter().copied().filter(|phase| reached(*phase) >= Some(SHORT_US)).collect();
        let fits = |table: &Table| self.config.width.is_none_or(|width| table.width() < width);
        // The first that fits: everything; the tags below; without the phases that took no time.
        let with_tags = columns_of(summary, &all, true);
        if fits(&with_tags) {
            return with_tags.render(self);
        }
        let mut table = columns_of(summary, &all, false);
        if !fits(&table) {
            table = columns_of(summary, &long, false);
        }
        let mut text = table.render(self);
        text.push('\n');
        for (service, image) in tags(summary) {
            writeln!(text, "{}  {image}", pad(service, table.widths[0])).expect("a string takes everything");
        }
        text
    }
}

fn took(summary: &Summary, pipeline: &Pipeline, phase: Phase) -> Option<u64> {
    summary.phases(&pipeline.service).iter().find(|span| span.phase == phase).map(|span| span.end_us - span.start_us)
}

/// Per pipeline the reference of the image that all of them have, each its own.
fn tags(summary: &Summary) -> impl Iterator<Item = (&str, &str)> {
    summary.pipelines.iter().map(|pipeline| {
        let image = pipeline.images.first();
        (pipeline.service.as_str(), image.map_or("(no tag was made)", |image| image.reference.as_str()))
    })
}

struct Table {
    widths: Vec<usize>,
    rows: Vec<(Style, Vec<String>)>,
}

fn columns_of(summary: &Summary, phases: &[Phase], with_tags: bool) -> Table {
    let mut head: Vec<String> = ["service", "verdict"].map(str::to_owned).into();
    head.extend(phases.iter().map(|phase| phase.name().to_owned()));
    head.push("total".to_owned());
    head.push("tests".to_owned());
    if with_tags {
        // The first image of a pipeline is that of what they all depend on.
        let name =
            summary.pipelines.iter().find_map(|pipeline| pipeline.images.first()).map(|image| image.name.as_str());
        head.push(format!("{} image", name.unwrap_or("first")));
    }
    let mut rows = vec![(Style::Faint, head)];
    for (pipeline, (_, tag)) in summary.pipelines.iter().zip(tags(summary)) {
        let counts = pipeline.counts();
        let mut row = vec![pipeline.service.clone(), word(pipeline.verdict).to_owned()];
        row.extend(phases.iter().map(|phase| took(summary, pipeline, *phase).map_or("-".to_owned(), duration)));
        row.push(pipeline.end_us.map_or("-".to_owned(), duration));
        let ran = counts.passed + counts.failed;
        let skipped = if counts.skipped > 0 { format!(" +{} skipped", counts.skipped) } else { String::new() };
        row.push(if ran + counts.skipped == 0 { "-".to_owned() } else { format!("{}/{ran}{skipped}", counts.passed) });
        if with_tags {
            row.push(tag.to_owned());
        }
        rows.push((style(pipeline.verdict), row));
    }
    let width = |at: usize| rows.iter().map(|(_, row)| columns(&row[at])).max().unwrap_or(0);
    Table { widths: (0..rows[0].1.len()).map(width).collect(), rows }
}

impl Table {
    fn width(&self) -> usize {
        self.widths.iter().sum::<usize>() + 2 * (self.widths.len() - 1)
    }

    fn render(&self, terminal: &Terminal) -> String {
        let mut text = String::new();
        for (number, (style, row)) in self.rows.iter().enumerate() {
            let cells: Vec<_> = row
                .iter()
                .zip(&self.widths)
                .enumerate()
                .map(|(at, (cell, width))| {
                    let space = " ".repeat(width - columns(cell));
                    let shown = if number == 0 || at == 1 { terminal.paint(*style, cell) } else { cell.clone() };
                    // Names and tags to the left, numbers to the right, as they are read.
                    let named = at < 2 || self.rows[0].1[at].ends_with(" image");
                    if named { format!("{shown}{space}") } else { format!("{space}{shown}") }
                })
                .collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}
