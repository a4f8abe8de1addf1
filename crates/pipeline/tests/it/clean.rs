//! What killed and kept runs leave, and that `clean` removes exactly that: never a run in progress, never more than is listed.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use image::RunId;
use pipeline::clean::{Cleaned, clean};
use pipeline::event::{Event, Verdict};
use pipeline::ledger::{RUN_MARK, leftovers};
use supervise::{Cancel, Cmd, CmdErrorKind, find_marked};

use crate::child::{Child, HOME};
use crate::kit::{Scene, app, bare, becomes, get, lock, start};

/// The processes whose program is a file below this folder.
pub(crate) fn running_below(folder: &Path) -> Vec<u32> {
    assert!(folder.is_absolute() && folder.components().count() > 3, "{}", folder.display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        exe.starts_with(folder)
    })
    .collect()
}

fn killed(child: &Child<'_>) {
    let error = child.run().expect_err("it kills itself");
    assert!(error.to_string().contains("SIGKILL"), "{error}\n{}", error.tail.join("\n"));
    assert!(matches!(error.kind, CmdErrorKind::Exit(_)), "{error}");
}

/// The run that is new since these.
fn new_run(scene: &Scene, before: &[String]) -> String {
    let new: Vec<_> = scene.home.ids().into_iter().filter(|id| !before.contains(id)).collect();
    assert_eq!(new.len(), 1, "{new:?}");
    new[0].clone()
}

fn of<'a>(all: &'a [Cleaned], run: &str) -> &'a Cleaned {
    all.iter().find(|cleaned| cleaned.run == run).unwrap_or_else(|| panic!("nothing is said of {run}: {all:?}"))
}

/// Cleans, once nobody holds a run's lock by accident: a process that another test has forked holds every file of this one until
/// its program starts.
fn cleaned(scene: &Scene, run: Option<&str>, so: impl Fn(&[Cleaned]) -> bool) -> Vec<Cleaned> {
    let last = Mutex::new(Vec::new());
    becomes(|| {
        let Ok(cleaned) = clean(&scene.home, run) else { return false };
        let done = so(&cleaned);
        *lock(&last) = cleaned;
        done
    });
    last.into_inner().unwrap()
}

#[test]
fn a_killed_run_is_removed_and_one_in_progress_is_not_touched() {
    let scene = Scene::new();
    let (cancel, config) = (Cancel::new(), scene.config(vec![bare("busy", "ok").suite("suite-hang")]));
    let busy = config.run.to_string();
    let (testing, under_way) = mpsc::channel();
    let url = Arc::new(Mutex::new(String::new()));
    let (scene, config, cancel, url) = (&scene, &config, &cancel, &url);
    let ran = thread::scope(|scope| {
        let seen = Arc::clone(url);
        let run = scope.spawn(move || {
            start(config, cancel, move |record| match &record.event {
                Event::Endpoint { url, .. } => lock(&seen).clone_from(url),
                Event::CommandStarted { line, .. } if line.contains("--exact hangs") => testing.send(()).unwrap(),
                _ => {}
            })
        });
        under_way.recv().unwrap();
        // Whatever fails here, the other run must be told to end, or the scope waits for ever.
        let killing = std::panic::catch_unwind(|| killed_at_each_point(scene, &busy));
        let version = get(&format!("{}/version", lock(url)));
        let work = scene.home.runs().join(&busy).join("work/busy/run.json").is_file();
        let processes = find_marked(RUN_MARK, &busy).len();
        cancel.signal(2);
        let ran = run.join().unwrap().unwrap();
        killing.unwrap();
        assert!(version.unwrap().contains(&busy) && work && processes == 2, "the run in progress lost something");
        ran
    });
    assert_eq!(ran.outcome.verdict, Verdict::Interrupted);
    ran.nothing_left();
    assert!(cleaned(scene, None, <[_]>::is_empty).is_empty(), "nothing is left to clean");
}

