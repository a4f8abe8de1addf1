//! How a build of podman is ended without a trace.
//!
//! podman builds in a container of its own for each step. When podman is killed it leaves this container, the process in it
//! (which is no child of the group), the runtime's state and a directory in `/var/tmp`, as measured with 4.3.1. So it is not
//! killed if that can be helped: the process in the container is, whereupon podman reports a failed step and cleans up by itself.
//! Its log tells the container's id, which is the process's host name, and the rest; it goes straight into a file, and is there
//! even if this process dies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use supervise::{Cancel, Cmd};

/// The environment variable by which the processes of a build are found; its value is the image's reference.
pub(super) const MARK: &str = "E2E_IMAGE_BUILD";
/// How long podman may take to end a build by itself.
const END_LIMIT: Duration = Duration::from_secs(8);
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// Ends what runs in the containers of a build, until the build is over. A step that goes on without its process (`a || b`)
/// starts another one.
pub(super) fn end_steps(log: &Path, mut over: impl FnMut() -> bool) {
    let start = Instant::now();
    let pause = Cancel::new();
    loop {
        for container in Told::by(log).containers {
            // The first process of a container heeds TERM only if it asked for it.
            drop(supervise::end_marked("HOSTNAME", &container[..12], Duration::from_millis(100), &pause));
        }
        if over() || start.elapsed() > END_LIMIT {
            return;
        }
        pause.wait(LOOK);
    }
}

/// Removes what a build that was killed left. The log of one that was not tells nothing.
///
/// # Errors
/// If something is still there.
pub(super) fn remove(command: &Cmd, reference: &str, log: &Path) -> anyhow::Result<()> {
    let cancel = Cancel::new();
    end_steps(log, || supervise::find_marked(MARK, reference).is_empty());
    let left = supervise::end_marked(MARK, reference, Duration::from_secs(1), &cancel);
    ensure!(left.is_empty(), "the processes {left:?} do not end, although they were killed");
    let told = Told::by(log);
    for Bundle { runtime, directory, id } in told.bundles {
        // Its state is gone if podman got that far.
        drop(Cmd::new(runtime).args(["delete", "--force", &id]).deadline(LIMIT).run(&cancel));
        // What is mounted there is another's.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if directory.is_dir() && !mounts.contains(&format!(" {}/", directory.display())) {
            let what = || format!("remove the directory `{}`", directory.display());
            fs::remove_dir_all(&directory).with_context(what)?;
        }
    }
    if !told.containers.is_empty() {
        let remove = command.clone().args(["rm", "--force", "--ignore"]).args(&told.containers);
        remove.deadline(LIMIT).run(&cancel).context("remove the containers of a build")?;
    }
    Ok(())
}

/// What the log of a build tells that it made.
#[derive(Debug, Default)]
struct Told {
    /// Ids of containers.
    containers: BTreeSet<String>,
    bundles: Vec<Bundle>,
}

/// A directory from which the runtime starts a container, and the runtime's name for that.
#[derive(Debug, PartialEq, Eq)]
struct Bundle {
    runtime: &'static str,
    directory: PathBuf,
    id: String,
}

impl Bundle {
    /// A step may print whatever it likes: nothing is run or removed but what podman makes (buildah's `MkdirTemp`).
    fn new(runtime: &str, directory: &str) -> Option<Bundle> {
        let runtime = ["runc", "crun"].into_iter().find(|name| runtime.rsplit('/').next() == Some(name))?;
        let (parent, name) = directory.rsplit_once('/')?;
        let number = name.strip_prefix("buildah")?;
        let temporary = Path::new(parent) == std::env::temp_dir() || parent == "/var/tmp";
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (temporary && numbered).then(|| Bundle { runtime, directory: directory.into(), id: format!("buildah-{name}") })
    }
}

impl Told {
    fn by(log: &Path) -> Told {
        Told::in_text(&String::from_utf8_lossy(&fs::read(log).unwrap_or_default()))
    }

    fn in_text(text: &str) -> Told {
        let mut told = Told::default();
        // What a step prints is not preceded by a time and a level.
        for message in text.lines().filter_map(|line| line.strip_prefix("time=\"")?.split_once("\" level=debug msg=\""))
        {
            let message = message.1.trim_end_matches('"').replace("\\\"", "\"");
            if let Some(id) = message.strip_prefix("Container ID: ")
                && id.len() == 64
                && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            {
                told.containers.insert(id.to_owned());
            }
            let Some(list) = message.strip_prefix("Running [") else { continue };
            let words: Vec<_> = list.split('"').skip(1).step_by(2).collect();
            let bundle = words.iter().position(|word| *word == "--bundle").and_then(|at| words.get(at + 1));
            if let ([runtime, "create", .., _], Some(bundle)) = (words.as_slice(), bundle) {
                told.bundles.extend(Bundle::new(runtime, bundle));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_what_was_made_and_a_step_cannot_have_anything_else_removed() {
        // Recorded from podman 4.3.1; the last lines are what a step might print.
        let id = "e5f4dff802babda2ce37951d441b67e4ff071547ab794ca0f832737f37db8e9d";
        let told = Told::in_text(&format!(
            r#"time="2026-11-24T12:01:01Z" level=debug msg="Container ID: {id}"
time="2026-11-24T12:01:01Z" level=debug msg="Running [\"/usr/bin/runc\" \"create\" \"--bundle\" \"/var/tmp/buildah12\" \"--pid-file\" \"/var/tmp/buildah12/pid\" \"buildah-buildah12\"]"
time="2026-11-24T12:01:01Z" level=debug msg="Running [\"/usr/bin/runc\" \"start\" \"buildah-buildah12\"]"
Container ID: {}
time="" level=debug msg="Running [\"/bin/rm\" \"create\" \"--bundle\" \"/var/tmp/buildah12\" \"x\"]"
time="" level=debug msg="Running [\"runc\" \"create\" \"--bundle\" \"/home/me/buildah12\" \"x\"]"
time="" level=debug msg="Running [\"runc\" \"create\" \"--bundle\" \"/var/tmp/buildah/../12\" \"x\"]"
"#,
            "0".repeat(64)
        ));
        assert_eq!(told.containers, BTreeSet::from([id.to_owned()]));
        let directory = PathBuf::from("/var/tmp/buildah12");
        let bundle = Bundle { runtime: "runc", directory, id: "buildah-buildah12".to_owned() };
        assert_eq!(told.bundles, [bundle]);
    }
}
