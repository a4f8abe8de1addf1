//! The identity of a run.

use std::fmt;
use std::str::FromStr;

use anyhow::Context;
use uuid::Uuid;

/// The id of a run: a UUID v7 (RFC 9562), so that ids sort by time and never repeat. It names everything that a run owns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Uuid);

impl RunId {
    /// A new id.
    #[expect(clippy::new_without_default, reason = "a new id is an act, not a default")]
    pub fn new() -> RunId {
        RunId(Uuid::now_v7())
    }

    /// 32 hexadecimal digits, for names in which a hyphen has a meaning.
    pub fn simple(&self) -> String {
        self.0.simple().to_string()
    }

    /// The last 12 hexadecimal digits: 48 random bits, for names that must be short.
    pub fn short(&self) -> String {
        self.simple().split_off(20)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<RunId> {
        Ok(RunId(Uuid::parse_str(text).with_context(|| format!("`{text}` is not the id of a run (a UUID)"))?))
    }
}
