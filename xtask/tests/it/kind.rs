//! On real clusters: what is missing is said before anything is made, and however a run ends early, nothing of it is left.
//!
//! They need `kind`, `kubectl` and podman; without them each says that it was skipped, unless E2E_TEST_KIND is `required`.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use image::RunId;
use supervise::{Cancel, Cmd};

use crate::kit::{Answer, Real, ask, eventually, home, scratch, signal, tool};
use crate::ran::Ran;
use crate::signals::interrupted;

const ENGINE: &str = "podman";

/// Whether there is what clusters are made with.
#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn kind_is_here() -> bool {
    let tried: [(&str, &[&str]); 3] =
        [("kind", &["version"]), ("kubectl", &["version", "--client"]), (ENGINE, &["info"])];
    let missing = tried.iter().find_map(|(program, words)| Cmd::new(*program).args(*words).run(&Cancel::new()).err());
    if let Some(error) = &missing {
        assert_ne!(env::var("E2E_TEST_KIND").as_deref(), Ok("required"), "{error}");
        eprintln!("not tested: {error}");
    }
    missing.is_none()
}

/// What a command prints, line by line.
fn lines(program: &str, arguments: &[&str]) -> Vec<String> {
    let answer = ask(Cmd::new(program).args(arguments.iter().copied())).expect(0);
    answer.out.lines().map(str::to_owned).collect()
}

fn node_of(ran: &Ran) -> String {
    format!("e2e-{}-gateway-control-plane", ran.id().parse::<RunId>().unwrap().short())
}

/// Asserts that neither the tool nor the engine has anything of a run.
#[track_caller]
fn nothing_left(ran: &Ran) {
    ran.nothing_left();
    let label = format!("label=io.x-k8s.kind.cluster={}", node_of(ran).trim_end_matches("-control-plane"));
    for what in [["ps", "--all"].as_slice(), &["volume", "ls"]] {
        let arguments = [what, &["--quiet", "--filter", &label]].concat();
        assert_eq!(lines(ENGINE, &arguments), Vec::<String>::new(), "{what:?}");
    }
}

#[test]
fn an_interrupt_while_a_cluster_is_created() {
    if !kind_is_here() {
        return;
    }
    let real = Real::take();
    let (answer, ran) = real.during(&["gateway", "--platform", "kind"], |ran| {
        let node = node_of(ran);
        eventually("the node's container is there", || {
            lines(ENGINE, &["ps", "--format", "{{.Names}}"]).contains(&node).then_some(())
        });
        signal("INT", ran.pid());
    });
    interrupted(&real, answer, &ran, 130);
    nothing_left(&ran);
}

#[test]
fn a_node_that_stops_while_it_is_loaded() {
    if !kind_is_here() {
        return;
    }
    let real = Real::take();
    let (answer, ran) = real.during(&["gateway", "--platform", "kind"], |ran| {
        ran.wait_for_step("load datastorage");
        drop(ask(Cmd::new(ENGINE).args(["kill", &node_of(ran)])).expect(0));
    });
    answer.expect(3).says(&["ERROR", &node_of(&ran)]);
    nothing_left(&ran);
}

/// A cluster that is not the tool's.
struct Foreign {
    name: String,
    kubeconfig: PathBuf,
}

impl Foreign {
    fn new() -> Foreign {
        let foreign = Foreign { name: format!("foreign-{}", RunId::new().short()), kubeconfig: scratch("kubeconfig") };
        let command = Cmd::new("kind").args(["create", "cluster", "--wait", "180s", "--name", &foreign.name]);
        let image = env::var("KIND_NODE_IMAGE").ok().into_iter().flat_map(|image| ["--image".to_owned(), image]);
        let command = command.args(image).arg("--kubeconfig").arg(foreign.kubeconfig.as_os_str());
        drop(ask(command.env("KIND_EXPERIMENTAL_PROVIDER", ENGINE)).expect(0));
        foreign
    }

    fn namespaces(&self) -> Vec<String> {
        let kubeconfig = self.kubeconfig.to_str().unwrap();
        lines("kubectl", &["--kubeconfig", kubeconfig, "get", "namespaces", "--output", "name"])
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let command = Cmd::new("kind").args(["delete", "cluster", "--name", &self.name]).arg("--kubeconfig");
        let command = command.arg(self.kubeconfig.as_os_str()).env("KIND_EXPERIMENTAL_PROVIDER", ENGINE);
        let deleted = command.run(&Cancel::new());
        drop(fs::remove_file(&self.kubeconfig));
        // A second panic would hide the first.
        if !std::thread::panicking() {
            deleted.unwrap();
        }
    }
}

