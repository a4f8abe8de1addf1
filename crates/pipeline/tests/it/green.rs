//! A run in which nothing goes wrong: what it records is what it planned, whole, proved, and without a secret.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use image::Digest;
use pipeline::event::{Event, Link, LinkVerdict, Moment, Record, StepOutcome, Verdict};
use pipeline::plan::plan;
use pipeline::{Pipeline, Value, endpoint, secret};
use supervise::Cancel;

use crate::kit::{Scene, app, bare, lock, start, workload};
use crate::ran::Ran;
use crate::stage::{Stage, When};

/// Two workloads, one of which knows the other's address; the suite asks the first.
fn pair(service: &str) -> Pipeline {
    let knows = workload("edited", "ok").env("OTHER_URL", endpoint("app", "http"));
    bare(service, "ok").workload(knows).suite("suite-green")
}

#[test]
fn a_run_does_what_its_plan_says_and_proves_what_it_tests() {
    let scene = Scene::new();
    let pipelines = vec![app("one", "ok"), pair("two"), bare("three", "ok")];
    let planned = plan(&pipelines);
    let ran = scene.run(pipelines);
    for service in ["one", "two", "three"] {
        ran.passed(service);
    }
    assert_eq!((ran.outcome.verdict, ran.outcome.exit_code, ran.outcome.kept), (Verdict::Passed, 0, false));
    as_planned(&ran, &planned);
    recorded(&ran);
    proved(&ran);
    images_apart(&ran);
    assert_eq!(ran.tests("one").values().filter(|(verdict, _)| *verdict == Verdict::Passed).count(), 2);
    ran.nothing_left();
}

/// The same steps, and none before what it takes.
fn as_planned(ran: &Ran, planned: &[pipeline::plan::PlannedStep]) {
    let steps = ran.steps();
    let done: BTreeSet<_> = steps.iter().map(|step| (step.service.clone(), step.phase, step.name.clone())).collect();
    let wanted: BTreeSet<_> =
        planned.iter().map(|step| (step.service.clone(), step.phase, step.name.clone())).collect();
    assert_eq!(done, wanted);
    assert_eq!(steps.len(), planned.len(), "no step is made twice");
    assert!(steps.iter().all(|step| step.outcome == StepOutcome::Ok));
    for plan in planned {
        let step = steps.iter().find(|step| step.service == plan.service && step.name == plan.name).unwrap();
        for after in &plan.after {
            let of_run = after.strip_prefix("run: ");
            let before = steps.iter().filter(|other| match of_run {
                Some(name) => other.service.is_none() && other.name == name,
                None => other.name == *after && (plan.service.is_none() || other.service == plan.service),
            });
            let before: Vec<_> = before.collect();
            assert!(!before.is_empty(), "`{}` waits for `{after}`, which there is not", plan.name);
            assert!(before.iter().all(|before| before.ended < step.started), "`{}` before `{after}`", plan.name);
        }
    }
}

