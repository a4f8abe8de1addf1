//! What a person sees of a run.
//!
//! Two modes. `Lines` is a plain line per transition, with a sign of life when nothing happens for long: for logs, pipes and
//! CI. `Live` adds one line per pipeline that is drawn anew in place. The cursor rests at the *first* of these lines, not below
//! the last: whatever else is printed then overwrites lines that are drawn anew anyway, and the next drawing begins below it.
//! With the cursor below, other output would be erased, and the old lines would stay above as ghosts.
//!
//! Everything is returned as text; the caller writes it to stderr. Text from the run is made plain first, so that nothing a
//! test prints can move the cursor.

mod finish;
mod lines;
mod live;

use std::path::PathBuf;
use std::time::Duration;

use event::Record;

use crate::model::Summary;

/// Nothing is silent for longer than this in `Lines` mode.
pub const HEARTBEAT: Duration = Duration::from_secs(30);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A line per transition.
    Lines,
    /// Live lines, for a terminal that understands ANSI control sequences.
    Live,
}

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures and the last line.
    Quiet,
    /// Steps, failures, and the table at the end.
    Normal,
    /// Also the commands, the tests, the addresses and the proof.
    Verbose,
}

/// Decided once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// How progress is shown.
    pub mode: Mode,
    /// How much is shown.
    pub verbosity: Verbosity,
    /// Whether colours are used (not with `NO_COLOR`, and only on a terminal). No meaning is lost without them.
    pub color: bool,
    /// Columns of the terminal; none where lines may be as long as they are.
    pub width: Option<usize>,
    /// The directory of the run, as it is shown in front of the paths in it.
    pub run_dir: PathBuf,
}

/// Renders a run for people.
#[derive(Clone, Debug)]
pub struct Terminal {
    config: Config,
    summary: Summary,
    /// When a line was last printed.
    spoke: Duration,
    /// When the live lines were last drawn.
    drawn: Option<Duration>,
}

impl Terminal {
    /// A terminal that has shown nothing yet.
    pub fn new(config: Config) -> Terminal {
        Terminal { config, summary: Summary::default(), spoke: Duration::ZERO, drawn: None }
    }

    /// What to print for this event.
    pub fn on(&mut self, record: &Record) -> String {
        self.summary.on(record);
        let mut lines = String::new();
        for line in self.lines(record) {
            lines.push_str(&line);
            lines.push('\n');
        }
        let now = Duration::from_micros(record.us);
        if !lines.is_empty() {
            self.spoke = now;
        }
        if !self.is_live() {
            return lines;
        }
        if lines.is_empty() {
            // Hundreds of events may come at once, and nobody sees the lines between them; the next tick shows the last.
            let soon = self.drawn.is_some_and(|drawn| now.saturating_sub(drawn) < live::PAUSE);
            return if soon { String::new() } else { self.draw(now) };
        }
        format!("{}{lines}{}", live::CLEAR, self.draw(now))
    }

    /// What to print because time has passed; `now` is the time since the run began. To be called several times a second in
    /// `Live` mode, and at least once a second in `Lines` mode.
    pub fn tick(&mut self, now: Duration) -> String {
        if self.is_live() {
            return self.draw(now);
        }
        if self.config.verbosity == Verbosity::Quiet || now.saturating_sub(self.spoke) < HEARTBEAT {
            return String::new();
        }
        self.spoke = now;
        self.heartbeat(now).map(|line| line + "\n").unwrap_or_default()
    }

    /// What to print at the end of the run.
    pub fn finish(&self, summary: &Summary) -> String {
        let clear = if self.is_live() { live::CLEAR } else { "" };
        format!("{clear}{}", self.report(summary))
    }

    fn is_live(&self) -> bool {
        self.config.mode == Mode::Live && self.config.verbosity != Verbosity::Quiet
    }

    fn paint(&self, style: Style, text: &str) -> String {
        match (self.config.color, style) {
            (false, _) => text.to_owned(),
            (true, style) => format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()),
        }
    }

    /// Width of the column of services.
    fn service_width(&self) -> usize {
        let services = self.summary.pipelines.iter().map(|pipeline| crate::text::columns(&pipeline.service));
        services.chain([lines::ALL.len()]).max().unwrap_or(0)
    }
}

/// A colour, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Good,
    Bad,
    Warning,
    Faint,
    Strong,
}

impl Style {
    /// The parameter of ECMA-48's SGR sequence.
    fn code(self) -> &'static str {
        match self {
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Warning => "33",
            Style::Faint => "2",
            Style::Strong => "1",
        }
    }
}

fn style(verdict: event::Verdict) -> Style {
    use event::Verdict::{Error, Failed, Interrupted, Passed, Skipped};
    match verdict {
        Passed => Style::Good,
        Failed | Error => Style::Bad,
        Interrupted | Skipped => Style::Warning,
    }
}

#[cfg(test)]
mod tests;
