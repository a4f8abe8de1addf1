//! What the tests share: the product under test, homes for runs, pipelines.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use image::RunId;
use pipeline::event::Record;
use pipeline::local::Local;
use pipeline::recorder::{Reader, SystemClock};
use pipeline::run::{Config, run};
use pipeline::rundir::Home;
use pipeline::{Pipeline, Platform, Workload, secret};
use supervise::Cancel;

use crate::ran::Ran;

/// Longer than any service here needs on a machine that does something else meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where the product is, how the tests may build it, and a home for runs. It goes when it is dropped.
pub(crate) struct Scene {
    root: PathBuf,
    pub(crate) workspace: PathBuf,
    pub(crate) home: Home,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.root);
        // A second panic would end the process, and with it whatever else is to be removed.
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

impl Scene {
    /// A home of its own, with the product and the builds that all tests share: nothing is compiled twice.
    pub(crate) fn new() -> Scene {
        let shared = shared();
        let scene = Scene::in_workspace(root(), shared.to_owned());
        symlink(shared.join("target/images"), scene.home.build()).unwrap();
        scene
    }

    /// The same with a copy of the product, for a test that edits it or that holds the build for long.
    pub(crate) fn alone() -> Scene {
        let root = root();
        let workspace = root.join("product");
        copy(&fixture(), &workspace);
        Scene::in_workspace(root, workspace)
    }

    fn in_workspace(root: PathBuf, workspace: PathBuf) -> Scene {
        let home = Home::in_target(&root);
        fs::create_dir_all(home.runs()).unwrap();
        Scene { root, workspace, home }
    }

    /// Any folder of the scene.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A run of these pipelines on `local`.
    pub(crate) fn config(&self, pipelines: Vec<Pipeline>) -> Config {
        Scene::config_in(self.home.clone(), self.workspace.clone(), pipelines)
    }

    /// A run on another platform.
    pub(crate) fn config_on(&self, platform: Arc<dyn Platform>, pipelines: Vec<Pipeline>) -> Config {
        Config { platform, ..self.config(pipelines) }
    }

    /// A run in a scene of another process.
    pub(crate) fn config_in(home: Home, workspace: PathBuf, pipelines: Vec<Pipeline>) -> Config {
        Config {
            run: RunId::new(),
            workspace,
            home,
            pipelines,
            platform: Arc::new(Local { ready_within: PATIENCE }),
            command: "cargo xtask e2e".to_owned(),
            revision: None,
            jobs: 2,
            keep: false,
            test_within: Duration::from_secs(60),
            filter: Vec::new(),
            began: None,
        }
    }

    /// Runs to the end, nobody interferes.
    pub(crate) fn run(&self, pipelines: Vec<Pipeline>) -> Ran {
        start(&self.config(pipelines), &Cancel::new(), |_| {}).unwrap()
    }
}

/// Runs, and shows each line to `watch` as it is written.
pub(crate) fn start(
    config: &Config,
    cancel: &Cancel,
    mut watch: impl FnMut(&Record) + Send + 'static,
) -> anyhow::Result<Ran> {
    let records = Arc::new(Mutex::new(Vec::new()));
    let reader: Reader = {
        let records = Arc::clone(&records);
        Box::new(move |record| {
            lock(&records).push(record.clone());
            watch(record);
        })
    };
    let outcome = run(config, Box::new(SystemClock::new()), cancel, vec![reader])?;
    let records = std::mem::take(&mut *lock(&records));
    Ok(Ran { outcome, records })
}

/// The service `app`, which behaves as told, with nothing that tests it.
pub(crate) fn bare(service: &str, behaviour: &str) -> Pipeline {
    Pipeline::new(service).workload(workload("app", behaviour))
}

/// The same, tested by a suite that passes if the service does what it should.
pub(crate) fn app(service: &str, behaviour: &str) -> Pipeline {
    bare(service, behaviour).suite("suite-green")
}

pub(crate) fn workload(package: &str, behaviour: &str) -> Workload {
    let workload = Workload::cargo(package).port("http", 8080);
    workload.env("BEHAVIOUR", behaviour).env("API_TOKEN", secret("token"))
}

/// Looks until it is so, but not for ever: whether it was.
pub(crate) fn becomes(so: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    while !so() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        Cancel::new().wait(Duration::from_millis(5));
    }
    true
}

/// A body of an HTTP answer, or why there is none.
pub(crate) fn get(url: &str) -> Result<String, String> {
    let response = minreq::get(url).with_timeout(10).send().map_err(|error| error.to_string())?;
    response.as_str().map(str::to_owned).map_err(|error| error.to_string())
}

/// A test that failed under a lock must not fail the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/product")
}

/// As the kernel names it, so that paths can be compared.
fn temporary() -> PathBuf {
    fs::canonicalize(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn root() -> PathBuf {
    let root = temporary().join(format!("scene-{}", RunId::new().simple()));
    fs::create_dir_all(&root).unwrap();
    root
}

/// The copy of the product that tests share and do not edit. It stays, so that the next `cargo test` compiles nothing.
fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let path = temporary().join("product");
        fs::create_dir_all(path.join("target/images")).unwrap();
        // Other processes of the same test may be at it.
        let lock = File::create(path.join("target/lock")).unwrap();
        lock.lock().unwrap();
        copy(&fixture(), &path);
        path
    })
}

/// Makes a folder like another. What is the same is not touched, since cargo goes by the time; what is not there goes.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let names = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name != "target").collect()
    };
    let wanted = names(from);
    for name in names(to).into_iter().filter(|name| !wanted.contains(name)) {
        let path = to.join(name);
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            let content = fs::read(&from).unwrap();
            if fs::read(&to).ok().as_ref() != Some(&content) {
                fs::write(&to, content).unwrap();
            }
        }
    }
}
