//! Writes the record of a run, and hands each line to the readers that are there while it goes on.
//!
//! The only clock of a run: every time in a record or a report comes from here.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use image::{Digest, RunId};

use crate::event::{Event, Record};
use crate::step::panicked;

/// The time, given from outside so that what depends on it can be tested.
pub trait Clock: Send + Sync {
    /// Monotonic time since some fixed point.
    fn monotonic(&self) -> Duration;
    /// UTC, RFC 3339 with milliseconds.
    fn utc(&self) -> String;
}

/// The time of the machine.
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock that starts now.
    #[expect(clippy::new_without_default, reason = "reading the clock is an act, not a default")]
    pub fn new() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn utc(&self) -> String {
        Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

/// A reader that is called with each line as it is written.
pub type Reader = Box<dyn FnMut(&Record) + Send>;

/// Writes `events.jsonl`. A line is in the file before any reader sees it, so a run that is killed has told everything.
pub struct Recorder {
    clock: Box<dyn Clock>,
    start: Duration,
    run: String,
    next_id: AtomicU64,
    state: Mutex<State>,
}

struct State {
    seq: u64,
    prev: Digest,
    file: File,
    readers: Vec<Reader>,
    /// First error of writing; reported at the end, since an event must not fail the step that it tells of.
    error: Option<std::io::Error>,
}

impl Recorder {
    /// Starts the record in a new file.
    ///
    /// # Errors
    /// If the file exists or cannot be made.
    pub fn create(path: &Path, run: &RunId, clock: Box<dyn Clock>, readers: Vec<Reader>) -> anyhow::Result<Recorder> {
        let file = File::create_new(path).with_context(|| format!("make the record `{}`", path.display()))?;
        Ok(Recorder {
            start: clock.monotonic(),
            clock,
            run: run.to_string(),
            next_id: AtomicU64::new(0),
            state: Mutex::new(State { seq: 0, prev: Digest::of(""), file, readers, error: None }),
        })
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.start)
    }

    /// The wall clock, as in the record.
    pub fn utc(&self) -> String {
        self.clock.utc()
    }

    /// The id of the run.
    pub fn run_id(&self) -> &str {
        &self.run
    }

    /// A number that no other step or command of the run has.
    pub fn unique(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes one event.
    pub fn event(&self, event: Event) {
        let mut state = lock(&self.state);
        // The time is taken under the lock: lines are in the order of their times.
        let record = Record {
            v: 1,
            run: self.run.clone(),
            seq: state.seq,
            utc: self.clock.utc(),
            us: u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX),
            prev: state.prev,
            event,
        };
        let written = serde_json::to_vec(&record).map_err(std::io::Error::from).and_then(|mut line| {
            state.prev = Digest::of(&line);
            line.push(b'\n');
            // One write per line: readers that follow the file see whole lines.
            state.file.write_all(&line)
        });
        if let Err(error) = written {
            state.error.get_or_insert(error);
        }
        state.seq += 1;
        let state = &mut *state;
        state.readers.retain_mut(|reader| {
            let read = catch_unwind(AssertUnwindSafe(|| reader(&record))).map_err(panicked);
            // A fault in what shows the run must not stop it: others wait for what this thread makes.
            let fault = read.map_err(|error| std::io::Error::other(format!("a reader of the record: {error:#}"))).err();
            let goes_on = fault.is_none();
            state.error = state.error.take().or(fault);
            goes_on
        });
    }

    /// Ends the record: its file is on the disk, and the readers are dropped. Returns the digest of the last line.
    ///
    /// # Errors
    /// If any line could not be written.
    pub fn close(&self) -> anyhow::Result<Digest> {
        let mut state = lock(&self.state);
        state.readers.clear();
        if let Some(error) = state.error.take() {
            return Err(error).context("write the record of the run (`events.jsonl`)");
        }
        state.file.sync_data().context("write the record of the run (`events.jsonl`)")?;
        Ok(state.prev)
    }
}

/// A poisoned lock only says that another thread panicked; what it guards here stays usable, and teardown needs it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
