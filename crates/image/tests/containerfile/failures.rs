//! What is said when it does not work, and that nothing is left then.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use image::{BuildError, Engine, Handover, ImageTag, NotAsBuilt, RunId};
use supervise::Cancel;

use crate::kit::{BASE, Scene, folder, script};

/// Podman, after whose second build the tag stands for what the first one built.
const SWAP: &str = r#"#!/bin/sh
PODMAN "$@" || exit
case " $* " in *" build "*) ;; *) exit 0 ;; esac
while [ "$1" != --tag ]; do shift; done
if [ -e OLD ]; then PODMAN tag localhost/old:1 "$2"; else PODMAN tag "$2" localhost/old:1; touch OLD; fi
"#;

fn fails(scene: &Scene, instructions: &str) -> BuildError {
    scene.write("Containerfile", instructions);
    scene.run(&scene.build(), &Cancel::new()).unwrap_err()
}

#[test]
fn a_step_that_fails_is_named_with_what_it_said() {
    let Some(scene) = Scene::new() else { return };
    let error = fails(&scene, "FROM localhost/base:1\nRUN echo fine\nRUN echo the reason >&2; exit 7\nUSER 1\n");
    let BuildError::Failed { cause, tail, log } = error else { panic!("{error:?}") };
    assert_eq!(cause, "`RUN echo the reason >&2; exit 7` (step 3) fails: exit status 7");
    assert!(tail.iter().any(|line| line == "the reason") && tail.len() <= 40, "{tail:?}");
    assert!(!tail.iter().any(|line| line.contains("level=debug")), "{tail:?}");
    assert_eq!(log, scene.log());
    assert_eq!((scene.images().0, scene.containers()), (vec![BASE.to_owned()], String::new()));

    let missing = fails(&scene, "FROM localhost/base:1\nCOPY nothing /x\n").to_string();
    assert!(missing.starts_with("`COPY nothing /x`") && missing.ends_with("no such file or directory"), "{missing}");
    // The network is not there unless it is asked for.
    let network = fails(
        &scene,
        "FROM localhost/base:1\nRUN while read x; do case $x in *eth0*) exit;; esac; done </proc/net/dev; exit 9\n",
    );
    assert!(network.to_string().ends_with("exit status 9"), "{network}");
}

#[test]
fn what_is_missing_is_said_before_anything_is_built() {
    let Some(scene) = Scene::new() else { return };
    let base = fails(&scene, "FROM localhost/nowhere:1\n").to_string();
    assert!(base.contains("`localhost/nowhere:1`") && base.contains("`podman pull localhost/nowhere:1`"), "{base}");
    assert!(!scene.log().exists(), "nothing was built");
    let mut build = scene.build();
    build.instructions = folder("services/app", Some("Other"));
    let error = scene.run(&build, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("there is no `Other` in"), "{error}");
    build.instructions = folder("services/none", None);
    let error = scene.run(&build, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("open the build context") && error.contains("services/none"), "{error}");
    build = scene.build();
    build.instructions = folder(".", Some("services/app/Containerfile"));
    let error = scene.run(&build, &Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("where this tool builds: write `") && error.contains("into `.containerignore`"), "{error}");
}

#[test]
fn an_image_that_nobody_may_run_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let root = fails(&scene, "FROM localhost/base:1\nENTRYPOINT [\"program\"]\n").to_string();
    assert!(root.contains("would run as `root`") && root.contains("`USER 65532:65532`"), "{root}");
    let named = fails(&scene, "FROM localhost/base:1\nUSER nobody\n").to_string();
    assert!(named.contains("would run as `nobody`"), "{named}");
    // What would be swallowed by the last line is missed.
    let cut = fails(&scene, "FROM localhost/base:1\nUSER 1\nRUN echo \\\n").to_string();
    assert!(cut.contains("end the Containerfile with a whole line"), "{cut}");
    assert_eq!(scene.images().0, [BASE]);
}

/// Another program gives the tag to an older image, as soon as the new one is built.
#[test]
fn an_image_that_was_swapped_in_the_engine_is_not_taken_for_the_one_that_was_built() {
    let Some(scene) = Scene::new() else { return };
    let podman = supervise::find_program("podman").unwrap();
    script(
        &scene.path("bin/podman"),
        &SWAP.replace("PODMAN", &podman.display().to_string()).replace("OLD", &scene.path("old").display().to_string()),
    );
    let mut build = scene.build();
    let path = format!("{}:{}", scene.path("bin").display(), std::env::var("PATH").unwrap());
    let prepare = build.prepare;
    build.prepare = Arc::new(move |command| prepare(command).env("PATH", &path));
    let old = scene.run(&build, &Cancel::new()).unwrap();
    scene.write("server.py", "print(2)");
    let error = scene.run(&build, &Cancel::new()).unwrap_err();
    let BuildError::Other(error) = &error else { panic!("{error:?}") };
    let swapped = error.downcast_ref::<NotAsBuilt>().unwrap_or_else(|| panic!("{error:#}"));
    let now = build.fingerprint_now(old.source(), &Cancel::new()).unwrap().fingerprint;
    assert_eq!((swapped.handover, &swapped.expected), (Handover::Building, &now.to_string()));
    assert_eq!(swapped.found, Ok(old.source().fingerprint.to_string()));
}

