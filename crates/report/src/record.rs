//! Reads a run's record, `events.jsonl`, and refuses one that is not what the run wrote.
//!
//! Each line carries the digest of the line before it, so a change anywhere shows at the next line, and a change of the last
//! line shows against `events_head` in `report.json`. This tells damage, edits and mix-ups from the truth; it is no signature:
//! who rewrites both files from the first line on is not found out.

use std::error::Error;
use std::fmt;

use event::{Event, Record};
use image::Digest;
use serde::Deserialize;

/// The version of the record's format that is read here.
const VERSION: u32 = 1;

/// A record whose every line is the one that the run wrote.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The events.
    pub records: Vec<Record>,
    /// Digest of the last line.
    pub head: Digest,
}

/// What the record must agree with.
#[derive(Clone, Debug, Default)]
pub struct Expected<'a> {
    /// The id of the run, from the name of its directory.
    pub run: Option<&'a str>,
    /// `events_head` of `report.json`.
    pub head: Option<Digest>,
}

/// Why a record is refused. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file is empty.
    Empty,
    /// The record stops before its end.
    CutShort {
        /// The last whole line.
        line: usize,
        /// What is missing.
        why: &'static str,
    },
    /// A line is not the one that the run wrote.
    Edited {
        /// The line.
        line: usize,
        /// How that is known.
        why: String,
    },
    /// Lines are missing or were added.
    Gap {
        /// The first line that is out of place.
        line: usize,
        /// The number that it should have.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// The record, or a line of it, was written by another run.
    OtherRun {
        /// The line.
        line: usize,
        /// The run that it should be of.
        expected: String,
        /// The run that it is of.
        found: String,
    },
    /// The format is newer than this reader.
    Version {
        /// The line.
        line: usize,
        /// The version that it says.
        found: u32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Empty => write!(f, "the record is empty: the run wrote nothing, or the file was emptied"),
            Refusal::CutShort { line, why } => write!(
                f,
                "the record is cut short after line {line}: {why}; the run was killed, is still going on, or lines were removed"
            ),
            Refusal::Edited { line, why } => write!(f, "the record was edited at line {line}: {why}"),
            Refusal::Gap { line, expected, found } => write!(
                f,
                "lines of the record are missing or were added: line {line} should be event {expected} and is event {found}"
            ),
            Refusal::OtherRun { line, expected, found } => {
                write!(f, "line {line} of the record belongs to another run: it is of {found}, not of {expected}")
            }
            Refusal::Version { line, found } => write!(
                f,
                "line {line} of the record has version {found} of the format, and this tool reads version {VERSION}: use the \
                 tool that made the run"
            ),
        }
    }
}

impl Error for Refusal {}

/// Reads a record and verifies it.
///
/// # Errors
/// The first reason for which it is not the record of a whole run.
pub fn read(bytes: &[u8], expected: &Expected<'_>) -> Result<Verified, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::Empty);
    }
    let mut records: Vec<Record> = Vec::new();
    let mut head = Digest::of("");
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = records.len() + 1;
        let (text, after) = (&rest[..end], &rest[end + 1..]);
        let run = expected.run.or_else(|| records.first().map(|first| first.run.as_str()));
        let record = parse(text, line)?;
        check(&record, line, run, head)?;
        if matches!(record.event, Event::RunStarted { .. }) != (line == 1) {
            return Err(edited(line, "`run_started` is the first event of a record and no other"));
        }
        if matches!(record.event, Event::RunEnded { .. }) && !after.is_empty() {
            return Err(edited(line + 1, "there are lines after the end of the run"));
        }
        head = Digest::of(text);
        records.push(record);
        rest = after;
    }
    let line = records.len();
    if !rest.is_empty() {
        return Err(Refusal::CutShort { line, why: "the line after it has no end" });
    }
    if !matches!(records.last().map(|record| &record.event), Some(Event::RunEnded { .. })) {
        return Err(Refusal::CutShort { line, why: "the end of the run is missing" });
    }
    match expected.head {
        Some(expected) if expected != head => {
            Err(edited(line, format!("its digest is {head}, and `events_head` in `report.json` is {expected}")))
        }
        _ => Ok(Verified { records, head }),
    }
}

fn edited(line: usize, why: impl Into<String>) -> Refusal {
    Refusal::Edited { line, why: why.into() }
}

fn parse(text: &[u8], line: usize) -> Result<Record, Refusal> {
    /// Only this is known of every version.
    #[derive(Deserialize)]
    struct Any {
        v: u32,
    }
    let bad = |error: serde_json::Error| edited(line, format!("it is not an event ({error})"));
    let found = serde_json::from_slice::<Any>(text).map_err(bad)?.v;
    if found != VERSION {
        return Err(Refusal::Version { line, found });
    }
    serde_json::from_slice(text).map_err(bad)
}

/// Whether a line follows the one before it, whose digest is `prev`.
fn check(record: &Record, line: usize, run: Option<&str>, prev: Digest) -> Result<(), Refusal> {
    if let Some(run) = run.filter(|run| *run != record.run) {
        return Err(Refusal::OtherRun { line, expected: run.to_owned(), found: record.run.clone() });
    }
    let seq = line as u64 - 1;
    if record.seq != seq {
        return Err(Refusal::Gap { line, expected: seq, found: record.seq });
    }
    match (record.prev == prev, line) {
        (true, _) => Ok(()),
        (false, 1) => Err(edited(1, "it should follow nothing, and names a line before it")),
        (false, _) => {
            Err(edited(line - 1, format!("its digest is {prev}, and the next line was written after {}", record.prev)))
        }
    }
}

/// The references of all tags that a record tells of, whatever else it is: for the comparison with other runs, for which the
/// record of a killed run counts too.
pub fn references(bytes: &[u8]) -> Vec<String> {
    // Parsing is what takes time, and few lines are about tags.
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
    lines
        .filter(|line| line.contains("tag_made"))
        .filter_map(|line| match serde_json::from_str::<Record>(line).ok()?.event {
            Event::TagMade { reference, .. } => Some(reference),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
