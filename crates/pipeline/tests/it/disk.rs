//! No room and no right to write: the error says what and where, and what was made is removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use pipeline::event::{StepOutcome, Verdict};
use pipeline::rundir::Home;
use supervise::{Cancel, Cmd};

use crate::kit::{Scene, app, bare, start};

#[test]
fn a_home_that_is_no_folder_is_named() {
    let scene = Scene::new();
    let mut config = scene.config(vec![app("good", "ok")]);
    let file = scene.path("file");
    fs::write(&file, "").unwrap();
    config.home = Home::in_target(&file);
    let Err(error) = start(&config, &Cancel::new(), |_| {}) else { panic!("it ran") };
    let error = format!("{error:#}");
    assert!(error.contains(&file.display().to_string()) && error.contains("Not a directory"), "{error}");
}

/// A file system of its own; it is unmounted when it is dropped.
struct Mount(PathBuf);

impl Mount {
    /// None without the right to mount.
    fn new(path: PathBuf, kilobytes: u32) -> Option<Mount> {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={kilobytes}k");
        let mount = Cmd::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path);
        mount.run(&Cancel::new()).is_ok().then(|| Mount(path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let lazily = Cmd::new("umount").arg("--lazy").arg(&self.0);
        lazily.run(&Cancel::new()).unwrap();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn a_full_disk_is_the_cause_wherever_it_is_met() {
    let (scene, mut met) = (Scene::new(), BTreeSet::new());
    // Too small for the program, for its image, for the copy that is loaded, for the unpacked one; and large enough.
    for kilobytes in [64, 1024, 2048, 3072, 4096, 5120, 6144, 7168, 16384] {
        let Some(mount) = Mount::new(scene.path(&format!("disk-{kilobytes}")), kilobytes) else {
            eprintln!("not tested: a full disk, since nothing can be mounted here");
            return;
        };
        let mut config = scene.config(vec![bare("good", "ok")]);
        config.home = Home::in_target(&mount.0);
        fs::create_dir_all(config.home.runs()).unwrap();
        std::os::unix::fs::symlink(scene.home.build(), config.home.build()).unwrap();
        let dir = config.home.runs().join(config.run.to_string());
        match start(&config, &Cancel::new(), |_| {}) {
            Ok(ran) if ran.outcome.verdict == Verdict::Passed => {
                ran.nothing_left();
                met.insert("nowhere".to_owned());
            }
            Ok(ran) => {
                let why = ran.why("good");
                assert!(why.cause.contains("No space left on device"), "{kilobytes}: {why:?}");
                ran.nothing_left();
                let failed = ran.steps().into_iter().find(|step| step.outcome == StepOutcome::Failed);
                met.insert(failed.unwrap().name);
            }
            // Not even the record could be written.
            Err(error) => {
                let error = format!("{error:#}");
                assert!(error.contains("No space left on device") && error.contains("events.jsonl"), "{error}");
                assert!(!dir.join("work").exists(), "{kilobytes}");
                met.insert("the record".to_owned());
            }
        }
    }
    assert!(met.contains("nowhere") && met.len() >= 4, "the sizes do not fit the program: {met:?}");
}
