//! The record of a run: what happened, in order, as data.
//!
//! Everything that a run does becomes an [`Event`]; the terminal, `report.json`, `junit.xml`, the timeline and the audit are
//! readers of the same lines and know nothing else. Changes to these types are additive: a reader of version 1 must keep
//! working.

mod words;

use image::Digest;
use serde::{Deserialize, Serialize};

pub use words::{Blob, Link, LinkVerdict, Moment, Phase, StepOutcome, Verdict};

/// One line of `events.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Version of the format: 1.
    pub v: u32,
    /// Id of the run (UUID v7).
    pub run: String,
    /// Number of the line in its file, from 0, without a gap.
    pub seq: u64,
    /// Wall clock, UTC, RFC 3339 with milliseconds.
    pub utc: String,
    /// Monotonic time since the start of the run, in microseconds.
    pub us: u64,
    /// sha256 of the line before this one (its bytes without the line feed); of nothing for the first line.
    pub prev: Digest,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. `service` is the pipeline's name, `workload` and `image` the workload's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// First line of a record.
    RunStarted {
        /// `local`, `kind`, …
        platform: String,
        /// The pipelines of the run.
        services: Vec<String>,
        /// The command line, shell-quoted.
        command: String,
        /// Commit of the checkout, if it is one.
        revision: Option<String>,
        /// Whether the checkout differs from that commit.
        dirty: bool,
        /// Process id of the tool.
        pid: u32,
        /// Workload names per service, in the order of `services`.
        workloads: Vec<Vec<String>>,
    },
    /// Phase 0: a tag was made.
    TagMade {
        /// Pipeline that it was made for.
        service: String,
        /// Image that it names.
        image: String,
        /// The whole reference.
        reference: String,
    },
    /// A step began. Steps of `service: null` belong to the run (the one build that serves all pipelines).
    StepStarted {
        /// Unique number of the step in the run.
        step: u64,
        /// Pipeline, or none.
        service: Option<String>,
        /// Phase that it belongs to.
        phase: Phase,
        /// Its name, for people: `load datastorage`.
        name: String,
    },
    /// A step ended.
    StepEnded {
        /// The number that it started under.
        step: u64,
        /// How.
        outcome: StepOutcome,
        /// Why, in one sentence, unless it is ok.
        cause: Option<String>,
        /// How long it waited for a value or a permit before it could work, in microseconds.
        waited_us: u64,
    },
    /// A child process was started.
    CommandStarted {
        /// Unique number of the command in the run.
        command: u64,
        /// The step that it belongs to.
        step: Option<u64>,
        /// Exactly what was run, shell-quoted, as a person could paste it.
        line: String,
        /// Its process group.
        pid: u32,
    },
    /// A child process ended.
    CommandEnded {
        /// The number that it started under.
        command: u64,
        /// `exit status: 0`, `signal: 9 (SIGKILL)`, `deadline of 30s passed` …
        status: String,
        /// Whether it ended with exit status 0.
        ok: bool,
        /// Whether processes that it left behind had to be ended.
        leaked: bool,
    },
    /// The inputs of an image were hashed.
    Fingerprinted {
        /// Image whose source it is.
        image: String,
        /// The fingerprint.
        fingerprint: Digest,
        /// Number of files.
        files: u64,
        /// Files whose change the builder would have missed, and that were made visible to it.
        made_visible: Vec<String>,
        /// How long that took, in microseconds.
        took_us: u64,
    },
    /// An image was built under its tag.
    Built {
        /// Pipeline.
        service: String,
        /// Image.
        image: String,
        /// The reference that was made in phase 0.
        reference: String,
        /// Digest of the manifest: this packaging.
        manifest_digest: Digest,
        /// Digest of the configuration: the identity of the image.
        config_digest: Digest,
        /// sha256 of the executable as packed; none where the builder cannot tell.
        executable_digest: Option<Digest>,
        /// Fingerprint of the source that it was built from.
        source_fingerprint: Digest,
        /// The layers, lowest first.
        layers: Vec<Blob>,
    },
    /// An image was loaded and read back.
    Loaded {
        /// Pipeline.
        service: String,
        /// Image.
        image: String,
        /// The reference under which the place holds it.
        reference: String,
        /// Where: a directory, a node.
        holder: String,
        /// What the place said it holds: manifest.
        manifest_digest: Option<Digest>,
        /// What the place said it holds: configuration.
        config_digest: Digest,
        /// Bytes sent.
        bytes_sent: u64,
        /// Blobs sent.
        blobs_sent: u64,
        /// Blobs that the place had already.
        blobs_skipped: u64,
    },
    /// A workload was started from its loaded image.
    Deployed {
        /// Pipeline.
        service: String,
        /// Workload.
        workload: String,
        /// The reference that it was deployed by.
        reference: String,
        /// What names it where it runs: a process id, a pod.
        instance: String,
    },
    /// An address at which a workload can be reached.
    Endpoint {
        /// Pipeline.
        service: String,
        /// Workload.
        workload: String,
        /// Name of the port.
        port: String,
        /// `http://127.0.0.1:40123`.
        url: String,
    },
    /// A workload is ready.
    Ready {
        /// Pipeline.
        service: String,
        /// Workload.
        workload: String,
        /// How long it was waited for, in microseconds.
        waited_us: u64,
    },
    /// A link of the chain was checked.
    Proof {
        /// Pipeline.
        service: String,
        /// Workload.
        workload: String,
        /// Which link.
        link: Link,
        /// When.
        moment: Moment,
        /// What was found.
        verdict: LinkVerdict,
        /// What should be there.
        expected: String,
        /// What is there; for an unchecked link the reason.
        found: String,
    },
    /// A test ended.
    Test {
        /// Pipeline.
        service: String,
        /// Name of the test in its suite.
        name: String,
        /// How it ended.
        verdict: Verdict,
        /// How long it took, in microseconds.
        took_us: u64,
        /// What it printed, if it did not pass (its last part).
        output: Option<String>,
    },
    /// Something transient was tried again.
    Retry {
        /// Pipeline.
        service: Option<String>,
        /// What.
        what: String,
        /// The named fault that allows it.
        fault: String,
        /// Which try comes now, from 2.
        attempt: u32,
    },
    /// Why a pipeline stopped.
    Diagnosis {
        /// Pipeline; none if it concerns the whole run.
        service: Option<String>,
        /// The cause in one sentence.
        cause: String,
        /// The last lines of the log concerned, or other evidence.
        evidence: Vec<String>,
        /// What to try.
        hint: Option<String>,
        /// The file with the whole log, relative to the run directory.
        log: Option<String>,
    },
    /// A remark for people.
    Note {
        /// Pipeline.
        service: Option<String>,
        /// The remark.
        text: String,
    },
    /// Something that the run had made was removed.
    Removed {
        /// Pipeline; none if it belonged to the whole run.
        service: Option<String>,
        /// What, as the ledger names it.
        what: String,
        /// Why it could not be removed, if so.
        error: Option<String>,
    },
    /// A pipeline ended.
    PipelineEnded {
        /// Pipeline.
        service: String,
        /// How.
        verdict: Verdict,
        /// Why, in one sentence, unless it passed.
        cause: Option<String>,
    },
    /// Last line of a record.
    RunEnded {
        /// How.
        verdict: Verdict,
        /// The exit code of the tool.
        exit_code: u8,
        /// Whether everything that the ledger lists is gone (false for `--keep`).
        clean: bool,
        /// The most memory that the tool itself had in use, in bytes, where the system tells.
        peak_memory: Option<u64>,
    },
    /// An event of a later version of the tool.
    #[serde(other)]
    Unknown,
}
