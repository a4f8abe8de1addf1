//! Staleness that is seen while an image is packed, loaded or unpacked: what is there is not what was built.
//!
//! One error for all of it, so that whoever runs images can tell it from a full disk or a missing permission, which mean
//! nothing for the chain. It says at which handover the chain is broken and with which values; what that is called, and what
//! follows from it, is for whoever runs the image to say.

use std::fmt;

/// What to try where something was changed that nobody but this tool writes.
pub(crate) const LOOK: &str = "look for another program that writes there, and run again";

/// From where to where the chain goes from a source to the files that are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// From the source to the image that an engine gives out.
    Building,
    /// From the builder's program to the image.
    Packing,
    /// From the image as it was built to the place that holds it.
    Loading,
    /// From what the place holds to the files that are started.
    Unpacking,
}

/// What is there is not what was built.
#[derive(Debug)]
pub struct NotAsBuilt {
    /// Where the chain is broken.
    pub handover: Handover,
    /// What is wrong, as a sentence.
    pub cause: String,
    /// What should be there: a digest, if it has one.
    pub expected: String,
    /// What is there, or why it cannot be read.
    pub found: Result<String, String>,
    /// What to try.
    pub remedy: &'static str,
}

impl NotAsBuilt {
    /// Another image has got the reference in an engine since it was built.
    pub(crate) fn given_out(reference: &str, expected: &str, found: impl ToString) -> NotAsBuilt {
        NotAsBuilt {
            handover: Handover::Building,
            cause: format!("the engine gave out another image as `{reference}` than it had built"),
            expected: expected.to_owned(),
            found: Ok(found.to_string()),
            remedy: LOOK,
        }
    }
}

impl fmt::Display for NotAsBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotAsBuilt { cause, expected, found, remedy, .. } = self;
        write!(f, "{cause} (expected {expected}")?;
        if let Ok(found) = found {
            write!(f, ", found {found}")?;
        }
        write!(f, "); {remedy}")
    }
}

impl std::error::Error for NotAsBuilt {}
