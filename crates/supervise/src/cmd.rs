//! The description of a command: what runs, with what, under which limits.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::child_setup::Sandbox;
use crate::error::{CmdError, CmdErrorKind};
use crate::lock;
use crate::output::{LineFn, StdinFn};
use crate::quote::{quote, quote_program};

/// Time between TERM and KILL when nothing else was said.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// Describes a command; [`Cmd::run`] waits for it, [`Cmd::spawn`] leaves it running.
///
/// It is shown as one line for a POSIX shell that a person can paste: `cd DIR && K=v program args`, with `env -i` or
/// `env -u K` where the environment is not inherited as it is. A secret value is shown as `***`, a [`Sandbox`] as
/// the chroot(1) or setpriv(1) call that comes nearest.
///
/// The program is looked up in the child's PATH if its name has no `/`. A relative name with `/` counts from
/// [`Cmd::current_dir`], and with a sandbox root everything counts inside that root. The child gets a process group of
/// its own and nothing to read unless stdin is given: a background group that reads the terminal would be stopped.
///
/// What can be used only once (stdin, listeners) goes to whichever clone of a command starts first; the others fail.
#[derive(Clone)]
pub struct Cmd {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    env: Vec<(OsString, Var)>,
    env_clear: bool,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) stdin: Stdin,
    pub(crate) capture_stdout: bool,
    pub(crate) log: Option<PathBuf>,
    pub(crate) log_directly: bool,
    pub(crate) on_line: Option<LineFn>,
    pub(crate) listeners: Option<Once<Vec<TcpListener>>>,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

#[derive(Clone)]
enum Var {
    Set(OsString),
    Secret(OsString),
    Removed,
}

#[derive(Clone)]
pub(crate) enum Stdin {
    Null,
    File(Once<File>),
    Writer(Once<StdinFn>),
}

/// A value that the clones of a command share and the first start takes.
pub(crate) struct Once<T>(Arc<Mutex<Option<T>>>);

impl<T> Once<T> {
    fn new(value: T) -> Once<T> {
        Once(Arc::new(Mutex::new(Some(value))))
    }

    pub(crate) fn take(&self, what: &str) -> io::Result<T> {
        let value = lock(&self.0).take();
        value.ok_or_else(|| io::Error::other(format!("{what} was used up by an earlier start of this command")))
    }
}

impl<T> Clone for Once<T> {
    fn clone(&self) -> Once<T> {
        Once(Arc::clone(&self.0))
    }
}

/// Hears of the commands that run; both calls come from the thread that started the command, or that drops it.
pub trait Observer: Send + Sync {
    /// A command runs as process `pid`. The answer is handed back at its end.
    fn started(&self, line: &str, pid: u32) -> u64;
    /// The command is over, told once: how in words, whether it succeeded, and whether processes stayed behind that had
    /// to be killed. A [`crate::Process`] is over when it is stopped or dropped.
    fn ended(&self, id: u64, status: &str, ok: bool, leaked: bool);
}

impl Cmd {
    /// A command without arguments that inherits this process's environment and working directory.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Cmd {
        Cmd {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            env_clear: false,
            current_dir: None,
            deadline: None,
            grace: DEFAULT_GRACE,
            stdin: Stdin::Null,
            capture_stdout: false,
            log: None,
            log_directly: false,
            on_line: None,
            listeners: None,
            sandbox: None,
            observer: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Cmd {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Cmd {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(self, key: impl Into<OsString>, value: impl Into<OsString>) -> Cmd {
        self.var(key.into(), Var::Set(value.into()))
    }

    /// Sets an environment variable whose value is never shown.
    #[must_use]
    pub fn secret_env(self, key: impl Into<OsString>, value: impl Into<OsString>) -> Cmd {
        self.var(key.into(), Var::Secret(value.into()))
    }

    /// Does not pass an environment variable on, inherited or set.
    #[must_use]
    pub fn env_remove(self, key: impl Into<OsString>) -> Cmd {
        self.var(key.into(), Var::Removed)
    }

    /// Inherits nothing. What is set for this command stays, whether it was set before or is set after.
    #[must_use]
    pub fn env_clear(mut self) -> Cmd {
        self.env_clear = true;
        self
    }

    /// Runs it in this folder. With a [`Sandbox`] use its `dir` instead.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Cmd {
        self.current_dir = Some(dir.into());
        self
    }

    /// How long [`Cmd::run`] lets it run before it is ended. [`Cmd::spawn`] does not look at it.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> Cmd {
        self.deadline = Some(limit);
        self
    }

    /// How long its group may take to end after TERM before KILL comes; 5 s unless set. Zero means KILL at once.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Cmd {
        self.grace = grace;
        self
    }

    /// Gives it a file to read.
    #[must_use]
    pub fn stdin_file(mut self, file: File) -> Cmd {
        self.stdin = Stdin::File(Once::new(file));
        self
    }

