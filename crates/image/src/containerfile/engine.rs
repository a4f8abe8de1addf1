//! The engine that builds, podman or docker: what it is asked, and what it means when it fails.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use supervise::{Cancel, Cmd, CmdError, CmdErrorKind};

use super::leftovers;
use crate::BuildError;

/// How long a question may take: podman waits for other users of its store.
const ASK_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// How many lines of a log are shown.
const TAIL: usize = 40;

/// A program that builds images from Containerfiles and runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// podman.
    Podman,
    /// docker, with BuildKit.
    Docker,
}

impl Engine {
    /// The name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Podman => "podman",
            Engine::Docker => "docker",
        }
    }

    /// The engine of this name.
    ///
    /// # Errors
    /// If it is none of those that are known; the error names them.
    pub fn named(name: &str) -> anyhow::Result<Engine> {
        let known = [Engine::Podman, Engine::Docker];
        let found = known.into_iter().find(|engine| engine.name() == name);
        found.with_context(|| format!("`{name}` is no engine that this tool drives: use `podman` or `docker`"))
    }

    /// Removes what a build left in the engine: the image of this reference and no other, and, of a build that was killed, its
    /// processes and containers. `log` is the build's log. It is no error if nothing is there.
    ///
    /// # Errors
    /// If something is still there afterwards.
    pub fn remove(self, command: &Cmd, reference: &str, log: &Path) -> anyhow::Result<()> {
        let cancel = Cancel::new();
        if self == Engine::Podman {
            leftovers::remove(command, reference, log)?;
        }
        // Without `--no-prune` the engine's cache of the steps would go too, and each build start anew.
        let removed = command.clone().args(["image", "rm", "--no-prune", reference]).deadline(ASK_LIMIT).run(&cancel);
        match removed {
            Err(error) if self.id(command, reference, &cancel)?.is_some() => {
                Err(error).with_context(|| format!("remove `{reference}` from {}", self.name()))
            }
            _ => Ok(()),
        }
    }

    /// The id of an image that the engine must have for `who`, since nothing is pulled during a run.
    ///
    /// # Errors
    /// If it does not have it, with the command that gets it, or cannot be asked.
    pub fn require(self, command: &Cmd, reference: &str, who: &str, cancel: &Cancel) -> anyhow::Result<String> {
        let engine = self.name();
        self.id(command, reference, cancel)?.with_context(|| {
            format!("{who} builds on `{reference}`, which {engine} does not have, and nothing is pulled during a run: `{engine} pull {reference}`")
        })
    }

    /// The id of an image that the engine has.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub(super) fn id(self, command: &Cmd, reference: &str, cancel: &Cancel) -> anyhow::Result<Option<String>> {
        self.inspect(command, reference, "{{.Id}}", cancel)
    }

    pub(super) fn inspect(
        self,
        command: &Cmd,
        reference: &str,
        what: &str,
        cancel: &Cancel,
    ) -> anyhow::Result<Option<String>> {
        let ask = command.clone().args(["image", "inspect", "--format", what, reference]);
        match ask.capture_stdout().deadline(ASK_LIMIT).run(cancel) {
            Ok(output) => Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())),
            // podman: `image not known`; docker: `No such image`.
            Err(error) if error.tail.iter().any(|line| line.contains("not known") || line.contains("No such")) => {
                Ok(None)
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Name and version, for the record.
    pub(super) fn version(self, command: &Cmd, cancel: &Cancel) -> anyhow::Result<String> {
        // podman's own version, docker's that of the part which builds.
        let ask = match self {
            Engine::Podman => ["version", "--format", "{{.Client.Version}}"],
            Engine::Docker => ["version", "--format", "{{.Server.Version}}"],
        };
        let output = command.clone().args(ask).capture_stdout().deadline(ASK_LIMIT).run(cancel);
        let output = output.map_err(|error| self.explain(error))?;
        Ok(format!("{} {}", self.name(), String::from_utf8_lossy(&output.stdout).trim()))
    }

    /// What is wrong with the engine, and what mends it.
    fn explain(self, error: CmdError) -> anyhow::Error {
        let name = self.name();
        let said = error.tail.last().cloned();
        let missing = matches!(error.kind, CmdErrorKind::NotFound);
        let error = anyhow::Error::new(error);
        match said {
            _ if missing => error.context(format!(
                "images of Containerfiles are built by `{name}`, which is not installed: install it, or choose the other engine"
            )),
            Some(said) => error.context(format!("`{name}` does not answer as it should: {said}")),
            None => error,
        }
    }

    /// Runs a build. All that it writes goes to `log`; what the engine says for its developers is taken out at the end.
    pub(super) fn build(
        self,
        command: Cmd,
        reference: &str,
        log: &Path,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<(), BuildError> {
        let start = Instant::now();
        let mut process = command.env(leftovers::MARK, reference).log_directly(log).spawn(cancel).map_err(|error| {
            match error.kind {
                CmdErrorKind::Cancelled => BuildError::Cancelled,
                _ => BuildError::Other(self.explain(error)),
            }
        })?;
        let (status, late) = loop {
            if let Some(status) = process.wait_timeout(LOOK) {
                break (Some(status), false);
            }
            let late = start.elapsed() > limit;
            if cancel.is_cancelled() || late {
                leftovers::end_steps(log, || process.try_wait().is_some() || cancel.is_kill());
                break (process.try_wait(), late);
            }
        };
        drop(process.stop());
        if status.and_then(|status| status.code()).is_none() {
            // Its containers are still there, and only this log tells them.
            return Err(if late { self.too_late(limit, log) } else { BuildError::Cancelled });
        }
        let lines = tidy(log)?;
        match status {
            _ if cancel.is_cancelled() => Err(BuildError::Cancelled),
            _ if late => Err(self.too_late(limit, log)),
            Some(status) if status.success() => Ok(()),
            _ => Err(BuildError::Failed {
                cause: cause(self, &lines),
                tail: lines[lines.len().saturating_sub(TAIL)..].to_vec(),
                log: log.to_owned(),
            }),
        }
    }

    fn too_late(self, limit: Duration, log: &Path) -> BuildError {
        let cause = format!("`{} build` was ended: it ran longer than {} s", self.name(), limit.as_secs());
        BuildError::Failed { cause, tail: supervise::tail_of(log), log: log.to_owned() }
    }
}

/// Takes out of a log what is there only for us, and gives the lines that stay.
fn tidy(log: &Path) -> anyhow::Result<Vec<String>> {
    let what = || format!("read the log `{}`", log.display());
    let text = String::from_utf8_lossy(&fs::read(log).with_context(what)?).into_owned();
    let for_developers = |line: &&str| line.starts_with("time=\"") && line.contains("\" level=debug ");
    let lines: Vec<String> = text.lines().filter(|line| !for_developers(line)).map(str::to_owned).collect();
    // The same file, so that its mode stays.
    fs::write(log, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).with_context(what)?;
    Ok(lines)
}

/// Why a build failed, in one sentence.
fn cause(engine: Engine, lines: &[String]) -> String {
    let error = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("Error: ").or_else(|| line.strip_prefix("ERROR: ")).map(str::trim));
    let Some(error) = error else {
        let last = lines.iter().rev().find(|line| !line.trim().is_empty());
        return last.map_or_else(|| format!("`{} build` failed and said nothing", engine.name()), Clone::clone);
    };
    // podman: `STEP 3/4: RUN x` (in a build of several stages `[2/2] STEP …`), and at the end
    // `building at STEP "RUN x": while running runtime: exit status 7`.
    let steps =
        lines.iter().rev().filter_map(|line| line.strip_prefix("STEP ").or(line.split_once("] STEP ").map(|s| s.1)));
    if let Some((number, step)) = steps.filter_map(|step| step.split_once(": ")).next()
        && let Some(why) = error.strip_prefix(&format!("building at STEP \"{step}\": "))
    {
        // How many there are counts those that were added here.
        let number = number.split('/').next().unwrap_or_default();
        let why = why.strip_prefix("while running runtime: ").unwrap_or(why);
        return format!("`{step}` (step {number}) fails: {why}");
    }
    // BuildKit: `failed to solve: process "/bin/sh -c x" did not complete successfully: exit code: 7`, and above ` > [2/3] RUN x:`.
    let why = error.strip_prefix("failed to solve: ").unwrap_or(error);
    let step = lines.iter().find_map(|line| line.strip_prefix(" > [")?.trim_end_matches(':').split_once("] "));
    match (step, why.rsplit_once("did not complete successfully: ")) {
        (Some((number, step)), Some((_, why))) => {
            let number = number.split('/').next().unwrap_or_default();
            format!("`{step}` (step {number}) fails: {why}")
        }
        _ => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_that_fails_is_the_cause_with_either_engine() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        // Recorded from podman 4.3.1.
        let podman = lines(
            "STEP 2/4: RUN echo before\nbefore\n--> 7fedcf95a55\nSTEP 3/4: RUN echo; exit 7\nthe reason\n\
             Error: building at STEP \"RUN echo; exit 7\": while running runtime: exit status 7",
        );
        assert_eq!(cause(Engine::Podman, &podman), "`RUN echo; exit 7` (step 3) fails: exit status 7");
        let copy = lines(
            "[2/2] STEP 2/9: COPY nope /x\nError: building at STEP \"COPY nope /x\": checking on sources under \"/c\": copier: \
             stat: \"/nope\": no such file or directory",
        );
        let copy = cause(Engine::Podman, &copy);
        assert!(copy.starts_with("`COPY nope /x` (step 2) fails: checking") && copy.ends_with("directory"), "{copy}");
        // The form of BuildKit's plain progress.
        let docker = lines(
            "------\n > [2/3] RUN echo; exit 7:\n0.1 the reason\n------\n\
             ERROR: failed to solve: process \"/bin/sh -c echo; exit 7\" did not complete successfully: exit code: 7",
        );
        assert_eq!(cause(Engine::Docker, &docker), "`RUN echo; exit 7` (step 2) fails: exit code: 7");
        assert_eq!(cause(Engine::Docker, &[]), "`docker build` failed and said nothing");
    }
}
