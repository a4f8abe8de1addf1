//! The real binary, which can be killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use e2e_suite::{Client, eventually};

use super::{Database, LIMIT, TOKEN};

/// The service as a process; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) fn spawn(database: &Database) -> Process {
        Process::spawn_with(&[("DATABASE_URL", &database.url), ("API_TOKEN", TOKEN), ("LISTEN_ADDR", "127.0.0.1:0")])
    }

    /// With these variables and no others.
    pub(crate) fn spawn_with(variables: &[(&str, &str)]) -> Process {
        let mut command = command(env!("CARGO_BIN_EXE_datastorage"));
        command.env_clear().envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&lines);
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().for_each(|line| log.lock().unwrap().push(line.unwrap()))
        });
        Process { child, lines }
    }

    /// Waits until it listens.
    pub(crate) fn client(&self) -> Client {
        let line = self.wait_for_line("listening on ");
        let address = line.split("listening on ").nth(1).unwrap().split(',').next().unwrap();
        Client::new(&format!("http://{address}"), Some(TOKEN))
    }

    /// Waits for a line of its log that has this text.
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        eventually(&format!("log line `{text}`"), LIMIT, || {
            let lines = self.lines.lock().unwrap();
            lines.iter().find(|line| line.contains(text)).cloned().ok_or_else(|| format!("{lines:#?}"))
        })
    }

    /// SIGKILL: it gets no chance to finish anything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let sent =
            command("sh").args(["-c", "kill -TERM \"$1\"", "sh", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the end of the process", LIMIT, || {
            self.child.try_wait().unwrap().ok_or_else(|| format!("{:#?}", self.lines.lock().unwrap()))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // an error means that it has ended already
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "a service's tests know nothing of the tool's supervise crate")]
pub(super) fn command(program: &str) -> Command {
    Command::new(program)
}
