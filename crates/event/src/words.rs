//! The words of the record: phases, verdicts, links of the chain.

use image::Digest;
use serde::{Deserialize, Serialize};

/// The phases of the pattern, in their order. They order the steps of one image; they are not barriers between images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// 0: one tag per image is made, before anything is built.
    Tag,
    /// 1: the images are built under their tags.
    Build,
    /// 2: the place where they will run is prepared.
    Cluster,
    /// 3: the tagged images are loaded into that place.
    Load,
    /// 4: they are deployed, waited for, and proved to be what runs.
    Deploy,
    /// 5: the suite of the service runs.
    Test,
    /// 6: evidence is collected and all that the run made is removed.
    Teardown,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Phase; 7] =
        [Phase::Tag, Phase::Build, Phase::Cluster, Phase::Load, Phase::Deploy, Phase::Test, Phase::Teardown];

    /// The number of the phase, 0 to 6.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The word for it, as in `report.json`.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Tag => "tag",
            Phase::Build => "build",
            Phase::Cluster => "cluster",
            Phase::Load => "load",
            Phase::Deploy => "deploy",
            Phase::Test => "test",
            Phase::Teardown => "teardown",
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// It did what it should.
    Ok,
    /// It failed; the event says why.
    Failed,
    /// The run was cancelled while the step was under way.
    Cancelled,
}

/// How a test, a pipeline or a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything passed.
    Passed,
    /// The tests ran, and at least one failed.
    Failed,
    /// The tests could not run, or not to their end: build, cluster, load, deploy or proof failed.
    Error,
    /// The run was interrupted.
    Interrupted,
    /// A test that was not run (marked as ignored).
    Skipped,
}

/// A link of the chain from the source to the running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The source as it is now has the fingerprint that the image was built from.
    SourceToImage,
    /// The fingerprint in the executable is that of the image's label.
    ImageToExecutable,
    /// The place holds the image that was built, complete.
    ImageToPlace,
    /// What was started was started from that image.
    PlaceToContainer,
    /// The file that the kernel runs is the file that was built.
    ContainerToProcess,
    /// What answers on the endpoint says that it is that program.
    ProcessToEndpoint,
}

impl Link {
    /// All links, in the order of the chain.
    pub const ALL: [Link; 6] = [
        Link::SourceToImage,
        Link::ImageToExecutable,
        Link::ImageToPlace,
        Link::PlaceToContainer,
        Link::ContainerToProcess,
        Link::ProcessToEndpoint,
    ];

    /// The link in words, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Link::SourceToImage => "source → image",
            Link::ImageToExecutable => "image → executable",
            Link::ImageToPlace => "image → place",
            Link::PlaceToContainer => "place → container",
            Link::ContainerToProcess => "container → process",
            Link::ProcessToEndpoint => "process → endpoint",
        }
    }
}

/// What a check of a link found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkVerdict {
    /// Both sides are the same.
    Holds,
    /// They differ: the run stops.
    Broken,
    /// This platform cannot look. Never counted as held.
    Unchecked,
}

/// When a link was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before the first test.
    BeforeTests,
    /// After the last one: nothing was swapped under them.
    AfterTests,
}

/// A layer or another blob of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// sha256 of its bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
}
