//! Edits between runs: each run tests the source as it is, whatever the times of files say and whatever lies in the target
//! directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use image::Digest;
use pipeline::Pipeline;
use pipeline::event::Event;
use supervise::Cancel;

use crate::kit::{Scene, get, lock, start, workload};
use crate::stage::{Stage, When};

/// Runs the service and gives what it answers, and the digest of its executable.
fn answer(scene: &Scene) -> (String, Digest) {
    let (stage, answer) = (Stage::new(), Arc::new(Mutex::new(String::new())));
    let seen = Arc::clone(&answer);
    stage.act("edited", move |when, ground| {
        if when == When::Started {
            *lock(&seen) = get(&ground.url("/version")).unwrap();
        }
    });
    let pipeline = Pipeline::new("edited").workload(workload("edited", "ok"));
    let ran = start(&scene.config_on(Arc::new(stage), vec![pipeline]), &Cancel::new(), |_| {}).unwrap();
    ran.passed("edited");
    let digest = ran.events().find_map(|event| match event {
        Event::Built { executable_digest, .. } => *executable_digest,
        _ => None,
    });
    let answer: serde_json::Value = serde_json::from_str(&lock(&answer)).unwrap();
    (answer["greeting"].as_str().unwrap().to_owned(), digest.unwrap())
}

fn edit(scene: &Scene, from: &str, to: &str) -> PathBuf {
    let path = scene.workspace.join("edited/src/greeting.rs");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(&path, text.replace(from, to)).unwrap();
    path
}

fn set_time(path: &Path, time: SystemTime) {
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_run_tests_the_source_as_it_is() {
    let scene = Scene::alone();
    let (said, first) = answer(&scene);
    assert_eq!(said, "one");
    let program = scene.home.build().join(target()).join("image/edited");
    let old = fs::read(&program).unwrap();

    edit(&scene, "\"one\"", "\"two\"");
    let (said, second) = answer(&scene);
    assert_eq!(said, "two");
    assert_ne!(first, second);

    // As `cp -p`, `tar` and `git stash` do.
    let path = edit(&scene, "\"two\"", "\"six\"");
    set_time(&path, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
    let (said, third) = answer(&scene);
    assert_eq!(said, "six", "an edit with an old time");

    // An older binary under the name of the new one, with its time.
    let time = fs::metadata(&program).unwrap().modified().unwrap();
    fs::remove_file(&program).unwrap();
    fs::write(&program, &old).unwrap();
    set_time(&program, time);
    let (said, fourth) = answer(&scene);
    assert_eq!(said, "six", "the binary in the target directory is an old one");
    assert_eq!(third, fourth, "the same source, the same program");

    edit(&scene, "\"six\"", "\"one\"");
    assert_eq!(answer(&scene), ("one".to_owned(), first), "and back again");
}

/// Where cargo puts what is built for this processor.
pub(crate) fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}