/// The file holds what the readers were shown, line by line in a chain that ends in the digest of the outcome.
fn recorded(ran: &Ran) {
    let text = fs::read_to_string(ran.outcome.dir.join("events.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    let (mut before, mut last_time) = (Digest::of(""), 0);
    for (number, line) in text.lines().enumerate() {
        let record: Record = serde_json::from_str(line).unwrap();
        assert_eq!((record.v, record.seq, record.prev), (1, number as u64, before), "{line}");
        assert!(record.us >= last_time && record.run == ran.id());
        let seen = serde_json::to_string(&ran.records[number]).unwrap();
        assert_eq!(seen, line, "a reader was shown something else");
        (before, last_time) = (Digest::of(line), record.us);
    }
    assert_eq!(text.lines().count(), ran.records.len());
    assert_eq!(before, ran.outcome.head);
    assert!(matches!(ran.records[0].event, Event::RunStarted { .. }));
    let ended = ran.events().last().unwrap();
    assert!(matches!(ended, Event::RunEnded { verdict: Verdict::Passed, exit_code: 0, clean: true, .. }), "{ended:?}");
}

fn proved(ran: &Ran) {
    let of = |service| {
        let proofs = ran.proofs(service);
        assert!(proofs.iter().all(|(_, _, verdict)| *verdict == LinkVerdict::Holds), "{proofs:?}");
        let count = |moment| proofs.iter().filter(|(_, at, _)| *at == moment).count();
        let links: BTreeSet<_> = proofs.iter().map(|(link, _, _)| link.describe()).collect();
        assert_eq!(links.len(), Link::ALL.len());
        (count(Moment::BeforeTests), count(Moment::AfterTests))
    };
    assert_eq!(of("one"), (6, 3));
    assert_eq!(of("two"), (12, 6), "each workload");
    assert_eq!(of("three"), (6, 0), "nothing ran that could have swapped anything");
    let steps = ran.steps();
    for service in ["one", "two"] {
        let step = |name| steps.iter().find(|s| s.service.as_deref() == Some(service) && s.name == name).unwrap();
        assert!(step("prove what runs").ended < step("run the suite").started);
        assert!(step("run the suite").ended < step("prove that it still runs").started);
    }
}

/// No name is used twice, and each image is deployed under the name that was made for it before anything was built.
fn images_apart(ran: &Ran) {
    let made: BTreeSet<_> = ran.references().into_iter().collect();
    assert_eq!((made.len(), ran.references().len()), (4, 4));
    let (mut built, mut loaded, mut deployed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut build_began = false;
    for event in ran.events() {
        match event {
            Event::StepStarted { name, .. } if name == "build the programs" => build_began = true,
            Event::TagMade { .. } => assert!(!build_began, "a tag was made after the build began"),
            Event::Built { reference, .. } => drop(built.insert(reference.as_str())),
            Event::Loaded { reference, .. } => drop(loaded.insert(reference.as_str())),
            Event::Deployed { reference, .. } => drop(deployed.insert(reference.as_str())),
            _ => {}
        }
    }
    assert!(made == built && made == loaded && made == deployed);
}

#[test]
fn a_secret_is_in_the_run_file_and_nowhere_else() {
    let (scene, stage) = (Scene::new(), Stage::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    for service in ["green", "mixed", "exits"] {
        let seen = Arc::clone(&seen);
        stage.act(service, move |when, ground| {
            if when == When::Stop {
                // All that the run ever writes is there now.
                let secrets: Vec<String> = ground.secrets.values().cloned().collect();
                assert_eq!(secrets.len(), 2);
                lock(&seen).extend(holding(&ground.run, &secrets));
                lock(&seen).push(PathBuf::from(format!("looked at {}", ground.service)));
            }
        });
    }
    let with_url = |service: &str, behaviour: &str| {
        let url = Value::from("postgres://app:").then(secret("database")).then("@localhost/app");
        Pipeline::new(service).workload(workload("app", behaviour).env("DATABASE_URL", url))
    };
    let pipelines = vec![
        with_url("green", "ok").suite("suite-green"),
        with_url("mixed", "ok").suite("suite-mixed"),
        with_url("exits", "exits"),
    ];
    let ran = start(&scene.config_on(Arc::new(stage.clone()), pipelines), &Cancel::new(), |_| {}).unwrap();
    let seen: Vec<_> = lock(&seen).iter().map(|path| path.display().to_string()).collect();
    let looked = seen.iter().filter(|path| path.starts_with("looked at")).count();
    assert_eq!(looked, 3, "{}", ran.text());
    for path in seen.iter().filter(|path| !path.starts_with("looked at")) {
        assert!(path.ends_with("/run.json"), "a secret is in `{path}`");
    }
    assert!(seen.iter().any(|path| path.ends_with("green/run.json")), "or this test looks for nothing: {seen:?}");
    let secrets: Vec<_> =
        ["green", "mixed", "exits"].iter().flat_map(|s| stage.ground(s).secrets.into_values()).collect();
    assert_eq!(secrets.iter().collect::<BTreeSet<_>>().len(), 6, "each pipeline has its own");
    assert_eq!(holding(&ran.outcome.dir, &secrets), Vec::<PathBuf>::new());
    let lines = fs::read_to_string(ran.outcome.dir.join("events.jsonl")).unwrap();
    assert!(lines.contains("DATABASE_URL=***"), "the command is shown, without the secret");
    ran.nothing_left();
}

/// The files that hold one of these texts. The run file must be for its owner only.
fn holding(folder: &Path, texts: &[String]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // What is gone meanwhile belonged to another pipeline of the run, which was torn down.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding(&entry.path(), texts));
        } else if kind.is_file() {
            let Ok(content) = fs::read(entry.path()) else { continue };
            let holds = |text: &String| content.windows(text.len()).any(|window| window == text.as_bytes());
            if content.len() < 1_000_000 && texts.iter().any(holds) {
                let mode = entry.metadata().map_or(0o600, |meta| meta.permissions().mode() & 0o777);
                assert_eq!(mode, 0o600, "{}", entry.path().display());
                found.push(entry.path());
            }
        }
    }
    found
}
