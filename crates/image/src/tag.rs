//! Phase 0: the one name of an image, made before the image is built.
//!
//! An [`ImageTag`] is the only way to name an image in every later step. There is no way to make one from a string, to copy
//! one or to change one, so that a second name, or a name that somebody else has, cannot be written. Names never repeat:
//! a run's id is unique in the world (UUID v7), and within a process every call counts. No clock is asked: a suffix made from
//! the time repeats as soon as two calls are faster than its step.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::RunId;

/// Counts the tags of this process, whatever run they belong to.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Every image is named below this host: podman adds it to short names and docker does not, and a node looks a short name up
/// at docker.io. With a host part the name is the same everywhere.
const HOST: &str = "localhost/";
/// Longest tag that the OCI distribution specification allows ("Pulling manifests": `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
const LONGEST_TAG: usize = 128;
/// What [`ImageTag::new`] adds to the consumer at most: a hyphen, the run id and a 64-bit counter.
const SUFFIX: usize = 1 + 32 + 16;
/// Longest consumer: with the longest suffix it is still a tag.
const LONGEST_CONSUMER: usize = LONGEST_TAG - SUFFIX;
/// Longest name with its host that engines accept (`NameTotalLengthMax` of github.com/distribution/reference).
const LONGEST_NAME: usize = 255;

/// The name of one image that is going to be built: `localhost/<image>:<consumer>-<run id, 32 hex digits><call, at least 4>`.
///
/// Whoever holds it may build one image under it: [`build`](crate::build) takes it away.
#[derive(Debug)]
#[must_use = "a tag that is not built names nothing"]
pub struct ImageTag {
    reference: String,
    /// Where the image's name ends in `reference`.
    image_end: usize,
    /// Where the consumer ends in `reference`.
    consumer_end: usize,
    run: RunId,
}

impl ImageTag {
    /// Names an image for a consumer, which is the pipeline that it is built for.
    ///
    /// `run` must be the run of this process: the counter tells calls of one process apart, the run id tells processes apart.
    ///
    /// # Errors
    /// If the name would not be a valid reference; the error tells the rule and the remedy.
    pub fn new(run: &RunId, image: &str, consumer: &str) -> Result<ImageTag, NameError> {
        check_image(image)?;
        check_consumer(consumer)?;
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let mut reference = String::with_capacity(HOST.len() + image.len() + 1 + consumer.len() + SUFFIX);
        reference.push_str(HOST);
        reference.push_str(image);
        let image_end = reference.len();
        reference.push(':');
        reference.push_str(consumer);
        let consumer_end = reference.len();
        reference.push('-');
        reference.push_str(&run.simple());
        write!(reference, "{call:04x}").expect("a String takes everything");
        Ok(ImageTag { reference, image_end, consumer_end, run: *run })
    }

    /// The whole name, as engines and clusters take it.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The image, without host and tag.
    pub fn image(&self) -> &str {
        &self.reference[HOST.len()..self.image_end]
    }

    /// Whom it is built for.
    pub fn consumer(&self) -> &str {
        &self.reference[self.image_end + 1..self.consumer_end]
    }

    /// The run that it belongs to.
    pub fn run(&self) -> RunId {
        self.run
    }
}

/// A name that no image can have: what it is, the rule that it breaks, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    what: &'static str,
    name: String,
    rule: String,
    remedy: String,
}

impl NameError {
    /// The rule that the name breaks.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// What to write instead.
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` cannot be {}: {}; {}", self.name, self.what, self.rule, self.remedy)
    }
}

impl std::error::Error for NameError {}

/// Checks a repository name: components of the OCI distribution specification,
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, joined by `/`.
fn check_image(name: &str) -> Result<(), NameError> {
    let refuse = |rule: String, remedy: String| {
        Err(NameError { what: "the name of an image", name: name.to_owned(), rule, remedy })
    };
    if HOST.len() + name.len() > LONGEST_NAME {
        let most = LONGEST_NAME - HOST.len();
        return refuse(format!("it has {} bytes and at most {most} are allowed", name.len()), "shorten it".to_owned());
    }
    for component in name.split('/') {
        if let Some(rule) = broken_component(component) {
            let remedy = match suggestion(name) {
                Some(better) => format!("name it `{better}`"),
                None => {
                    "use lower-case letters and digits, with `.`, `_`, `__` or hyphens only between them".to_owned()
                }
            };
            return refuse(rule, remedy);
        }
    }
    Ok(())
}

/// The rule that a component of a repository name breaks.
pub(crate) fn broken_component(component: &str) -> Option<String> {
    let bytes = component.as_bytes();
    if bytes.is_empty() {
        return Some("it is empty, or a part between two `/` is".to_owned());
    }
    if let Some(bad) = component.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
        return Some(format!(
            "{bad:?} is not allowed: only lower-case letters, digits and the separators `.`, `_`, `__`, `-` are"
        ));
    }
    let (first, last) = (bytes[0], bytes[bytes.len() - 1]);
    if is_separator(first) || is_separator(last) {
        return Some("it must begin and end with a letter or a digit".to_owned());
    }
    let mut separators = bytes.split(|&byte| !is_separator(byte)).filter(|run| run.len() > 1);
    let bad = separators.find(|run| *run != b"__" && run.iter().any(|&byte| byte != b'-'))?;
    let bad = String::from_utf8_lossy(bad);
    Some(format!("`{bad}` is not a separator: it must be one of `.`, `_`, `__`, or hyphens"))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'.' | b'_' | b'-')
}

/// A valid name that reads much like this one.
fn suggestion(name: &str) -> Option<String> {
    let words: Vec<_> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    (!words.is_empty()).then(|| words.join("-"))
}

/// Checks what a tag begins with: `[a-zA-Z0-9_][a-zA-Z0-9._-]*`, short enough for its suffix.
fn check_consumer(name: &str) -> Result<(), NameError> {
    let refuse = |rule: String, remedy: &str| {
        Err(NameError { what: "the consumer in a tag", name: name.to_owned(), rule, remedy: remedy.to_owned() })
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if name.is_empty() {
        return refuse("it is empty".to_owned(), "give the name of the pipeline");
    }
    if name.len() > LONGEST_CONSUMER {
        let rule =
            format!("it has {} bytes; a tag has at most {LONGEST_TAG}, of which {SUFFIX} are the run's", name.len());
        return refuse(rule, "shorten it");
    }
    if let Some(bad) = name.chars().find(|&c| !allowed(c)) {
        let rule = format!("{bad:?} is not allowed in a tag");
        return refuse(rule, "use letters, digits, `_`, `.` and `-`");
    }
    if name.starts_with(['.', '-']) {
        return refuse("a tag must not begin with `.` or `-`".to_owned(), "begin with a letter, a digit or `_`");
    }
    Ok(())
}
