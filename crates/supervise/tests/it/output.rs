//! What a command writes and reads.

use std::io::{Error, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use supervise::{Cancel, Cmd, CmdErrorKind};

use crate::{LIMIT, folder, next, sh, text, with_lines};

#[test]
fn stdout_and_stderr_come_in_the_order_written() {
    let output = sh("for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done").run(&Cancel::new()).unwrap();
    let expected: Vec<_> = (1..=5).flat_map(|i| [format!("out {i}"), format!("err {i}")]).collect();
    assert_eq!(output.tail, expected);
    assert!(output.stdout.is_empty());
}

#[test]
fn captured_stdout_is_apart_and_exact() {
    let output = sh("printf 'a\\377\\nb'; echo words >&2").capture_stdout().run(&Cancel::new()).unwrap();
    assert_eq!(output.stdout, b"a\xff\nb");
    assert_eq!(output.tail, ["words"]);
    let error = sh("echo partial; echo why >&2; exit 4").capture_stdout().run(&Cancel::new()).unwrap_err();
    assert_eq!((error.stdout.as_slice(), error.tail.as_slice()), (&b"partial\n"[..], &["why".to_owned()][..]));
    assert!(error.to_string().ends_with("failed: exit status 4"), "{error}");
}

#[test]
fn too_much_captured_stdout_ends_the_command() {
    let started = Instant::now();
    let error = Cmd::new("yes").capture_stdout().run(&Cancel::new()).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::OutputTooLarge), "{error}");
    assert!(error.stdout.len() <= 64 << 20 && started.elapsed() < LIMIT);
}

#[test]
fn only_run_gives_captured_stdout() {
    let error = Cmd::new("true").capture_stdout().spawn(&Cancel::new()).unwrap_err();
    assert!(matches!(&error.kind, CmdErrorKind::Spawn(_)) && error.to_string().contains("`run`"), "{error}");
}

#[test]
fn bad_bytes_and_endless_lines_end_nothing() {
    let script = "printf 'bad \\377 byte\\r\\n'; head -c 1000000 /dev/zero | tr '\\0' a; printf '\\nno line end'";
    let (cmd, lines) = with_lines(sh(script));
    let output = cmd.run(&Cancel::new()).unwrap();
    assert_eq!(next(&lines), "bad \u{fffd} byte");
    assert_eq!(next(&lines), format!("{}… (991808 bytes cut)", "a".repeat(8192)));
    assert_eq!(next(&lines), "no line end");
    assert_eq!(output.tail.len(), 3);
}

#[test]
fn the_tail_is_the_last_40_lines() {
    let output = sh("seq 1000").run(&Cancel::new()).unwrap();
    assert_eq!(output.tail, (961..=1000).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn the_log_has_every_byte_and_only_its_owner_reads_it() {
    let path = folder("log").join("build.log");
    for script in ["printf 'one\\377\\n'; echo two >&2", "printf 'no end'"] {
        sh(script).log(&path).run(&Cancel::new()).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"one\xff\ntwo\nno end");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_log_that_cannot_be_written_is_told() {
    let error = sh("echo line").log("/no-such-folder/x.log").run(&Cancel::new()).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::Io(_)) && error.to_string().contains("/no-such-folder"), "{error}");
    let error = sh("echo line").log("/dev/full").run(&Cancel::new()).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::Io(_)) && error.to_string().contains("write log"), "{error}");
    assert_eq!(error.tail, ["line"], "the lines come all the same");
}

#[test]
fn nothing_to_read_unless_given() {
    assert_eq!(text(sh("readlink /proc/self/fd/0")), "/dev/null");
    let path = folder("stdin").join("file");
    std::fs::write(&path, "from a file").unwrap();
    assert_eq!(text(Cmd::new("cat").stdin_file(std::fs::File::open(path).unwrap())), "from a file");
}

#[test]
fn fifty_megabytes_go_through_stdin() {
    const SIZE: usize = 50 << 20;
    let cmd = Cmd::new("wc").arg("-c").stdin_writer(|stdin| {
        let chunk = vec![b'x'; 1 << 20];
        (0..SIZE >> 20).try_for_each(|_| stdin.write_all(&chunk))
    });
    assert_eq!(text(cmd), SIZE.to_string());
}

#[test]
fn a_child_that_stops_reading_is_judged_by_its_status() {
    let feed = |stdin: &mut dyn Write| loop {
        // A library in between may turn the broken pipe into an error of its own.
        stdin.write_all(&[b'x'; 65536]).map_err(Error::other)?;
    };
    assert_eq!(text(sh("head -c 1").stdin_writer(feed)), "x");
    Cmd::new("true").stdin_writer(feed).run(&Cancel::new()).unwrap();
    let error = sh("exec 0<&-; exit 5").stdin_writer(feed).run(&Cancel::new()).unwrap_err();
    assert!(matches!(&error.kind, CmdErrorKind::Exit(status) if status.code() == Some(5)), "{error}");
}

#[test]
fn a_writer_is_freed_when_an_escaped_process_holds_stdin() {
    let started = Instant::now();
    let script = "exec 3<&0; setsid sleep 1000 <&3 >/dev/null 2>&1 & echo $!";
    let feed = |stdin: &mut dyn Write| loop {
        stdin.write_all(&[b'x'; 65536])?;
    };
    let output = sh(script).stdin_writer(feed).run(&Cancel::new()).unwrap();
    assert!(started.elapsed() < LIMIT);
    crate::signal("KILL", output.tail[0].parse().unwrap());
}

#[test]
fn input_that_was_cut_short_fails_the_command() {
    let cmd = Cmd::new("cat").stdin_writer(|stdin| {
        stdin.write_all(b"half")?;
        Err(Error::other("blob sha256:1 is gone"))
    });
    let error = cmd.run(&Cancel::new()).unwrap_err();
    assert_eq!(error.to_string(), "`cat` failed: write stdin: blob sha256:1 is gone");
}

#[test]
fn what_can_be_used_once_is_not_used_twice() {
    let cmd = Cmd::new("cat").stdin_writer(|stdin| stdin.write_all(b"once"));
    let (first, second) = (cmd.clone(), cmd);
    assert_eq!(text(first), "once");
    let error = second.run(&Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("stdin was used up"), "{error}");
}

#[test]
fn a_receiver_that_panics_fails_the_command_and_hangs_nothing() {
    let error = sh("echo line; exec sleep 0.01").on_line(|_| panic!("on purpose")).run(&Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}
