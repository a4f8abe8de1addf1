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

use base::{Base, Recipe};

/// An image with Python.
const PYTHON: Recipe = Recipe {
    name: "python-base",
    packages: &["python3-minimal", "libpython3-stdlib", "dash"],
    holds: |name| {
        ["python3", "libpython3"].iter().any(|prefix| name.starts_with(prefix))
            || ["libc6", "zlib1g", "libexpat1", "dash"].contains(&name)
    },
    files: &[],
    instructions: "",
};

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
    fn run(&self, platform: Arc<dyn Platform>, pipelines: Vec<Pipeline>) -> (Verdict, Vec<Record>) {
        let records = Arc::new(std::sync::Mutex::new(Vec::new()));
        let reader: Reader = {
            let records = Arc::clone(&records);
            Box::new(move |record| records.lock().unwrap().push(record.clone()))
        };
        let config = Config {
            run: RunId::new(),
            workspace: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containerfile"),
            home: Home::in_target(&self.0),
            pipelines,
            platform,
            command: "cargo xtask e2e greeter".to_owned(),
            revision: None,
            jobs: 2,
            keep: false,
            test_within: PATIENCE,
            filter: Vec::new(),
            began: None,
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

/// The same, but it goes on as a program that is none of its image.
fn impostor(base: &str) -> Pipeline {
    Pipeline::new("impostor").workload(greeter(base).workloads()[0].clone().env("GO_ON_AS", "/tmp/python"))
}

fn events(records: &[Record]) -> impl Iterator<Item = &Event> {
    records.iter().map(|record| &record.event)
}

fn text(records: &[Record]) -> String {
    records.iter().map(|record| format!("{:?}\n", record.event)).collect()
}

#[test]
fn a_service_in_python_is_built_deployed_and_proved_and_one_that_is_not_of_its_image_is_stopped() {
    let kind = Kind::new(Options {
        provider: None,
        node_image: None,
        workers: 0,
        clusters: Clusters::Shared,
        ready_within: PATIENCE,
        creating: None,
    });
    let missing = kind.preflight(&["greeter", "impostor"].map(|_| greeter("localhost/none:1")));
    if !missing.is_empty() {
        return skip(&missing.join("; "));
    }
    let Some(base) = Base::new(&PYTHON) else { return };
    let scene = Scene::new();
    let (_, records) = scene.run(Arc::new(kind), vec![greeter(base.name()), impostor(base.name())]);
    // The engine's cache of the steps stays for the next build; here there is none. The base loses its name first: then it goes
    // with the last step on it.
    let tip = fs::read_to_string(scene.0.join("e2e/build/containerfiles/greeter.tip"));
    for image in [base.name(), &tip.unwrap_or_default()] {
        Cmd::new("podman").args(["image", "rm", image]).run(&Cancel::new()).unwrap();
    }
    let ended = |name: &str| {
        let mut ends = events(&records).filter_map(|event| match event {
            Event::PipelineEnded { service, verdict, cause } if service == name => Some((*verdict, cause.clone())),
            _ => None,
        });
        ends.next().unwrap_or_else(|| panic!("{}", text(&records)))
    };
    assert_eq!(ended("greeter").0, Verdict::Passed, "{}", text(&records));
    let (verdict, cause) = ended("impostor");
    let cause = cause.unwrap_or_default();
    assert_eq!(verdict, Verdict::Error, "{cause}");
    assert!(cause.starts_with("the proof is broken at") && cause.contains("the executable was replaced"), "{cause}");
    let expected = events(&records).find_map(|event| match event {
        Event::Proof { expected, verdict: LinkVerdict::Broken, link: Link::ContainerToProcess, .. } => {
            Some(expected.as_str())
        }
        _ => None,
    });
    assert_eq!(expected, Some("a file of the image, which has none at `/tmp/python`"), "{}", text(&records));

    let mut links = Vec::new();
    for event in events(&records) {
        if let Event::Proof { service, link, verdict, moment: Moment::BeforeTests, found, .. } = event
            && service == "greeter"
        {
            assert_eq!(*verdict == LinkVerdict::Unchecked, *link == Link::ImageToExecutable, "{link:?}: {found}");
            // The image is started with a shell script, which goes on as another script.
            assert!(*link != Link::ContainerToProcess || found.contains(" /usr/bin/python3."), "{found}");
            links.push(*link);
        }
    }
    assert_eq!(links, Link::ALL, "{}", text(&records));
    let reference = events(&records).find_map(|event| match event {
        // What will run is seen when it runs.
        Event::Built { service, reference, executable_digest: None, .. } if service == "greeter" => {
            Some(reference.clone())
        }
        _ => None,
    });
    let reference = reference.unwrap_or_else(|| panic!("{}", text(&records)));
    for event in events(&records) {
        match event {
            Event::TagMade { service, reference: made, .. } | Event::Loaded { service, reference: made, .. } => {
                assert_eq!(*made == reference, service == "greeter")
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
            "greeter/start.sh",
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
    let (verdict, records) = Scene::new().run(Arc::new(local), vec![greeter("localhost/none:1")]);
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
