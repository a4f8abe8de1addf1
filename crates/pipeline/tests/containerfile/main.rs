//! A service in another language goes the whole way: its Containerfile is built, loaded into a cluster, deployed and proved;
//! and on `local`, where it cannot run, that is said before anything is built.

mod base;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use image::RunId;
use pipeline::event::{Event, Link, LinkVerdict, Moment, Record, Verdict};
use pipeline::kind::{Clusters, Kind, Options};
use pipeline::local::Local;
use pipeline::recorder::{Reader, SystemClock};
use pipeline::run::{Config, run};
use pipeline::rundir::Home;
use pipeline::{Pipeline, Platform, Workload};
use supervise::{Cancel, Cmd};

/// Longer than a cluster takes on a machine that does something else meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// A home for runs, which goes when it is dropped.
struct Scene(PathBuf);

impl Scene {
    fn new() -> Scene {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("containerfile-{}", RunId::new().short()));
        fs::create_dir_all(Home::in_target(&dir).runs()).unwrap();
        Scene(dir)
    }

    /// Runs to the end; gives how it ended and its record.
    fn run(&self, platform: Arc<dyn Platform>, pipeline: Pipeline) -> (Verdict, Vec<Record>) {
        let records = Arc::new(std::sync::Mutex::new(Vec::new()));
        let reader: Reader = {
            let records = Arc::clone(&records);
            Box::new(move |record| records.lock().unwrap().push(record.clone()))
        };
        let config = Config {
            run: RunId::new(),
            workspace: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containerfile"),
            home: Home::in_target(&self.0),
            pipelines: vec![pipeline],
            platform,
            command: "cargo xtask e2e greeter".to_owned(),
            revision: None,
            jobs: 2,
            keep: false,
            filter: Vec::new(),
        };
        let outcome = run(&config, Box::new(SystemClock::new()), &Cancel::new(), vec![reader]).unwrap();
        let records = std::mem::take(&mut *records.lock().unwrap());
        (outcome.verdict, records)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

fn greeter(base: &str) -> Pipeline {
    let workload = Workload::containerfile("greeter", "greeter").build_arg("BASE", base).version("/version");
    Pipeline::new("greeter").workload(workload.port("http", 8080))
}

fn events(records: &[Record]) -> impl Iterator<Item = &Event> {
    records.iter().map(|record| &record.event)
}

fn text(records: &[Record]) -> String {
    records.iter().map(|record| format!("{:?}\n", record.event)).collect()
}

#[test]
fn a_service_in_python_is_built_deployed_and_proved() {
    let kind = Kind::new(Options {
        provider: None,
        node_image: None,
        workers: 0,
        clusters: Clusters::PerPipeline,
        ready_within: PATIENCE,
        creating: None,
    });
    let missing = kind.preflight(&[greeter("localhost/none:1")]);
    if !missing.is_empty() {
        return skip(&missing.join("; "));
    }
    let Some(base) = base::Base::new() else { return };
    let scene = Scene::new();
    let (verdict, records) = scene.run(Arc::new(kind), greeter(base.name()));
    // The engine's cache of the steps stays for the next build; here there is none.
    let tip = fs::read_to_string(scene.0.join("e2e/build/containerfiles/greeter.tip"));
    base.remove_with(&tip.unwrap_or_default());
    assert_eq!(verdict, Verdict::Passed, "{}", text(&records));

    let mut links = Vec::new();
    for event in events(&records) {
        if let Event::Proof { link, verdict, moment: Moment::BeforeTests, found, .. } = event {
            assert_eq!(*verdict == LinkVerdict::Unchecked, *link == Link::ImageToExecutable, "{link:?}: {found}");
            links.push(*link);
        }
    }
    assert_eq!(links, Link::ALL, "{}", text(&records));
    let reference = events(&records).find_map(|event| match event {
        // The script's interpreter, through two links and PATH.
        Event::Built { reference, executable_digest: Some(_), .. } => Some(reference.clone()),
        _ => None,
    });
    let reference = reference.unwrap_or_else(|| panic!("{}", text(&records)));
    for event in events(&records) {
        match event {
            Event::TagMade { reference: made, .. } | Event::Loaded { reference: made, .. } => {
                assert_eq!(*made, reference)
            }
            Event::Removed { what, error, .. } => assert_eq!(*error, None, "{what}"),
            _ => {}
        }
    }
    let names = Cmd::new("podman").args(["images", "--format", "{{.Repository}}:{{.Tag}}"]).capture_stdout();
    let names = String::from_utf8(names.run(&Cancel::new()).unwrap().stdout).unwrap();
    assert!(!names.contains(&reference), "{names}");
    let record = scene.0.join("e2e/latest/provenance/greeter-greeter.json");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let definition = &record["predicate"]["buildDefinition"];
    assert_eq!(definition["buildType"], pipeline::provenance::CONTAINERFILE_BUILD_TYPE);
    assert_eq!(definition["externalParameters"]["argument.BASE"], base.name());
    let materials = definition["resolvedDependencies"].as_array().unwrap();
    let names: Vec<_> = materials.iter().filter_map(|material| material["name"].as_str()).collect();
    let image = format!("image:{}", base.name());
    assert_eq!(
        names,
        [
            "source",
            "greeter/**#names",
            "greeter/.containerignore",
            "greeter/Containerfile#instructions",
            "greeter/server.py",
            &image
        ]
    );
}

#[test]
fn on_local_it_is_refused_before_anything_is_built() {
    let local = Local { ready_within: PATIENCE };
    let refused = local.preflight(&[greeter("localhost/none:1")]);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("`greeter`") && refused[0].ends_with("run it with `--platform kind`"), "{refused:?}");
    // Whoever does not ask is told too.
    let (verdict, records) = Scene::new().run(Arc::new(local), greeter("localhost/none:1"));
    assert_eq!(verdict, Verdict::Error);
    let cause = events(&records).find_map(|event| match event {
        Event::PipelineEnded { cause, .. } => cause.clone(),
        _ => None,
    });
    assert!(cause.unwrap().ends_with("run it with `--platform kind`"), "{}", text(&records));
    assert!(!events(&records).any(|event| matches!(event, Event::CommandStarted { .. })), "{}", text(&records));
}

#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn skip(why: &str) {
    assert_ne!(std::env::var("E2E_TEST_KIND").as_deref(), Ok("required"), "{why}");
    eprintln!("not tested: {why}");
}
