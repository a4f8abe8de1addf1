//! The lines that are drawn anew in place.

use std::time::Duration;

use event::Verdict;

use super::{Style, Terminal, style};
use crate::model::{Pipeline, Step};
use crate::query::word;
use crate::text::{clip, columns, count, duration, one_line, pad};

/// To the first column, and everything from there to the end of the screen is erased (ECMA-48: CR, ED 0).
pub(super) const CLEAR: &str = "\r\u{1b}[J";

/// More lines than this may not fit on a screen, where the way back up would end too low.
const MOST_LINES: usize = 16;

/// The live lines are not drawn anew sooner than this because of an event that has no line of its own.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

impl Terminal {
    /// Draws the live lines over those that are there, and goes back to the first of them.
    pub(super) fn draw(&mut self, now: Duration) -> String {
        self.drawn = Some(now);
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let pipelines = &self.summary.pipelines;
        if pipelines.is_empty() || self.summary.ended {
            return String::new();
        }
        // What still runs is shown first if there is no place for all.
        let mut shown: Vec<_> = pipelines.iter().collect();
        if shown.len() > MOST_LINES {
            shown.sort_by_key(|pipeline| pipeline.end_us.is_some());
        }
        let hidden = shown.len().saturating_sub(MOST_LINES);
        shown.truncate(MOST_LINES);
        let mut lines: Vec<_> = shown.into_iter().map(|pipeline| self.live_line(pipeline, now)).collect();
        if hidden > 0 {
            lines.push(clip(&format!("  and {hidden} more"), self.live_width()));
        }
        // Each line is erased behind its text (EL 0), not before: erased first, it would flicker. Then what is below (ED 0).
        let text: String = lines.iter().map(|line| format!("{line}\u{1b}[K\n")).collect();
        format!("\r{text}\u{1b}[J\u{1b}[{}A", lines.len())
    }

    fn live_line(&self, pipeline: &Pipeline, now: u64) -> String {
        let counts = pipeline.counts();
        let mut tests = Vec::new();
        if counts.passed > 0 {
            tests.push(format!("{} ok", count(counts.passed, "test")));
        }
        if counts.failed > 0 {
            tests.push(format!("{} FAILED", counts.failed));
        }
        if let Some(end) = pipeline.end_us {
            let mark = if pipeline.verdict == Verdict::Passed { "+" } else { "!" };
            let text = pipeline.why().map_or_else(|| tests.join(", "), one_line);
            let phase = (word(pipeline.verdict), style(pipeline.verdict));
            return self.fit(mark, &pipeline.service, phase, &text, end);
        }
        let open: Vec<_> = self.summary.steps_of(&pipeline.service).filter(|step| step.end_us.is_none()).collect();
        // Its own steps say more than those that serve all.
        let own: Vec<_> = open.iter().copied().filter(|step| step.service.is_some()).collect();
        let steps: &[&Step] = if own.is_empty() { &open } else { &own };
        let style = if counts.failed > 0 { Style::Bad } else { Style::Strong };
        let Some(step) = steps.first() else {
            // Between two steps.
            let last = self.summary.steps_of(&pipeline.service).last().map_or("", |step| step.phase.name());
            return self.fit(">", &pipeline.service, (last, style), &tests.join(", "), 0);
        };
        let more = if steps.len() > 1 { format!(" +{}", steps.len() - 1) } else { String::new() };
        tests.insert(0, format!("{}{more}", one_line(&step.name)));
        self.fit(
            ">",
            &pipeline.service,
            (step.phase.name(), style),
            &tests.join(", "),
            now.saturating_sub(step.start_us),
        )
    }

    /// Writing into the last column makes some terminals wrap.
    fn live_width(&self) -> usize {
        self.config.width.unwrap_or(80).saturating_sub(1)
    }

    /// One line that is never wider than the terminal: a wrapped line would be two, and the way back up too short.
    fn fit(&self, mark: &str, service: &str, (phase, style): (&str, Style), text: &str, took: u64) -> String {
        let width = self.live_width();
        let head = format!("{mark} {}  ", pad(service, self.service_width()));
        let (padded, time) = (pad(phase, 11), format!("{:>7}", duration(took)));
        let left = width.saturating_sub(columns(&head) + columns(&padded) + columns(&time) + 3);
        if left < 8 {
            return clip(&format!("{mark} {service} {phase} {text}"), width);
        }
        let text = pad(&clip(text, left.min(60)), left.min(60));
        format!("{head}{} {text}  {}", self.paint(style, &padded), self.paint(Style::Faint, &time))
    }
}
