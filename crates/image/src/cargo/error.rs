//! Why there is no program, in one sentence.

use std::fmt;
use std::path::PathBuf;

use supervise::{CmdError, CmdErrorKind};

/// A build that made no program.
#[derive(Debug)]
pub enum BuildError {
    /// Someone ended it.
    Cancelled,
    /// Cargo failed.
    Failed {
        /// One sentence: what failed, the first error, where, and what to do if that is known.
        cause: String,
        /// The last lines that cargo wrote, at most 40.
        tail: Vec<String>,
        /// The file with all that it wrote.
        log: PathBuf,
    },
    /// The source changed while it was built, each time.
    SourceKeepsChanging {
        /// What changed in the last attempt, relative to the workspace.
        inputs: Vec<String>,
        /// How often it was built.
        attempts: u32,
    },
    /// Something around the build failed; the error says what.
    Other(anyhow::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Cancelled => f.write_str("the build was cancelled"),
            BuildError::Failed { cause, .. } => f.write_str(cause),
            BuildError::SourceKeepsChanging { inputs, attempts } => {
                let shown: Vec<String> = inputs.iter().take(3).map(|name| format!("`{name}`")).collect();
                let more = if inputs.len() > 3 { format!(" and {} more", inputs.len() - 3) } else { String::new() };
                write!(
                    f,
                    "the source changed during each of {attempts} builds: {}{more}; \
                     stop what writes there, or let the build script write to OUT_DIR",
                    shown.join(", ")
                )
            }
            BuildError::Other(error) => write!(f, "{error:#}"),
        }
    }
}

// No `source`: the cause is part of the text.
impl std::error::Error for BuildError {}

impl From<anyhow::Error> for BuildError {
    fn from(error: anyhow::Error) -> BuildError {
        let cancelled = error.downcast_ref::<CmdError>().is_some_and(|e| matches!(e.kind, CmdErrorKind::Cancelled));
        if cancelled || error.is::<supervise::Cancelled>() { BuildError::Cancelled } else { BuildError::Other(error) }
    }
}

/// Finds the first error in what cargo writes for people. The end alone does not do: a long message follows its first line.
#[derive(Default)]
pub(super) struct Diagnosis {
    error: Option<String>,
    place: Option<String>,
    package: Option<String>,
    remedy: Option<String>,
}

impl Diagnosis {
    pub(super) fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(rest) = line.strip_prefix("error: could not compile `") {
            self.package = self.package.take().or_else(|| rest.split('`').next().map(str::to_owned));
        } else if self.error.is_none() && (line.starts_with("error: ") || line.starts_with("error[")) {
            self.error = Some(line.to_owned());
        } else if let (Some(_), None, None, Some(place)) =
            (&self.error, &self.place, &self.package, line.trim_start().strip_prefix("--> "))
        {
            // `path:line:column`: the column says nothing without the source line.
            let place = place.rsplit_once(':').map_or(place, |(place, _)| place);
            self.place = Some(place.to_owned());
        }
        self.remedy = self.remedy.take().or_else(|| remedy(line));
    }

    /// The sentence for what went wrong.
    pub(super) fn cause(&self, error: &CmdError) -> String {
        let Some(first) = &self.error else { return error.to_string() };
        let what = match &self.package {
            Some(package) => format!("`{package}` does not compile: {first}"),
            None => format!("cargo cannot build: {}", first.trim_start_matches("error: ")),
        };
        let place = self.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
        let remedy = self.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{what}{place}{remedy}")
    }
}

fn remedy(line: &str) -> Option<String> {
    const STATIC_LIBC: &str = "install the static C library: Debian and Ubuntu `libc6-dev`, Fedora `glibc-static`";
    let missing_library = |rest: &str| {
        let name = rest.split([':', ' ', ')']).next().unwrap_or(rest);
        match name {
            "c" | "m" | "pthread" | "dl" | "rt" | "util" => STATIC_LIBC.to_owned(),
            name => {
                format!("install the static form of the library `{name}` (lib{name}.a): images hold static programs")
            }
        }
    };
    if line.starts_with("error: linker `") && line.ends_with("not found") {
        return Some(
            "install a C compiler and C library: Debian and Ubuntu `gcc libc6-dev`, Fedora `gcc glibc-static`"
                .to_owned(),
        );
    }
    // GNU ld and gold; lld and mold.
    for phrase in ["cannot find -l", "unable to find library -l", "library not found: "] {
        if let Some((_, rest)) = line.split_once(phrase) {
            return Some(missing_library(rest));
        }
    }
    let target = line.split_once("the `")?.1.split_once("` target may not be installed")?.0;
    Some(format!("install the target: `rustup target add {target}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> String {
        let mut diagnosis = Diagnosis::default();
        text.lines().for_each(|line| diagnosis.line(line));
        let error = supervise::Cmd::new("no-such-program-at-all").run(&supervise::Cancel::new()).unwrap_err();
        diagnosis.cause(&error)
    }

    #[test]
    fn the_first_error_and_its_place_are_the_cause() {
        let text = "   Compiling datastorage v0.0.0 (/w/crates/services/datastorage)\n\
            warning: unused\n --> crates/other.rs:1:1\n\
            error[E0425]: cannot find value `x` in this scope\n  --> crates/services/datastorage/src/main.rs:12:5\n   |\n\
            error[E0308]: mismatched types\n --> crates/services/datastorage/src/api.rs:1:1\n\
            error: could not compile `datastorage` (bin \"datastorage\") due to 2 previous errors\n";
        assert_eq!(
            cause(text),
            "`datastorage` does not compile: error[E0425]: cannot find value `x` in this scope \
             (crates/services/datastorage/src/main.rs:12)"
        );
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_install() {
        let linker = cause(
            "error: linker `cc` not found\n  |\n  = note: No such file\n\nerror: could not compile `app` (bin \"app\")\n",
        );
        assert!(
            linker.contains("`app` does not compile: error: linker `cc` not found; install")
                && linker.contains("gcc libc6-dev"),
            "{linker}"
        );
        let libc = cause(
            "error: linking with `cc` failed: exit status: 1\n  = note: /usr/bin/ld: cannot find -lc: No such file or directory\n",
        );
        assert!(libc.contains("glibc-static"), "{libc}");
        let other = cause(
            "error: linking with `cc` failed: exit status: 1\n  = note: ld.lld: error: unable to find library -lpq\n",
        );
        assert!(other.contains("`pq`"), "{other}");
        let std = cause(
            "error[E0463]: can't find crate for `core`\n  |\n  = note: the `aarch64-unknown-linux-gnu` target may not be installed\n",
        );
        assert!(std.contains("rustup target add aarch64-unknown-linux-gnu"), "{std}");
    }

    #[test]
    fn without_a_message_the_command_is_the_cause() {
        assert!(cause("nothing\n").contains("no-such-program-at-all"), "{}", cause("nothing\n"));
        assert_eq!(
            cause("error: package ID specification `x` did not match any packages\n"),
            "cargo cannot build: package ID specification `x` did not match any packages"
        );
    }
}
