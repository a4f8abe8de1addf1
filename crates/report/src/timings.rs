//! `timings.html`: the steps of a run on a time line, as `cargo build --timings` shows units.
//!
//! One file without script or anything from outside, and a content security policy that says so: it can be kept as a CI
//! artifact and opened anywhere. All text from the run is escaped.

use std::fmt::Write;

use event::{Phase, StepOutcome, Verdict};

use crate::model::{Pipeline, Step, Summary};
use crate::query::word;
use crate::text::{count, duration, one_line, xml};

/// Tests shown in the table of the slowest.
const SLOWEST: usize = 20;

/// The whole page.
pub fn page(summary: &Summary) -> String {
    let page = Page::new(summary);
    let mut out = String::new();
    page.write(&mut out).expect("a string takes everything");
    out
}

struct Page<'a> {
    summary: &'a Summary,
    /// Width of the time line, in microseconds.
    total: u64,
    /// Numbers of the steps of the run's critical path.
    critical: Vec<u64>,
}

impl<'a> Page<'a> {
    fn new(summary: &'a Summary) -> Page<'a> {
        let slowest = summary.slowest().map(|pipeline| summary.critical_path(&pipeline.service)).unwrap_or_default();
        Page { summary, total: summary.last_us.max(1), critical: slowest.iter().map(|step| step.id).collect() }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let summary = self.summary;
        let tick = tick(self.total);
        writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
        writeln!(
            out,
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        )?;
        writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
        writeln!(out, "<title>E2E {} {}</title>", xml(&summary.run), word(summary.verdict))?;
        writeln!(out, "<style>\n{}</style>\n</head>\n<body>", include_str!("timings.css"))?;
        self.head(out)?;
        writeln!(out, "<main style=\"--tick:{:.4}%\">", percent(tick, self.total))?;
        self.axis(out, tick)?;
        self.section(out, None)?;
        for pipeline in &summary.pipelines {
            self.section(out, Some(pipeline))?;
        }
        writeln!(out, "</main>")?;
        self.steps(out)?;
        self.tests(out)?;
        writeln!(out, "</body>\n</html>")
    }

    fn head(&self, out: &mut String) -> std::fmt::Result {
        let summary = self.summary;
        let counts = summary.counts();
        writeln!(out, "<h1>E2E run: {} in {}</h1>", verdict(summary.verdict), duration(summary.last_us))?;
        writeln!(
            out,
            "<p>{} passed, {} failed, {} skipped; {} on <b>{}</b></p>",
            counts.passed,
            counts.failed,
            counts.skipped,
            count(summary.pipelines.len(), "pipeline"),
            xml(&summary.platform)
        )?;
        let revision = summary.revision.as_deref().unwrap_or("no commit");
        let dirty = if summary.dirty { " with local changes" } else { "" };
        let run = xml(&summary.run);
        let started = xml(&summary.started);
        writeln!(
            out,
            "<p class=\"faint\">run <code>{run}</code>, {started}, <code>{}</code>{dirty}</p>",
            xml(revision)
        )?;
        writeln!(out, "<p class=\"faint\"><code>{}</code></p>", xml(&summary.command))?;
        writeln!(out, "<div class=\"legend\">")?;
        for phase in Phase::ALL {
            write!(out, "<span><i class=\"{0}\"></i>{1} {0}</span>", phase.name(), phase.number())?;
        }
        writeln!(
            out,
            "<span><i class=\"critical\"></i>&#9670; critical path</span>\
             <span><i class=\"cluster\" style=\"opacity:.38\"></i>lighter: waited for a permit</span></div>"
        )
    }

    fn axis(&self, out: &mut String, tick: u64) -> std::fmt::Result {
        write!(out, "<div class=\"row axis\"><div></div><div class=\"track\">")?;
        let mut at = 0;
        // A mark too close to the right edge would stick out.
        while at * 100 <= self.total * 96 {
            write!(out, "<span style=\"left:{:.4}%\">{}</span>", percent(at, self.total), mark(at, tick))?;
            at += tick;
        }
        writeln!(out, "</div></div>")
    }

    fn section(&self, out: &mut String, pipeline: Option<&Pipeline>) -> std::fmt::Result {
        let of = |step: &&Step| step.service.as_deref() == pipeline.map(|pipeline| pipeline.service.as_str());
        let mut steps = self.summary.steps.iter().filter(of).peekable();
        match pipeline {
            Some(pipeline) => {
                let took = pipeline.end_us.map(|end| format!(" in {}", duration(end))).unwrap_or_default();
                writeln!(out, "<h2>{}: {}{took}</h2>", xml(&pipeline.service), verdict(pipeline.verdict))?;
                if let Some(why) = pipeline.why() {
                    writeln!(out, "<p>{}</p>", xml(&one_line(why)))?;
                }
            }
            None if steps.peek().is_none() => {}
            None => writeln!(out, "<h2>all pipelines</h2>")?,
        }
        steps.try_for_each(|step| self.bar(out, step))
    }

    fn bar(&self, out: &mut String, step: &Step) -> std::fmt::Result {
        let end = step.end_us.unwrap_or(self.summary.last_us);
        let took = end.saturating_sub(step.start_us);
        let (left, width) = (percent(step.start_us, self.total), percent(took, self.total));
        let critical = self.critical.contains(&step.id);
        let failed = step.outcome == Some(StepOutcome::Failed);
        let classes = format!(
            "bar {}{}{}",
            step.phase.name(),
            if critical { " critical" } else { "" },
            if failed { " failed" } else { "" }
        );
        let title = format!(
            "{}, phase {} {}: from {} to {}, took {}{}, {}{}{}",
            step.name,
            step.phase.number(),
            step.phase.name(),
            duration(step.start_us),
            duration(end),
            duration(took),
            if step.waited_us >= 500 {
                format!(", of which {} waiting", duration(step.waited_us))
            } else {
                String::new()
            },
            outcome(step),
            if critical { ", on the critical path" } else { "" },
            step.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
        );
        let (name, title) = (xml(&one_line(&step.name)), xml(&title));
        let diamond = if critical { "&#9670; " } else { "" };
        write!(
            out,
            "<div class=\"row\" title=\"{title}\"><div class=\"name\">{diamond}{name}</div><div class=\"track\">"
        )?;
        write!(out, "<div class=\"{classes}\" style=\"left:{left:.4}%;width:{width:.4}%\">")?;
        if step.waited_us > 0 && took > 0 {
            write!(out, "<u style=\"width:{:.2}%\"></u>", percent(step.waited_us, took))?;
        }
        // Beside the bar, on the side where there is room.
        let place = if left + width < 88.0 {
            format!("left:calc({:.4}% + 7px)", left + width)
        } else {
            format!("right:calc({:.4}% + 7px)", 100.0 - left)
        };
        let word = match step.outcome {
            Some(StepOutcome::Ok) => String::new(),
            _ => format!(" {}", outcome(step)),
        };
        // A bar from edge to edge leaves no room on either side.
        let place = if left < 12.0 && left + width >= 88.0 {
            "right:7px;color:var(--page);font-weight:600".to_owned()
        } else {
            place
        };
        writeln!(out, "</div><span class=\"took\" style=\"{place}\">{}{word}</span></div></div>", duration(took))
    }

    fn steps(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "<h2>Steps</h2>\n<div class=\"scroll\"><table><tr><th>pipeline<th>phase<th>step<th class=\"n\">start<th class=\"n\">took\
             <th class=\"n\">waited<th>critical<th>outcome</tr>"
        )?;
        for step in &self.summary.steps {
            let end = step.end_us.unwrap_or(self.summary.last_us);
            writeln!(
                out,
                "<tr><td>{}<td>{} {}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td>{}<td class=\"wide\">{}</tr>",
                xml(step.service.as_deref().unwrap_or("all")),
                step.phase.number(),
                step.phase.name(),
                xml(&one_line(&step.name)),
                duration(step.start_us),
                duration(end.saturating_sub(step.start_us)),
                if step.waited_us >= 500 { duration(step.waited_us) } else { String::new() },
                if self.critical.contains(&step.id) { "&#9670;" } else { "" },
                xml(&format!("{}{}", outcome(step), step.cause.as_ref().map(|c| format!(": {c}")).unwrap_or_default()))
            )?;
        }
        writeln!(out, "</table></div>")
    }

