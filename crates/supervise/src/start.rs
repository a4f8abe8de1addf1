//! From a description to a running child with its threads.
//!
//! duct makes the process, in a group of its own from the first instruction on (`process_group(0)` before the spawn:
//! the group exists when the spawn returns). What duct would do beyond that is done here, because its waits last as
//! long as any grandchild holds a captured pipe, and its kill reaches only the leader.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::child::Child;
use crate::child_setup::ChildSetup;
use crate::cmd::{Cmd, Stdin};
use crate::error::{CmdError, CmdErrorKind};
use crate::group::Group;
use crate::monitor::{Monitor, Pump};
use crate::output::{self, Lines, Splitter, StdinFn};

/// How often and how long apart a start is tried again that failed only because other threads start something too.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// The ends of the pipes that stay here.
struct Ends {
    lines: PipeReader,
    stdout: Option<PipeReader>,
    stdin: Option<(PipeWriter, StdinFn)>,
    log: Option<std::fs::File>,
}

/// Starts the command, unless `cancel` was raised already.
pub(crate) fn start(cmd: Cmd, cancel: &Cancel) -> Result<Child, CmdError> {
    if cancel.is_cancelled() {
        return Err(cmd.error(CmdErrorKind::Cancelled));
    }
    crate::signals::keep_sigchld();
    let started = Instant::now();
    let (handle, ends) = launch(&cmd, cancel).map_err(|kind| cmd.error(kind))?;
    let pid = handle.pids().first().copied().unwrap_or(0);
    let group = Group::new(pid).map_err(|error| cmd.error(CmdErrorKind::Spawn(error)))?;
    // From here on dropping `child` kills the group: no error below leaves a process behind.
    let mut child = Child::new(cmd, pid, started, Arc::new(Monitor::new(group)), cancel.clone());
    serve(&mut child, handle, ends).map_err(|error| child.error(CmdErrorKind::Spawn(error)))?;
    cancel.watch(&child.monitor);
    if cancel.is_kill() {
        // Raised between the first look and the watch.
        child.monitor.group.kill();
    }
    child.announce();
    Ok(child)
}

/// Starts the threads: one that waits for the leader, one at each pipe.
fn serve(child: &mut Child, handle: duct::Handle, ends: Ends) -> io::Result<()> {
    let (wake, wake_sender) = io::pipe()?;
    let monitor = &child.monitor;
    let waiting = Arc::clone(monitor);
    let mut threads = vec![thread("wait", move || waiting.leader_ended(handle.wait().map(|output| output.status)))?];
    let lines = Lines {
        log: ends.log,
        tail: child.tail.clone(),
        on_line: child.cmd.on_line.clone(),
        splitter: Splitter::default(),
    };
    let lines_wake = wake.try_clone()?;
    threads.push(pump(monitor, Pump::Lines, move |monitor| {
        output::read_lines(ends.lines, lines_wake, monitor, lines);
    })?);
    if let Some(pipe) = ends.stdout {
        let (wake, kept) = (wake.try_clone()?, Arc::clone(&child.stdout));
        threads.push(pump(monitor, Pump::Stdout, move |monitor| output::read_all(pipe, wake, monitor, &kept))?);
    }
    if let Some((pipe, writer)) = ends.stdin {
        threads.push(pump(monitor, Pump::Stdin, move |monitor| output::write_stdin(pipe, wake, monitor, writer))?);
    }
    child.attach(wake_sender, threads);
    Ok(())
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(body)
}

/// A thread at one of the pipes. Counted as open before it runs, so that nobody finds it not begun and goes on.
fn pump(
    monitor: &Arc<Monitor>,
    pump: Pump,
    body: impl FnOnce(&Monitor) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    monitor.open(pump);
    let inner = Arc::clone(monitor);
    thread("pipe", move || body(&inner)).inspect_err(|_| monitor.close(pump))
}

fn launch(cmd: &Cmd, cancel: &Cancel) -> Result<(duct::Handle, Ends), CmdErrorKind> {
    let log = match &cmd.log {
        Some(path) => Some(open_log(path).map_err(CmdErrorKind::Io)?),
        None => None,
    };
    let listeners = match &cmd.listeners {
        Some(listeners) => listeners.take("the listener list").map_err(CmdErrorKind::Spawn)?,
        None => Vec::new(),
    };
    let setup = Arc::new(ChildSetup::new(listeners, cmd.sandbox.as_ref()).map_err(CmdErrorKind::Spawn)?);
    let (expression, ends) = describe(cmd, &setup, log).map_err(CmdErrorKind::Spawn)?;
    let mut tries = 0;
    let handle = loop {
        match expression.start() {
            Ok(handle) => break handle,
            // Busy: a process that another thread forked a moment ago still holds our descriptor on a file that we have
            // just written; it closes at its exec (golang/go#22315).
            Err(error)
                if tries < BUSY_TRIES
                    && (error.kind() == io::ErrorKind::ExecutableFileBusy || setup.is_collision(&error)) =>
            {
                tries += 1;
                if cancel.wait(BUSY_PAUSE) {
                    return Err(CmdErrorKind::Cancelled);
                }
            }
            Err(error) => return Err(setup.explain(&error).map_or_else(|| diagnose(cmd, error), CmdErrorKind::Spawn)),
        }
    };
    // The expression holds the child's ends of the pipes: while it lives, no reader ever sees their end.
    drop(expression);
    Ok((handle, ends))
}