#[test]
fn an_interrupt_in_a_cluster_that_stays() {
    if !kind_is_here() {
        return;
    }
    let (real, foreign) = (Real::take(), Foreign::new());
    let (kubeconfig, namespaces) = (fs::read(&foreign.kubeconfig).unwrap(), foreign.namespaces());
    let moments = [
        ("\"name\":\"load datastorage\"", "INT", 130),
        ("\"name\":\"deploy and wait\"", "TERM", 143),
        ("\"kind\":\"test\"", "INT", 130),
    ];
    for (words, name, code) in moments {
        let (answer, ran) = real.during(&["gateway", "--platform", "kind", "--reuse", &foreign.name], |ran| {
            ran.wait_for(words);
            signal(name, ran.pid());
        });
        interrupted(&real, answer, &ran, code);
        // The end of a namespace is not waited for.
        eventually(words, || (foreign.namespaces() == namespaces).then_some(()));
    }
    // What is kept there is reached without the run, until it is ended.
    let kept = ["gateway", "--platform", "kind", "--reuse", &foreign.name, "--keep", "--", "service::"];
    let (answer, ran) = real.e2e(&kept);
    let healthz = format!("{}/healthz", ran.url("gateway"));
    answer.expect(0).says(&["left running", &ran.url("gateway")]);
    let response = minreq::get(&healthz).with_timeout(10).send().unwrap_or_else(|error| panic!("{healthz}: {error}"));
    assert_eq!(response.status_code, 200);
    real.ask(&["clean", ran.id()]).expect(0).says(&["removed namespace"]);
    eventually("the namespace goes", || (foreign.namespaces() == namespaces).then_some(()));
    assert!(fs::read(&foreign.kubeconfig).unwrap() == kubeconfig, "its kubeconfig was changed");
}

/// The tool on kind, with only those programs to be found that are not called this; no run begins.
fn without(program: &str, arguments: &[&str]) -> Answer {
    let path = scratch("path");
    fs::create_dir_all(&path).unwrap();
    for folder in env::split_paths(&env::var_os("PATH").unwrap()).filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            // The first folder that has a program is the one that counts.
            if entry.file_name() != program && !path.join(entry.file_name()).exists() {
                symlink(entry.path(), path.join(entry.file_name())).unwrap();
            }
        }
    }
    let command = tool(home()).args(["e2e", "gateway", "--platform", "kind"]).args(arguments.iter().copied());
    let answer = ask(command.env("PATH", &path)).expect(3);
    fs::remove_dir_all(path).unwrap();
    answer
}

#[test]
fn a_program_that_is_missing_is_named_with_what_brings_it() {
    if !kind_is_here() {
        return;
    }
    without("kind", &[]).says(&["`kind` is not installed", "https://kind.sigs.k8s.io"]);
    without("kubectl", &[]).says(&["`kubectl` is not installed", "https://kubernetes.io"]);
    without(ENGINE, &["--provider", ENGINE]).says(&["`podman` must be installed"]);
}

/// Another process has the engine's store, and does not let go.
#[test]
fn a_store_that_is_locked_ends_the_run_before_anything_is_made() {
    if !kind_is_here() {
        return;
    }
    // A store of the test's own: nobody else waits.
    let store = scratch("store");
    fs::create_dir_all(&store).unwrap();
    let conf = store.join("storage.conf");
    let place = |name: &str| store.join(name).display().to_string();
    fs::write(
        &conf,
        format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n", place("graph"), place("run")),
    )
    .unwrap();
    drop(ask(Cmd::new(ENGINE).arg("info").env("CONTAINERS_STORAGE_CONF", &conf)).expect(0));
    let database = Path::new(&place("graph")).join("libpod/bolt_state.db");
    let held = File::options().write(true).open(&database).expect("podman keeps its state there");
    held.lock().unwrap();
    let command = tool(home()).args(["e2e", "gateway", "--platform", "kind", "--provider", ENGINE]);
    let answer = ask(command.env("CONTAINERS_STORAGE_CONF", &conf)).expect(3);
    answer.says(&["podman", "another process"]);
    drop(held);
    fs::remove_dir_all(store).unwrap();
}
