//! How a command is started: what is missing, environment, folder, sockets, root and user.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;

use supervise::{Cancel, Cmd, CmdErrorKind, Sandbox};

use crate::{LIMIT, folder, is_root, next, sh, stdout, text, with_lines};

fn spawn_error(cmd: Cmd) -> String {
    let error = cmd.run(&Cancel::new()).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::Spawn(_)), "{error}");
    error.to_string()
}

#[test]
fn a_missing_program_is_named_with_the_remedy() {
    let error = Cmd::new("no-such-program").arg("x").env("A", "b").run(&Cancel::new()).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::NotFound));
    let expected = "`A=b no-such-program x` could not be started: `no-such-program` must be installed and be on PATH";
    assert_eq!(error.to_string(), expected);
    let error = Cmd::new("/no/such/program").spawn(&Cancel::new()).unwrap_err();
    assert!(matches!(error.kind, CmdErrorKind::NotFound));
    assert!(error.to_string().ends_with("`/no/such/program` does not exist"), "{error}");
}

#[test]
fn what_else_is_missing_is_not_called_the_program() {
    let error = spawn_error(Cmd::new("true").current_dir("/no/such/folder"));
    assert!(error.ends_with("working directory `/no/such/folder` does not exist"), "{error}");
    let script = folder("interpreter").join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    sh("chmod +x \"$0\"").arg(&script).run(&Cancel::new()).unwrap();
    let error = spawn_error(Cmd::new(&script));
    assert!(error.contains("interpreter or loader that it names does not"), "{error}");
    let error = spawn_error(Cmd::new("true").env("A=B", "c"));
    assert!(error.contains("\"A=B\" must not be empty or contain `=`"), "{error}");
}

#[test]
fn the_environment_is_what_was_asked_for() {
    let env = |cmd: Cmd| String::from_utf8(stdout(cmd)).unwrap();
    assert_eq!(env(Cmd::new("/usr/bin/env").env("A", "1").env_clear().env("B", "2").env_remove("A")), "B=2\n");
    assert!(env(Cmd::new("env")).contains("PATH="));
    assert!(!env(Cmd::new("env").env_remove("HOME")).contains("\nHOME="));
}

#[test]
fn a_relative_program_counts_from_its_folder() {
    let dir = folder("relative");
    std::fs::write(dir.join("tool"), "#!/bin/sh\necho \"$0\" in \"$(pwd)\"\n").unwrap();
    sh("chmod +x tool && ln -s tool link").current_dir(&dir).run(&Cancel::new()).unwrap();
    let dir = dir.canonicalize().unwrap();
    // The link is not followed: some programs look at the name they are called by.
    assert_eq!(text(Cmd::new("./link").current_dir(&dir)), format!("./link in {}", dir.display()));
}

#[test]
fn fresh_executables_start_while_others_start() {
    // Without a second try, a few of these fail with `Text file busy`.
    let (dir, program) = (folder("busy"), std::fs::read("/bin/true").unwrap());
    thread::scope(|scope| {
        for worker in 0..4 {
            let (dir, program) = (&dir, &program);
            scope.spawn(move || {
                for i in 0..25 {
                    let path = dir.join(format!("true-{worker}-{i}"));
                    std::fs::write(&path, program).unwrap();
                    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
                    Cmd::new(&path).run(&Cancel::new()).unwrap();
                }
            });
        }
    });
}

#[test]
fn listeners_are_fd_3_and_on_in_their_order() {
    let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let socket = |listener: &TcpListener| {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        link.to_string_lossy().into_owned()
    };
    let expected: Vec<_> = listeners.iter().map(socket).collect();
    assert!(expected[0].starts_with("socket:["));
    let address = listeners[0].local_addr().unwrap();
    let script = "readlink /proc/self/fd/3 /proc/self/fd/4 /proc/self/fd/5
        readlink /proc/self/fd/6 || echo no more
        echo $LISTEN_FDS ${LISTEN_PID-unset}; sleep 1000";
    let (cmd, lines) = with_lines(sh(script).env("LISTEN_PID", "1").listeners(listeners));
    assert!(cmd.to_string().starts_with("LISTEN_FDS=3 "), "{cmd}");
    let process = cmd.spawn(&Cancel::new()).unwrap();
    assert_eq!((0..3).map(|_| next(&lines)).collect::<Vec<_>>(), expected);
    assert_eq!((next(&lines), next(&lines)), ("no more".to_owned(), "3 unset".to_owned()));
    assert!(TcpStream::connect_timeout(&address, LIMIT).is_ok(), "the child's socket listens");
    process.stop();
    assert!(TcpStream::connect_timeout(&address, LIMIT).is_err(), "nobody here keeps the socket open");
}