fn killed_at_each_point(scene: &Scene, busy: &str) {
    for (kill_at, processes) in [
        (r#""kind":"run_started""#, 0),
        (r#""kind":"loaded""#, 0),
        (r#""kind":"deployed""#, 1),
        // The test itself may have ended: nobody reads what it prints any more.
        ("--exact hangs", 1),
        (r#""kind":"removed""#, 0),
    ] {
        let suite = if kill_at == "--exact hangs" { "suite-hang" } else { "suite-green" };
        let before = scene.home.ids();
        killed(&Child { scene, service: "killed", package: "app", suite, kill_at });
        let run = new_run(scene, &before);
        let dir = scene.home.runs().join(&run);
        assert!(find_marked(RUN_MARK, &run).len() >= processes, "or there is nothing to clean at {kill_at}");
        assert!(!leftovers(&dir).unwrap().resources.is_empty(), "{kill_at}");

        let cleaned = cleaned(scene, None, |all| of(all, &run).skipped.is_none());
        let mine = of(&cleaned, &run);
        assert!(mine.faults.is_empty() && mine.skipped.is_none() && !mine.removed.is_empty(), "{kill_at}: {mine:?}");
        assert!(of(&cleaned, busy).skipped.as_deref().unwrap().contains("in progress"), "{cleaned:?}");
        assert_eq!(cleaned.len(), 2, "and of no other run: {cleaned:?}");
        assert_eq!(find_marked(RUN_MARK, &run), Vec::<u32>::new(), "{kill_at}");
        assert!(!dir.join("work").exists() && dir.join("events.jsonl").is_file(), "{kill_at}: the record stays");
        assert!(leftovers(&dir).unwrap().resources.is_empty(), "{kill_at}");
    }
    let error = clean(&scene.home, Some(busy)).unwrap_err().to_string();
    assert!(error.contains(busy) && error.contains("in progress"), "{error}");
}

#[test]
fn a_run_that_is_killed_while_it_builds_leaves_no_compiler_after_clean() {
    let scene = Scene::alone();
    let (build, home) = (scene.home.build(), scene.path(""));
    // The child does not clear its environment, nor does what it starts: all of it is found by the home of this test.
    let all = || find_marked(HOME, home.to_str().unwrap());
    thread::scope(|scope| {
        let child = Child { scene: &scene, service: "slow", package: "slow", suite: "suite-green", kill_at: "" };
        let run = scope.spawn(move || child.run());
        let building = becomes(|| !running_below(&build).is_empty());
        let own = std::env::current_exe().unwrap();
        let is_tool = |pid: &u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own);
        for pid in all().iter().filter(|pid| is_tool(pid)) {
            Cmd::new("sh").args(["-c", &format!("kill -KILL {pid}")]).run(&Cancel::new()).unwrap();
        }
        assert!(run.join().unwrap().is_err() && building);
    });
    assert!(!all().is_empty() && !running_below(&build).is_empty(), "cargo does not end because its parent did");
    let cleaned = cleaned(&scene, None, |all| all.iter().any(|of| !of.removed.is_empty()));
    let left = all();
    // A test that fails must not leave it to the machine.
    let _still_there = supervise::end_marked(HOME, home.to_str().unwrap(), Duration::ZERO, &Cancel::new());
    assert_eq!(left, Vec::<u32>::new(), "{cleaned:?}");
}

#[test]
fn a_kept_run_goes_on_until_it_is_named() {
    let scene = Scene::new();
    let mut config = scene.config(vec![app("kept", "ok"), bare("exits", "exits")]);
    config.keep = true;
    let ran = start(&config, &Cancel::new(), |_| {}).unwrap();
    assert!(ran.outcome.kept && ran.outcome.exit_code == 3, "{}", ran.text());
    assert!(matches!(ran.events().last(), Some(Event::RunEnded { clean: false, .. })));
    let (_, url) = ran.endpoints()[0];
    let answers = || get(&format!("{url}/version")).is_ok_and(|answer| answer.contains(ran.id()));
    let dir = &ran.outcome.dir;
    assert!(answers() && dir.join("work/kept/run.json").is_file(), "it is there to be looked at");
    assert!(!dir.join("work/exits").exists(), "what failed is not kept");
    assert_eq!(find_marked(RUN_MARK, ran.id()).len(), 1);

    let reason = |all: &[Cleaned]| of(all, ran.id()).skipped.clone().unwrap();
    let skipped = reason(&cleaned(&scene, None, |all| reason(all).contains("kept on purpose")));
    assert!(skipped.contains("kept on purpose") && skipped.contains(&format!("clean {}", ran.id())), "{skipped}");
    assert!(answers(), "clean without a name leaves it");

    let error = clean(&scene.home, Some(&RunId::new().to_string())).unwrap_err().to_string();
    assert!(error.contains(ran.id()), "it names those that there are: {error}");
    assert!(answers());

    let removed = cleaned(&scene, Some(ran.id()), |all| of(all, ran.id()).skipped.is_none());
    let mine = of(&removed, ran.id());
    assert!(mine.faults.is_empty() && mine.removed.len() >= 2, "{mine:?}");
    assert!(!answers() && !dir.join("work").exists() && dir.join("logs/kept/app.log").is_file());
    assert_eq!(find_marked(RUN_MARK, ran.id()), Vec::<u32>::new());
    assert!(cleaned(&scene, None, <[_]>::is_empty).is_empty(), "and that is the end of it");
}

#[test]
fn an_interrupted_run_is_not_kept() {
    let scene = Scene::new();
    let mut config = scene.config(vec![app("kept", "ok")]);
    config.keep = true;
    let cancel = Cancel::new();
    let inner = cancel.clone();
    let ran = start(&config, &cancel, move |record| {
        if matches!(&record.event, Event::StepStarted { name, .. } if name == "run the suite") {
            inner.signal(2);
        }
    });
    let ran = ran.unwrap();
    assert!(!ran.outcome.kept && ran.outcome.exit_code == 130, "{}", ran.text());
    ran.nothing_left();
}
