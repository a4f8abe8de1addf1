//! The programs that this platform drives: `kind`, `kubectl`, and the engine whose containers are the nodes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;
use supervise::{Cancel, Cmd, CmdErrorKind, Observer};

use crate::ledger::RUN_MARK;
use crate::step::Step;

/// How long a question to a cluster or an engine may take.
pub(super) const ASK_LIMIT: Duration = Duration::from_secs(30);

/// An engine that makes nodes, as kind calls it. It is named to every call of `kind`: without that kind takes docker wherever
/// its client is installed, even if no docker runs.
pub use image::Engine as Provider;

/// Whether an engine answers; if not, why.
///
/// # Errors
/// Why it does not answer.
pub(super) fn answers(provider: Provider) -> Result<(), String> {
    // What is quick and asks the part that runs containers: `podman info` looks at everything for six times as long.
    let ask: &[&str] = match provider {
        Provider::Podman => &["ps", "--quiet"],
        Provider::Docker => &["version", "--format", "{{.Server.Version}}"],
    };
    match Cmd::new(provider.name()).args(ask.iter().copied()).deadline(ASK_LIMIT).run(&Cancel::new()) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind, CmdErrorKind::Deadline(_)) => {
            Err(format!("{error}; another process may hold its store, or the machine be overloaded"))
        }
        Err(error) => Err(error.tail.last().map_or_else(|| error.to_string(), |line| format!("{error}: {line}"))),
    }
}

/// What every call in one place has in common.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) provider: Provider,
    pub(super) kubeconfig: PathBuf,
    /// kubectl's memory of the kinds of objects. Its default is in the user's home, where nothing of a run may go.
    cache: PathBuf,
    run: String,
    cancel: Cancel,
    observer: Arc<dyn Observer>,
}

impl Tools {
    pub(super) fn new(step: &Step, provider: Provider, dir: &Path) -> Tools {
        Tools {
            provider,
            kubeconfig: dir.join("kubeconfig"),
            cache: dir.join("kubectl"),
            run: step.recorder().run_id().to_owned(),
            cancel: step.cancel().clone(),
            observer: step.observer(),
        }
    }

    /// The same as part of another step.
    pub(super) fn within(&self, step: &Step) -> Tools {
        Tools { cancel: step.cancel().clone(), observer: step.observer(), ..self.clone() }
    }

    /// The same for what must still be done when the run is cancelled.
    pub(super) fn uncancelled(&self) -> Tools {
        Tools { cancel: Cancel::new(), ..self.clone() }
    }

    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A program, recorded and marked as part of the run.
    pub(super) fn command(&self, program: &str) -> Cmd {
        Cmd::new(program).env(RUN_MARK, &self.run).observer(Arc::clone(&self.observer))
    }

    /// The engine.
    pub(super) fn engine(&self) -> Cmd {
        self.command(self.provider.name())
    }

    /// `kind`.
    pub(super) fn kind(&self) -> Cmd {
        kind_of(self.command("kind"), self.provider)
    }

    /// `kubectl` for this cluster and nothing else: no file of the user's is read or written.
    pub(super) fn kubectl(&self) -> Cmd {
        let command = self.command("kubectl").env("KUBERC", "off").arg("--kubeconfig").arg(self.kubeconfig.as_os_str());
        command.arg("--cache-dir").arg(self.cache.as_os_str()).deadline(ASK_LIMIT)
    }

    /// Objects of the cluster.
    ///
    /// # Errors
    /// If the API server does not give them.
    pub(super) fn get<T: DeserializeOwned>(&self, what: &[&str]) -> anyhow::Result<T> {
        let command = self.kubectl().arg("get").args(what.iter().copied()).args(["--output", "json"]).capture_stdout();
        let output = command.run(&self.cancel)?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("read what the API server says of {}", what.join(" ")))
    }
}

/// `kind`, told its provider.
pub(super) fn kind_of(command: Cmd, provider: Provider) -> Cmd {
    command.env("KIND_EXPERIMENTAL_PROVIDER", provider.name())
}
