//! What is answered without a run: help, lists, plans, and what was typed wrongly.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};
use supervise::Cmd;

use crate::kit::{Answer, ask, plain, scratch, tool};

const SERVICES: [&str; 4] = ["gateway", "remediationorchestrator", "signalprocessing", "workflowexecution"];

/// Asks with a target directory that does not exist, and looks that it does not exist afterwards either.
#[track_caller]
fn without_a_trace(arguments: &[&str]) -> Answer {
    let target = scratch("untouched");
    let answer = ask(tool(&target).args(arguments.iter().copied()));
    assert!(!target.exists(), "{arguments:?} left something");
    answer
}

#[test]
fn an_unknown_service_lists_the_known_ones_and_the_nearest() {
    let answer = without_a_trace(&["e2e", "gatewey"]).expect(2);
    answer.says(&["there is no service `gatewey`", "did you mean `gateway`?"]);
    answer.says(&SERVICES);
    assert_eq!(answer.out, "");
    // One wrong name among right ones stops all: half of what was asked for is not what was asked for.
    without_a_trace(&["e2e", "gateway", "signalprocesing"]).expect(2).says(&["did you mean `signalprocessing`?"]);
    let nothing = without_a_trace(&["e2e"]).expect(2);
    nothing.says(&["--all"]);
    nothing.says(&SERVICES);
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_is_wrong() {
    let wrong: [(&[&str], &str); 17] = [
        (&["e2e", "--nonsense"], "--nonsense"),
        (&["e2e", "--al"], "--all"),
        (&["e2e", "--all", "gateway"], "--all"),
        (&["e2e", "gateway", "--jobs", "0"], "--jobs"),
        (&["e2e", "gateway", "--jobs", "many"], "many"),
        (&["e2e", "gateway", "--ready-within", "0"], "--ready-within"),
        (&["e2e", "gateway", "--quiet", "--verbose"], "--verbose"),
        (&["e2e", "gateway", "--platform", "moon"], "local"),
        (&["e2e", "gateway", "--format", "xml"], "json"),
        (&["e2e", "gateway", "--reuse", "mine"], "`--reuse` is for clusters: add `--platform kind`"),
        (&["e2e", "gateway", "--plan", "--workers", "2"], "`--workers` is for clusters"),
        (&["e2e", "--all", "--database", "postgres"], "`--database postgres` needs a cluster: the platform `local`"),
        (
            &["e2e", "gateway", "--platform", "kind", "--postgres-image", "a:1"],
            "add `--database postgres`, or leave it out",
        ),
        (
            &["render", "gateway", "--database", "postgres", "--postgres-image", "a b"],
            "`a b`, of which workload `postgres`",
        ),
        (&["render", "gatewey"], "did you mean `gateway`?"),
        (&["e2ee"], "e2e"),
        (&[], "Usage"),
    ];
    for (arguments, word) in wrong {
        let answer = without_a_trace(arguments).expect(2);
        answer.says(&[word]);
        assert_eq!(answer.out, "", "{arguments:?}");
    }
}

#[test]
fn the_list_is_data() {
    let text = without_a_trace(&["e2e", "--list"]).expect(0);
    assert_eq!(text.out.lines().collect::<Vec<_>>(), SERVICES);
    assert_eq!(without_a_trace(&["e2e", "--list", "--format", "json"]).expect(0).json(), json!(SERVICES));
    assert_eq!(text.err, "");
}

#[test]
fn the_plan_tells_every_step_and_what_it_waits_for() {
    let answer = without_a_trace(&["e2e", "--all", "--plan", "--format", "json"]).expect(0);
    let plan = answer.json();
    let steps = plan.as_array().unwrap();
    let text = |step: &Value, member: &str| step[member].as_str().map(str::to_owned);
    for service in SERVICES {
        let own: Vec<_> = steps.iter().filter(|step| step["service"] == service).collect();
        let phases: BTreeSet<_> = own.iter().filter_map(|step| text(step, "phase")).collect();
        let expected = ["build", "cluster", "deploy", "load", "tag", "teardown", "test"];
        assert_eq!(phases, expected.map(str::to_owned).into(), "{service}");
        let names: BTreeSet<_> = own.iter().filter_map(|step| text(step, "name")).collect();
        for image in ["datastorage", service] {
            assert!(names.contains(&format!("assemble {image}")) && names.contains(&format!("load {image}")));
        }
        for step in own {
            for before in step["after"].as_array().unwrap().iter().filter_map(Value::as_str) {
                let of_run = before.strip_prefix("run: ");
                let there =
                    of_run.is_some_and(|name| steps.iter().any(|s| s["service"].is_null() && s["name"] == name));
                assert!(there || names.contains(before), "{service}: nothing is called `{before}`");
            }
        }
    }
    let postgres =
        without_a_trace(&["e2e", "gateway", "--plan", "--platform", "kind", "--database", "postgres"]).expect(0);
    assert!(postgres.out.contains("assemble postgres  ← make the tags\n"), "{}", postgres.out);
    let text = without_a_trace(&["e2e", "gateway", "--plan"]).expect(0);
    assert_eq!(text.err, "");
    assert!(text.out.contains("0 tag") && text.out.contains("6 teardown") && !text.out.contains("signalprocessing"));
}

#[test]
fn the_help_teaches() {
    let help = without_a_trace(&["e2e", "--help"]).expect(0).out;
    for word in [
        "cargo xtask e2e signalprocessing",
        "cargo xtask e2e --all",
        "gateway -- dedup",
        "--keep",
        "0 all passed, 1 tests failed, 2 wrong usage, 3 the run itself failed",
        "130 and 143 interrupted",
        "Ctrl-C once",
        "report.json, junit.xml, timings.html",
    ] {
        assert!(help.contains(word), "the help lacks `{word}`: {help}");
    }
    let short = without_a_trace(&["e2e", "-h"]).expect(0).out;
    assert!(short.contains("--plan") && short.lines().count() < help.lines().count());
    let all = without_a_trace(&["--help"]).expect(0).out;
    for command in ["e2e", "render", "clean", "audit", "verify", "tidy"] {
        assert!(all.contains(command), "{all}");
        assert!(!without_a_trace(&[command, "--help"]).expect(0).out.is_empty());
    }
}

#[test]
fn before_the_first_run_each_command_says_so() {
    without_a_trace(&["audit"]).expect(3).says(&["there is no run yet", "cargo xtask e2e gateway"]);
    without_a_trace(&["audit", "0199c3f2"]).expect(3).says(&["there is no run `0199c3f2`"]);
    without_a_trace(&["verify", "latest", "Cargo.toml"]).expect(3).says(&["there is no run yet"]);
    without_a_trace(&["clean"]).expect(0).says(&["nothing was left behind"]);
    without_a_trace(&["clean", "0199c3f2"]).expect(3).says(&["there is no run `0199c3f2`"]);
}

#[test]
fn bytes_that_are_no_text_are_refused_in_words() {
    let odd = OsStr::from_bytes(b"gate\xffway");
    let with = |arguments: &[&OsStr]| {
        let target = scratch("odd");
        ask(tool(&target).args(arguments.iter().map(|argument| argument.to_os_string())))
    };
    let e2e = OsStr::new("e2e");
    for arguments in [&[e2e, odd][..], &[e2e, OsStr::new("--jobs"), odd], &[OsStr::new("audit"), odd]] {
        let answer = with(arguments).expect(2);
        answer.says(&["UTF-8"]);
        assert_eq!(answer.out, "");
    }
    with(&[odd]).expect(2).says(&["unrecognized subcommand"]);
    let filter = [e2e, OsStr::new("--plan"), OsStr::new("gateway"), OsStr::new("--"), odd];
    with(&filter).expect(2).says(&["UTF-8"]);
}

#[test]
fn a_target_directory_that_cannot_be_is_named() {
    let answer = ask(tool(Path::new("/dev/null")).args(["e2e", "gateway"])).expect(3);
    answer.says(&["make the directory `/dev/null/e2e/runs/"]);
}

/// Runs a line of shell in which `$0` is the tool.
fn shell(line: &str, arguments: &[&str]) -> Answer {
    let (target, pipe) = (scratch("shell"), scratch("pipe"));
    let command = plain(Cmd::new("sh")).args(["-c", line]).arg(env!("CARGO_BIN_EXE_xtask"));
    let command = command.args(arguments.iter().map(OsString::from)).env("CARGO_TARGET_DIR", target).env("PIPE", &pipe);
    let answer = ask(command);
    drop(fs::remove_file(pipe));
    answer
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for arguments in [&["e2e", "--list"][..], &["e2e", "--all", "--plan", "--format", "json"], &["e2e", "--help"]] {
        // Open for both, so that neither open waits; then only the writing end is left.
        let answer = shell("mkfifo $PIPE; exec 4<>$PIPE; exec 5>$PIPE; exec 4<&-; exec \"$0\" \"$@\" >&5", arguments);
        assert_eq!(answer.expect(0).err, "", "{arguments:?}");
        assert_eq!(shell("exec \"$0\" \"$@\" >&-", arguments).expect(0).err, "", "{arguments:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    for arguments in [&["e2e", "--list"][..], &["e2e", "--all", "--plan", "--format", "json"]] {
        shell("exec \"$0\" \"$@\" >/dev/full", arguments).expect(3).says(&["write to stdout", "No space left"]);
    }
    // Nobody can be told that stderr is closed; the exit code still tells.
    shell("exec \"$0\" \"$@\" 2>&-", &["e2e", "gatewey"]).expect(2);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let colours = |text: &str| text.contains("\x1b[");
    let plain = without_a_trace(&["e2e", "--help"]);
    assert!(!colours(&plain.out) && !colours(&without_a_trace(&["e2e", "--al"]).err));
    // util-linux's: gives the command a terminal.
    if ask(Cmd::new("sh").args(["-c", "command -v script || true"])).out.is_empty() {
        return skip("`script` is not installed: what a terminal shows is not looked at");
    }
    let terminal = |variables: &str| {
        let line = format!("{variables} TERM=xterm script -qec \"$0 e2e --help\" /dev/null");
        shell(&line, &[]).expect(0).out
    };
    assert!(colours(&terminal("")), "a terminal gets colours");
    assert!(!colours(&terminal("NO_COLOR=1")));
}

/// Says why nothing was tested.
#[expect(clippy::print_stderr, reason = "the rule for tests that need a tool: one line says that they were left out")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
