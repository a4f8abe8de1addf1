//! How the tests ask the tool, and where its runs go.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use image::RunId;
use supervise::{Cancel, Cmd, CmdErrorKind};

use crate::ran::Ran;

/// A cold build of everything on a small machine takes minutes.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long something may take that the tool does within a second or two when the machine has nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(2);

/// What a command answered.
pub(crate) struct Answer {
    /// Exit code; 128 and the number of the signal that ended it.
    pub(crate) code: i32,
    /// Standard output: data.
    pub(crate) out: String,
    /// Standard error: for people.
    pub(crate) err: String,
}

impl Answer {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Answer {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Standard output as JSON, all of it.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("stdout is no JSON ({error}): {}", self.out))
    }

    /// Asserts that people are told all of this.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.err.contains(word), "nothing says `{word}`: {}", self.err);
        }
    }
}

/// Runs a command to its end.
pub(crate) fn ask(command: Cmd) -> Answer {
    let log = scratch("stderr");
    let result = command.capture_stdout().log(&log).deadline(LIMIT).run(&Cancel::new());
    let err = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    drop(fs::remove_file(&log));
    let (code, out) = match result {
        Ok(output) => (0, output.stdout),
        Err(error) => match error.kind {
            CmdErrorKind::Exit(status) => {
                (status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)), error.stdout)
            }
            _ => panic!("{error}\n{err}"),
        },
    };
    // What a failed test printed is shown too, and set off.
    let panicked = err.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"));
    assert!(!panicked, "the tool panicked: {err}");
    Answer { code, out: String::from_utf8(out).expect("what the tool writes to stdout is text"), err }
}

/// The tool, with a target directory. What a CI service sets is withheld: the tool would write there.
pub(crate) fn tool(target: &Path) -> Cmd {
    let command = Cmd::new(env!("CARGO_BIN_EXE_xtask")).env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"));
    plain(command.env("CARGO_TARGET_DIR", target))
}

/// A command without what would make the tool behave as in CI or at a terminal.
pub(crate) fn plain(command: Cmd) -> Cmd {
    command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY").env_remove("CI").env_remove("NO_COLOR")
}

/// A path that nothing has, for a file or a folder of one test.
pub(crate) fn scratch(what: &str) -> PathBuf {
    temporary().join(format!("{what}-{}", RunId::new()))
}

pub(crate) fn temporary() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a workspace")
}

/// Waits until something is there.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let (start, never) = (Instant::now(), Cancel::new());
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        never.wait(LOOK);
    }
}

/// Sends a signal, as a user does.
pub(crate) fn signal(name: &str, pid: u32) {
    let kill = Cmd::new("sh").args(["-c".to_owned(), format!("kill -{name} {pid}")]);
    kill.run(&Cancel::new()).expect("the process is there");
}

/// The permission to make real runs: who has it is alone.
pub(crate) struct Real {
    target: &'static Path,
    _turn: MutexGuard<'static, ()>,
}

impl Real {
    pub(crate) fn take() -> Real {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Real { target: home(), _turn: turn }
    }

    /// The tool, with these arguments.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Cmd {
        tool(self.target).args(arguments.iter().copied())
    }

    /// Runs the tool to its end.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Answer {
        ask(self.tool(arguments))
    }

    /// Runs `e2e` to its end; gives the run that it made.
    pub(crate) fn e2e(&self, arguments: &[&str]) -> (Answer, Ran) {
        self.during(arguments, |_| {})
    }

    /// Runs `e2e` to its end and meanwhile does something with the run.
    pub(crate) fn during(&self, arguments: &[&str], meanwhile: impl FnOnce(&Ran)) -> (Answer, Ran) {
        let before = self.runs();
        let command = self.tool(&["e2e"]).args(arguments.iter().copied());
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(command));
            let ran = eventually("a run begins", || {
                if asked.is_finished() {
                    return Some(None);
                }
                let new = self.runs().into_iter().find(|run| !before.contains(run))?;
                let ran = Ran::new(new);
                ran.text().contains('\n').then_some(Some(ran))
            });
            if let Some(ran) = &ran {
                meanwhile(ran);
            }
            let answer = asked.join().expect("it was asked");
            let ran = ran.or_else(|| self.runs().into_iter().find(|run| !before.contains(run)).map(Ran::new));
            let ran = ran.unwrap_or_else(|| panic!("there was no run: {}", answer.err));
            (answer, ran)
        })
    }

    /// The directories of all runs.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        folders(&self.target.join("e2e/runs"))
    }

    /// What `latest` points to.
    pub(crate) fn latest(&self) -> PathBuf {
        fs::canonicalize(self.target.join("e2e/latest")).expect("there is a run")
    }

    /// The file that cargo locks while it builds programs: who holds it keeps the build from going on.
    pub(crate) fn hold_the_build(&self) -> File {
        let profiles =
            folders(&self.target.join("e2e/build")).into_iter().map(|folder| folder.join("image/.cargo-lock"));
        let locks: Vec<_> = profiles.filter(|path| path.is_file()).collect();
        assert_eq!(locks.len(), 1, "cargo locks the folder of a target and a profile: {locks:?}");
        let file = File::options().write(true).open(&locks[0]).unwrap();
        file.lock().unwrap();
        file
    }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// A target directory of the tests' own: the user's runs are not touched. What is built is shared with the real one, so
/// that nothing is compiled a second time.
pub(crate) fn home() -> &'static Path {
    static HOME: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (path, _) = HOME.get_or_init(|| {
        let real = temporary().parent().expect("it lies in the target directory");
        let path = temporary().join("xtask-home");
        fs::create_dir_all(path.join("e2e")).unwrap();
        // Another process of the same test waits.
        let lock = File::create(path.join("lock")).unwrap();
        lock.lock().unwrap();
        for shared in ["debug", "e2e/build"] {
            fs::create_dir_all(real.join(shared)).unwrap();
            link(&real.join(shared), &path.join(shared)).unwrap();
        }
        // What an earlier process of this test left when it was killed.
        for run in folders(&path.join("e2e/runs")) {
            let id = run.file_name().unwrap_or_default().to_owned();
            drop(ask(tool(&path).args([OsString::from("clean"), id])));
            fs::remove_dir_all(run).unwrap();
        }
        (path, lock)
    });
    path
}

fn link(to: &Path, at: &Path) -> io::Result<()> {
    match symlink(to, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}
