//! Runs in processes of their own: this test program, started once more.

use std::path::{Path, PathBuf};

use pipeline::Pipeline;
use pipeline::event::Record;
use pipeline::rundir::Home;
use supervise::{Cancel, Cmd, CmdError};

use crate::kit::{PATIENCE, Scene, bare, start, workload};

/// Tells where the run is to be; everything that such a process starts without clearing its environment carries it.
pub(crate) const HOME: &str = "PIPELINE_TEST_HOME";
const WORKSPACE: &str = "PIPELINE_TEST_WORKSPACE";
const PACKAGE: &str = "PIPELINE_TEST_PACKAGE";
const SUITE: &str = "PIPELINE_TEST_SUITE";
const KILL_AT: &str = "PIPELINE_TEST_KILL_AT";

/// What such a process does.
pub(crate) struct Child<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) service: &'a str,
    pub(crate) package: &'a str,
    pub(crate) suite: &'a str,
    /// The process kills itself at the first line of its record that holds this text; never if it is empty.
    pub(crate) kill_at: &'a str,
}

impl Child<'_> {
    /// Runs it to its end.
    pub(crate) fn run(&self) -> Result<(), CmdError> {
        let own = std::env::current_exe().unwrap();
        let command = Cmd::new(own).args(["--exact", "child::a_run_in_a_process_of_its_own", "--nocapture"]);
        let command = command.env(HOME, self.scene.path("")).env(WORKSPACE, &self.scene.workspace);
        let command = command.env("PIPELINE_TEST_SERVICE", self.service).env(PACKAGE, self.package);
        let command = command.env(SUITE, self.suite).env(KILL_AT, self.kill_at);
        command.deadline(PATIENCE).run(&Cancel::new()).map(drop)
    }
}

/// Not a test by itself: does nothing unless [`Child`] starts it.
#[test]
fn a_run_in_a_process_of_its_own() {
    let Some(home) = std::env::var_os(HOME) else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let (service, package, suite) = (variable("PIPELINE_TEST_SERVICE"), variable(PACKAGE), variable(SUITE));
    let pipeline = match package.as_str() {
        "app" => bare(&service, "ok"),
        package => Pipeline::new(&service).workload(workload(package, "ok")),
    };
    let home = Home::in_target(Path::new(&home));
    let config = Scene::config_in(home, PathBuf::from(variable(WORKSPACE)), vec![pipeline.suite(&suite)]);
    let text = variable(KILL_AT);
    let ran = start(&config, &Cancel::new(), move |record: &Record| {
        if !text.is_empty() && serde_json::to_string(record).unwrap().contains(&text) {
            let kill = format!("kill -KILL {}", std::process::id());
            drop(Cmd::new("sh").args(["-c", &kill]).run(&Cancel::new()));
        }
    });
    let ran = ran.unwrap();
    assert_eq!(ran.outcome.exit_code, 0, "{}", ran.text());
    ran.nothing_left();
}
