//! Ctrl-C and worse, in each phase: the exit code says it, the reports are written, nothing is left.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::kit::{Answer, Real, eventually, signal};
use crate::ran::{Ran, junit};

#[track_caller]
pub(crate) fn interrupted(real: &Real, answer: Answer, ran: &Ran, code: i32) {
    let answer = answer.expect(code);
    answer.says(&["INTERRUPTED"]);
    ran.nothing_left();
    let report = ran.report();
    assert_eq!((&report["verdict"], &report["exit_code"]), (&json!("interrupted"), &json!(code)));
    for pipeline in report["pipelines"].as_array().unwrap() {
        assert_eq!(pipeline["verdict"], "interrupted", "{pipeline}");
        // Who ended it, and not the whole of a command that was.
        assert!(pipeline["cause"].as_str().unwrap().starts_with("cancelled by SIG"), "{pipeline}");
    }
    let cases = junit(&ran.read("junit.xml"));
    assert!(cases.iter().any(|case| case.outcome.as_deref() == Some("error")), "nobody takes it for green");
    assert!(cases.iter().all(|case| case.outcome.as_deref() != Some("failure")), "no test is blamed");
    let ended = ran.events("run_ended");
    assert_eq!((&ended[0]["verdict"], &ended[0]["clean"]), (&json!("interrupted"), &json!(true)));
    assert_eq!(ran.events("diagnosis").len(), 0, "there is nothing to explain");
    // The record is whole; what it tells is not what the pattern asks for.
    real.ask(&["audit", ran.id()]).expect(1);
}

#[test]
fn an_interrupt_while_the_programs_are_built() {
    let real = Real::take();
    // There is something to hold once something was built.
    drop(real.e2e(&["gateway", "--", "it_says"]).0.expect(0));
    let (answer, ran) = {
        let _held = real.hold_the_build();
        real.during(&["gateway", "workflowexecution"], |ran| {
            ran.wait_for("--profile image");
            signal("INT", ran.pid());
        })
    };
    interrupted(&real, answer, &ran, 130);
    assert!(ran.events("built").is_empty());
    for step in ran.events("step_ended") {
        assert_ne!(step["outcome"], "failed", "what was cancelled has not failed: {step}");
    }
}

#[test]
fn an_interrupt_while_it_deploys() {
    let real = Real::take();
    let (answer, ran) = real.during(&["gateway"], |ran| {
        ran.wait_for_step("deploy and wait");
        signal("INT", ran.pid());
    });
    interrupted(&real, answer, &ran, 130);
}

#[test]
fn a_termination_while_the_tests_run() {
    let real = Real::take();
    // What is to be kept is what was tested to the end.
    let (answer, ran) = real.during(&["gateway", "--keep"], |ran| {
        ran.wait_for("\"kind\":\"test\"");
        signal("TERM", ran.pid());
    });
    interrupted(&real, answer, &ran, 143);
    assert!(!ran.events("test").is_empty(), "what had passed is told");
}

#[test]
fn a_second_interrupt_kills_what_takes_its_time() {
    let real = Real::take();
    let (answer, ran) = real.during(&["gateway"], |ran| {
        ran.wait_for("\"kind\":\"test\"");
        // A request whose body never comes: DataStorage waits for it for seconds when it is told to end.
        let run: Value = serde_json::from_str(&ran.read("work/gateway/run.json")).unwrap();
        let token = run["secrets"]["datastorage-token"].as_str().unwrap();
        let mut stream = TcpStream::connect(ran.url("datastorage").trim_start_matches("http://")).unwrap();
        let head =
            "POST /api/v1/audit/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100";
        stream.write_all(format!("{head}\r\nAuthorization: Bearer {token}\r\n\r\n{{").as_bytes()).unwrap();
        signal("INT", ran.pid());
        ran.wait_for_step("remove what the pipeline made");
        // The gateway goes first; it is DataStorage that hangs.
        let gateway = Path::new("/proc").join(ran.workload("gateway").to_string()).join("exe");
        eventually("the gateway ends", || gateway.read_link().is_err().then_some(()));
        signal("INT", ran.pid());
    });
    interrupted(&real, answer, &ran, 130);
    let commands = ran.events("command_started");
    let is_datastorage =
        |event: &&Value| event["line"].as_str().unwrap_or_default().contains("SERVICE_NAME=datastorage");
    let command = &commands.iter().find(is_datastorage).expect("it was started")["command"];
    let ends = ran.events("command_ended");
    let end = ends.iter().find(|end| end["command"] == *command).expect("it ended");
    assert_eq!(end["status"], "ended by SIGKILL", "it was not waited for");
}

#[test]
fn after_a_kill_while_the_tests_run_clean_removes_everything() {
    let real = Real::take();
    let (answer, ran) = real.during(&["gateway"], |ran| {
        ran.wait_for("\"kind\":\"test\"");
        signal("KILL", ran.pid());
    });
    answer.expect(128 + 9);
    assert!(!supervise::find_marked("E2E_RUN", ran.id()).is_empty() && ran.dir.join("work").is_dir());
    real.ask(&["audit", ran.id()]).expect(3).says(&["did not end properly"]);
    let clean = real.ask(&["clean"]).expect(0);
    clean.says(&["removed processes of the run", "removed directory", ran.id()]);
    ran.nothing_left();
    real.ask(&["clean"]).expect(0).says(&["nothing was left behind"]);
}

#[test]
fn after_a_kill_while_the_programs_are_built_clean_ends_the_build() {
    let real = Real::take();
    drop(real.e2e(&["gateway", "--", "it_says"]).0.expect(0));
    let _held = real.hold_the_build();
    let (answer, ran) = real.during(&["gateway"], |ran| {
        ran.wait_for("--profile image");
        signal("KILL", ran.pid());
    });
    answer.expect(128 + 9);
    assert!(!ran.running_commands().is_empty(), "cargo goes on");
    real.ask(&["clean", ran.id()]).expect(0).says(&["removed processes of the run"]);
    ran.nothing_left();
}