#[expect(clippy::disallowed_methods, reason = "the one place that makes processes")]
fn describe(cmd: &Cmd, setup: &Arc<ChildSetup>, log: Option<std::fs::File>) -> io::Result<(duct::Expression, Ends)> {
    let (lines, lines_out) = io::pipe()?;
    let base = duct::cmd(&cmd.program, &cmd.args).unchecked().full_env(cmd.environment()?);
    // duct's own `dir` would resolve a relative program against *our* working directory and follow its links.
    let (dir, setup) = (cmd.current_dir.clone(), Arc::clone(setup));
    let base = base.before_spawn(move |command| {
        command.process_group(0);
        if let Some(dir) = &dir {
            command.current_dir(dir);
        }
        setup.install(command);
        Ok(())
    });
    let (base, stdin) = match &cmd.stdin {
        Stdin::Null => (base.stdin_null(), None),
        Stdin::File(file) => (base.stdin_file(file.take("stdin")?), None),
        Stdin::Writer(writer) => {
            let (read, write) = io::pipe()?;
            (base.stdin_file(read), Some((write, writer.take("stdin")?)))
        }
    };
    if let (true, Some(file)) = (cmd.log_directly, &log) {
        // The pipe has no writer: its reader is done at once.
        let expression = base.stderr_to_stdout().stdout_file(file.try_clone()?);
        return Ok((expression, Ends { lines, stdout: None, stdin, log: None }));
    }
    if cmd.capture_stdout {
        let (stdout, stdout_out) = io::pipe()?;
        let expression = base.stdout_file(stdout_out).stderr_file(lines_out);
        Ok((expression, Ends { lines, stdout: Some(stdout), stdin, log }))
    } else {
        // The order matters: duct applies the outer redirection first, so stderr follows stdout into the pipe. One pipe
        // for both keeps the order in which the child wrote.
        let expression = base.stderr_to_stdout().stdout_file(lines_out);
        Ok((expression, Ends { lines, stdout: None, stdin, log }))
    }
}

fn open_log(path: &Path) -> io::Result<std::fs::File> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map_err(|error| io::Error::new(error.kind(), format!("open log `{}`: {error}", path.display())))
}

/// Where a program is on this process's PATH, if it is there. Whether it may be executed is not looked at.
pub fn find_program(name: &str) -> Option<PathBuf> {
    find_in(&std::env::var_os("PATH")?, OsStr::new(name))
}

fn find_in(path: &OsStr, program: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// exec(3) and chdir(2) report the same ENOENT for a missing program, folder, interpreter and loader.
fn diagnose(cmd: &Cmd, error: io::Error) -> CmdErrorKind {
    let kind = error.kind();
    let program = cmd.program.to_string_lossy();
    let spawn = |text| CmdErrorKind::Spawn(io::Error::new(kind, text));
    match &cmd.current_dir {
        Some(dir) if !dir.is_dir() => return spawn(format!("working directory `{}` does not exist", dir.display())),
        _ => {}
    }
    if kind == io::ErrorKind::PermissionDenied && cmd.sandbox.is_none() && !program.contains('/') {
        // execvp(3) also reports this when a folder of PATH may not be read and no other has the program.
        let path = cmd.environment().ok().and_then(|mut env| env.remove(OsStr::new("PATH"))).unwrap_or_default();
        return match find_in(&path, &cmd.program) {
            Some(file) => spawn(format!("`{}` may not be executed: {error}", file.display())),
            None => CmdErrorKind::NotFound,
        };
    }
    if kind != io::ErrorKind::NotFound {
        return CmdErrorKind::Spawn(error);
    }
    if let Some(root) = cmd.sandbox.as_ref().and_then(|sandbox| sandbox.root.as_ref()) {
        let root = root.display();
        return spawn(format!("`{program}` does not exist inside the root `{root}`, or its loader does not"));
    }
    let path = cmd.current_dir.as_deref().unwrap_or(Path::new("")).join(&cmd.program);
    if program.contains('/') && path.exists() {
        return spawn(format!("`{program}` exists, but the interpreter or loader that it names does not"));
    }
    CmdErrorKind::NotFound
}