    fn tests(&self, out: &mut String) -> std::fmt::Result {
        let pipelines = self.summary.pipelines.iter();
        let mut tests: Vec<_> = pipelines.flat_map(|of| of.tests.iter().map(|test| (&of.service, test))).collect();
        if tests.is_empty() {
            return Ok(());
        }
        tests.sort_by_key(|(_, test)| std::cmp::Reverse(test.took_us));
        let title = if tests.len() > SLOWEST {
            format!("The {SLOWEST} slowest of {} tests", tests.len())
        } else {
            "Tests".to_owned()
        };
        writeln!(
            out,
            "<h2>{title}</h2>\n<div class=\"scroll\"><table><tr><th>pipeline<th>test<th class=\"n\">took<th>verdict</tr>"
        )?;
        for (service, test) in tests.into_iter().take(SLOWEST) {
            let (service, name, took) = (xml(service), xml(&one_line(&test.name)), duration(test.took_us));
            writeln!(
                out,
                "<tr><td>{service}<td class=\"wide\">{name}<td class=\"n\">{took}<td>{}</tr>",
                verdict(test.verdict)
            )?;
        }
        writeln!(out, "</table></div>")
    }
}

fn verdict(verdict: Verdict) -> String {
    let class = match verdict {
        Verdict::Passed => "good",
        Verdict::Failed | Verdict::Error => "bad",
        Verdict::Interrupted | Verdict::Skipped => "warn",
    };
    format!("<span class=\"{class}\">{}</span>", word(verdict))
}

fn outcome(step: &Step) -> &'static str {
    match step.outcome {
        Some(StepOutcome::Ok) => "ok",
        Some(StepOutcome::Failed) => "failed",
        Some(StepOutcome::Cancelled) => "cancelled",
        None => "did not end",
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a position on the screen: an error of a microsecond in a day cannot be seen"
)]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole as f64
}

/// The distance of the marks: 1, 2 or 5 times a power of ten, so that there are at most ten.
fn tick(total: u64) -> u64 {
    let mut unit = 1000;
    loop {
        if let Some(tick) = [unit, 2 * unit, 5 * unit].into_iter().find(|tick| total / tick <= 10) {
            return tick;
        }
        unit *= 10;
    }
}

fn mark(at: u64, tick: u64) -> String {
    match (at, tick) {
        (0, _) => "0".to_owned(),
        (_, 0..1_000_000) if at < 1_000_000 => format!("{} ms", at / 1000),
        (_, 0..1_000_000) => format!("{}.{} s", at / 1_000_000, at / 100_000 % 10),
        _ => format!("{} s", at / 1_000_000),
    }
}