#[test]
fn a_missing_program_is_told_with_many_listeners_too() {
    // Descriptors that come and go free low numbers at any moment, which are those of the listeners.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let listeners = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
                    let error = Cmd::new("no-such-program").listeners(listeners).run(&Cancel::new()).unwrap_err();
                    assert!(matches!(error.kind, CmdErrorKind::NotFound), "{error}");
                }
            });
        }
    });
}

#[test]
fn a_folder_of_path_that_may_not_be_read_hides_nothing() {
    let dir = folder("unreadable");
    let tool = dir.join("tool");
    std::fs::write(&tool, "").unwrap();
    let path = std::env::join_paths([dir.as_path(), Path::new("/bin")]).unwrap();
    let error = spawn_error(Cmd::new("tool").env("PATH", &path));
    assert!(error.contains(&format!("`{}` may not be executed: Permission denied", tool.display())), "{error}");
}

#[test]
fn a_sandbox_folder_needs_no_rights() {
    let dir = folder("sandbox-dir").canonicalize().unwrap();
    let sandbox = Sandbox { dir: Some(dir.clone()), ..Sandbox::default() };
    assert_eq!(text(Cmd::new("pwd").sandbox(sandbox)), dir.to_string_lossy());
    let sandbox = Sandbox { dir: Some("/no/such/folder".into()), ..Sandbox::default() };
    let error = spawn_error(Cmd::new("pwd").sandbox(sandbox));
    assert!(error.contains("change to the folder `/no/such/folder` in the sandbox: No such file"), "{error}");
}

#[test]
fn a_sandbox_drops_the_user_and_every_group() {
    let sandbox = Sandbox { user: Some((65_532, 65_533)), ..Sandbox::default() };
    if !is_root() {
        let error = spawn_error(Cmd::new("id").sandbox(sandbox));
        assert!(error.contains("needs root"), "{error}");
        return;
    }
    let cmd = sh("id -u; id -g; id -G; grep -E '^(Uid|Groups|CapEff)' /proc/self/status").sandbox(sandbox);
    assert!(cmd.to_string().starts_with("setpriv --reuid=65532 --regid=65533 --clear-groups sh"), "{cmd}");
    let shown = text(cmd);
    let lines: Vec<_> = shown.lines().map(str::trim_end).collect();
    assert_eq!(lines[..3], ["65532", "65533", "65533"], "{shown}");
    assert_eq!(lines[3], "Uid:\t65532\t65532\t65532\t65532");
    assert_eq!(lines[4..], ["Groups:", "CapEff:\t0000000000000000"]);
}

#[test]
fn a_sandbox_root_is_where_the_program_is_looked_up() {
    let root = folder("root");
    let sandbox = Sandbox { root: Some(root.clone()), user: Some((65_532, 65_532)), dir: Some("/data".into()) };
    if !is_root() {
        let error = spawn_error(Cmd::new("/tool").sandbox(sandbox));
        assert!(error.contains("change the root to") && error.contains("needs root"), "{error}");
        return;
    }
    fill(&root);
    let script = "read line < mark; echo $line in $PWD; echo /*; echo .. is $(cd ..; pwd)";
    let shell = Cmd::new("/tool").args(["-c", script]);
    let cmd = shell.clone().sandbox(sandbox.clone()).env_clear().current_dir("/tmp");
    assert_eq!(text(cmd), "found in /data\n/data /lib /lib64 /tool /usr\n.. is /".replace(" /usr", usr(&root)));
    let error =
        spawn_error(shell.clone().sandbox(Sandbox { root: Some("/no/such/root".into()), ..Sandbox::default() }));
    assert!(error.contains("change the root to `/no/such/root`: No such file"), "{error}");
    let error = spawn_error(Cmd::new("/bin/no-such-tool").sandbox(sandbox.clone()));
    assert!(error.contains("does not exist inside the root"), "{error}");
    let error = spawn_error(shell.sandbox(Sandbox { dir: Some("/nowhere".into()), ..sandbox }));
    assert!(error.contains("change to the folder `/nowhere` in the sandbox"), "{error}");
}

fn usr(root: &Path) -> &'static str {
    if root.join("usr").exists() { " /usr" } else { "" }
}

/// Puts a shell with its libraries into `root`.
fn fill(root: &Path) {
    let script = r#"
        mkdir -p "$0/data" "$0/lib" "$0/lib64" && echo found > "$0/data/mark" && cp "$(readlink -f /bin/sh)" "$0/tool" &&
        ldd "$0/tool" | grep -o '/[^ ]*' | grep -v "^$0" | while read -r lib; do
            mkdir -p "$0$(dirname "$lib")" && cp -L "$lib" "$0$lib"
        done
        chmod -R a+rX "$0""#;
    sh(script).arg(root).run(&Cancel::new()).unwrap();
}
