//! The line shown for a command does the same when pasted into a shell.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;

use supervise::{Cancel, Cmd, CmdErrorKind};

use crate::{folder, sh, stdout};

fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "",
        " ",
        "plain",
        "two words",
        "it's",
        "'",
        "''",
        "\"",
        "$HOME",
        "`id`",
        "\\",
        "\\n",
        "a\nb",
        "end\n",
        "\t",
        "*",
        "~",
        "!x",
        "#",
        "--a=b",
        "a=b",
        "ünïcödé",
        "\u{1b}[31m",
        "\r",
        "\u{7f}",
        "\u{9b}",
        "-n",
        "%s",
        ";&|<>()",
    ]
    .map(Into::into)
    .into();
    words.push(OsString::from_vec(vec![0xff, b'a', 0xc3, b'\'', 0xe2, 0x82]));
    words.push(OsString::from_vec((1..=255).collect()));
    words
}

#[test]
fn a_pasted_line_passes_the_same_arguments() {
    let cmd = Cmd::new("printf").arg("%s\\0").args(words());
    let direct = stdout(cmd.clone());
    assert_eq!(direct.iter().filter(|b| **b == 0).count(), words().len());
    assert_eq!(stdout(sh(&cmd.to_string())), direct, "{cmd}");
}

#[test]
fn a_pasted_line_has_the_same_environment_and_folder() {
    let script = "printf '%s|' \"$A\" \"${HOME-no home}\" \"${PATH-no path}\" \"$(pwd)\"";
    for word in words().iter().filter(|word| *word != OsStr::new("end\n")) {
        let dir = folder("quoting").join("it's a 'folder'\u{1b}");
        std::fs::create_dir_all(&dir).unwrap();
        let base = sh(script).env("A", word).current_dir(&dir);
        for cmd in [base.clone(), base.clone().env_remove("HOME"), base.env_clear()] {
            assert_eq!(stdout(sh(&cmd.to_string())), stdout(cmd.clone()), "{cmd}");
        }
    }
}

#[test]
fn a_line_reads_like_what_a_person_would_type() {
    let cmd = Cmd::new("cargo").args(["build", "--target=x"]).env("CARGO_TERM_COLOR", "never").current_dir("/a b");
    assert_eq!(cmd.to_string(), "cd '/a b' && CARGO_TERM_COLOR=never cargo build --target=x");
    assert_eq!(Cmd::new("x").env("K", "1").env("L", "2").env("K", "3").to_string(), "K=3 L=2 x");
}

#[test]
fn a_secret_is_passed_and_never_shown() {
    let cmd = sh("test \"$TOKEN\" = hunter2 || exit 9; exit 3").secret_env("TOKEN", "hunter2");
    for shown in [cmd.to_string(), format!("{cmd:?}")] {
        assert!(shown.contains("TOKEN=*** sh") && !shown.contains("TOKEN=hunter2"), "{shown}");
    }
    let error = cmd.run(&Cancel::new()).unwrap_err();
    assert!(matches!(&error.kind, CmdErrorKind::Exit(status) if status.code() == Some(3)), "{error}");
    assert!(error.line.starts_with("TOKEN=*** sh") && !format!("{error:?}").contains("TOKEN=hunter2"), "{error:?}");
}