#[test]
fn an_engine_that_is_not_there_is_named() {
    let scene = Scene::without_engine();
    for (engine, name) in [(Engine::Podman, "podman"), (Engine::Docker, "docker")] {
        let mut build = scene.build();
        build.engine = engine;
        build.prepare = Arc::new(|command| command.env("PATH", "/nonexistent"));
        let error = scene.run(&build, &Cancel::new()).unwrap_err().to_string();
        assert!(error.contains(&format!("built by `{name}`, which is not installed")), "{error}");
    }
}

/// Podman that is killed leaves a container, and the process in it goes on: neither must be there afterwards.
#[test]
fn a_build_that_is_ended_leaves_no_process_and_no_container() {
    let Some(scene) = Scene::new() else { return };
    let scene = &scene;
    // The loop holds no other program: the base has none.
    scene.write("Containerfile", "FROM localhost/base:1\nRUN echo begun; while :; do :; done\nUSER 1\n");
    for kill in [false, true] {
        let cancel = Cancel::new();
        let (error, told) = std::thread::scope(|scope| {
            let build = scope.spawn(|| scene.run(&scene.build(), &cancel).unwrap_err());
            let begun = || fs::read_to_string(scene.log()).unwrap_or_default().lines().any(|line| line == "begun");
            let patience = Cancel::new();
            while !begun() && !build.is_finished() {
                patience.wait(Duration::from_millis(10));
            }
            let told = fs::read_to_string(scene.log()).unwrap();
            cancel.cancel();
            if kill {
                cancel.kill();
            }
            (build.join().unwrap(), told)
        });
        assert!(matches!(error, BuildError::Cancelled), "{error:?}");
        let marked =
            supervise::find_marked("CONTAINERS_STORAGE_CONF", &scene.path("storage.conf").display().to_string());
        assert_eq!((marked, scene.containers()), (Vec::new(), String::new()), "kill: {kill}");
        let bundles: Vec<_> =
            told.lines().filter_map(|line| line.split_once("using \\\"")?.1.split('\\').next()).collect();
        assert!(!bundles.is_empty() && !bundles.iter().any(|path| Path::new(path).exists()), "{bundles:?}");
        assert_eq!(scene.images().0, [BASE]);
        fs::remove_file(scene.log()).unwrap();
    }
}

/// What `cargo xtask clean` does when the run was killed and podman was not.
#[test]
fn a_build_whose_run_is_gone_is_ended_by_whoever_cleans_up() {
    let Some(scene) = Scene::new() else { return };
    let scene = &scene;
    scene.write("Containerfile", "FROM localhost/base:1\nRUN echo begun; while :; do :; done\nUSER 1\n");
    let tag = ImageTag::new(&RunId::new(), "app", "gateway").unwrap();
    let reference = tag.reference().to_owned();
    std::thread::scope(|scope| {
        let build =
            scope.spawn(|| scene.build().run(tag, &scene.blobs, &scene.path("scratch"), &scene.log(), &Cancel::new()));
        let begun = || fs::read_to_string(scene.log()).unwrap_or_default().lines().any(|line| line == "begun");
        let patience = Cancel::new();
        while !begun() && !build.is_finished() {
            patience.wait(Duration::from_millis(10));
        }
        Engine::Podman.remove(&scene.podman(), &reference, &scene.log()).unwrap();
        assert_eq!((scene.images().0, scene.containers()), (vec![BASE.to_owned()], String::new()));
        assert!(matches!(build.join().unwrap(), Err(BuildError::Failed { .. })));
    });
}

#[test]
fn a_build_that_takes_too_long_is_ended() {
    let Some(scene) = Scene::new() else { return };
    scene.write("Containerfile", "FROM localhost/base:1\nRUN while :; do :; done\nUSER 1\n");
    let mut build = scene.build();
    build.limit = Duration::from_secs(2);
    let error = scene.run(&build, &Cancel::new()).unwrap_err().to_string();
    assert_eq!(error, "`podman build` was ended: it ran longer than 2 s");
    assert_eq!((scene.images().0, scene.containers()), (vec![BASE.to_owned()], String::new()));
}