    /// Feeds its stdin from a thread of its own; the pipe closes when `writer` returns.
    ///
    /// When the child ends early, writes fail with `BrokenPipe`, and whatever `writer` makes of that is not reported: the
    /// child's exit status is the verdict. Any other error of `writer` fails the command, as it read only a part.
    #[must_use]
    pub fn stdin_writer(mut self, writer: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Cmd {
        self.stdin = Stdin::Writer(Once::new(Box::new(writer)));
        self
    }

    /// Keeps stdout whole and apart from stderr, as bytes up to 64 MiB; only for [`Cmd::run`]. Lines, tail and log are
    /// then those of stderr. Without it both go, in the order written, into one pipe.
    #[must_use]
    pub fn capture_stdout(mut self) -> Cmd {
        self.capture_stdout = true;
        self
    }

    /// Appends the raw output to a file, which is made with mode 0600.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Cmd {
        self.log = Some(path.into());
        self
    }

    /// Appends the output to a file that the child itself holds: nothing is lost, and the child may go on writing, when
    /// this process ends. There are no lines and no tail then; [`crate::tail_of`] reads the file.
    #[must_use]
    pub fn log_directly(mut self, path: impl Into<PathBuf>) -> Cmd {
        self.log = Some(path.into());
        self.log_directly = true;
        self
    }

    /// Calls `receiver` with each line, without its end, bad UTF-8 replaced, cut after 8 KiB. It runs on the thread that
    /// reads the output: while it works, the child may block on a full pipe.
    #[must_use]
    pub fn on_line(mut self, receiver: impl Fn(&str) + Send + Sync + 'static) -> Cmd {
        self.on_line = Some(Arc::new(receiver));
        self
    }

    /// Passes listening sockets as fd 3 and on, with `LISTEN_FDS` set to their number, as sd_listen_fds(3) expects.
    /// `LISTEN_PID` stays unset, since the pid is not known before the environment is. They close here at the start.
    #[must_use]
    pub fn listeners(mut self, listeners: Vec<TcpListener>) -> Cmd {
        let count = listeners.len().to_string();
        self.listeners = Some(Once::new(listeners));
        self.env("LISTEN_FDS", count).env_remove("LISTEN_PID").env_remove("LISTEN_FDNAMES")
    }

    /// Changes root, folder or user before the program starts.
    #[must_use]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Cmd {
        self.sandbox = Some(sandbox);
        self
    }

    /// Tells `observer` of its start and its end.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Cmd {
        self.observer = Some(observer);
        self
    }

    fn var(mut self, key: OsString, var: Var) -> Cmd {
        match self.env.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = var,
            None => self.env.push((key, var)),
        }
        self
    }

    /// An error before there is any output.
    pub(crate) fn error(&self, kind: CmdErrorKind) -> CmdError {
        CmdError {
            kind,
            program: Box::new(self.program.clone()),
            line: self.to_string(),
            tail: Vec::new(),
            log: self.log.clone(),
            stdout: Vec::new(),
        }
    }

    /// The whole environment of the child.
    pub(crate) fn environment(&self) -> io::Result<HashMap<OsString, OsString>> {
        let mut env: HashMap<_, _> = if self.env_clear { HashMap::new() } else { std::env::vars_os().collect() };
        for (key, var) in &self.env {
            if key.is_empty() || key.as_bytes().contains(&b'=') {
                let text = format!("environment variable name {key:?} must not be empty or contain `=`");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            match var {
                Var::Set(value) | Var::Secret(value) => env.insert(key.clone(), value.clone()),
                Var::Removed => env.remove(key),
            };
        }
        Ok(env)
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dir) = &self.current_dir {
            write!(f, "cd {} && ", quote(dir.as_os_str()))?;
        }
        // Removing what is not there changes nothing, so it is not shown.
        let removed = |key: &OsStr| std::env::var_os(key).is_some();
        if self.env_clear {
            f.write_str("env -i ")?;
        } else {
            let mut first = true;
            for (key, _) in self.env.iter().filter(|(key, var)| matches!(var, Var::Removed) && removed(key)) {
                write!(f, "{}-u {} ", if first { "env " } else { "" }, quote(key))?;
                first = false;
            }
        }
        for (key, var) in &self.env {
            match var {
                Var::Set(value) => write!(f, "{}={} ", quote(key), quote(value))?,
                Var::Secret(_) => write!(f, "{}=*** ", quote(key))?,
                Var::Removed => {}
            }
        }
        if let Some(sandbox) = &self.sandbox {
            match (&sandbox.root, sandbox.user) {
                (Some(root), Some((user, group))) => {
                    write!(f, "chroot --userspec={user}:{group} {} ", quote(root.as_os_str()))?;
                }
                (Some(root), None) => write!(f, "chroot {} ", quote(root.as_os_str()))?,
                (None, Some((user, group))) => write!(f, "setpriv --reuid={user} --regid={group} --clear-groups ")?,
                (None, None) => {}
            }
        }
        f.write_str(&quote_program(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quote(arg)))
    }
}

impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never derived: that would show secret values.
        write!(f, "Cmd(`{self}`)")
    }
}
