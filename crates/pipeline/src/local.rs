//! The embedded platform: each workload is a process, started from its own unpacked image in the run's directory.
//!
//! The same images, digests and proof as in a cluster, with nothing to install. The ports are bound by this process before
//! anything starts and handed down as open sockets (systemd's socket activation, sd_listen_fds(3)): every address is known
//! without a race, workloads may start in any order, and nobody else can answer on them.

mod place;
mod ready;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::ledger::Resource;
use crate::platform::{Place, Platform, Site, no_containerfiles};
use crate::rundir::private_dir;
use crate::step::Step;
use crate::workload::{Builder, Pipeline, Workload};
use place::LocalPlace;

/// The platform `local`.
pub struct Local {
    /// How long a workload may take to become ready.
    pub ready_within: std::time::Duration,
}

/// Why a workload cannot run here, and what to do.
fn refusal(workload: &Workload) -> Option<String> {
    let what = match workload.builder() {
        Builder::Containerfile(_) => "has a Containerfile",
        Builder::Image { .. } => "is an image of others",
        Builder::Cargo { .. } if workload.ready_path().is_none() => {
            return Some(
                "is ready when its port is open, and here the port is opened before it starts: give it a first port that \
                 answers over HTTP, or run it with `--platform kind`"
                    .to_owned(),
            );
        }
        Builder::Cargo { .. } if !workload.scratch_directories().is_empty() => {
            return Some(
                "writes to directories of its image, which only a container can mount: give it `.data()`, or run it with \
                 `--platform kind`"
                    .to_owned(),
            );
        }
        Builder::Cargo { .. } => return None,
    };
    Some(format!("{what}; {}", no_containerfiles("local")))
}

impl Platform for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn preflight(&self, pipelines: &[Pipeline]) -> Vec<String> {
        let mut missing: Vec<_> = pipelines
            .iter()
            .flat_map(|pipeline| pipeline.workloads().iter().map(move |workload| (pipeline, workload)))
            .filter_map(|(pipeline, workload)| {
                Some(format!("the workload `{}` of `{}` {}", workload.name(), pipeline.service(), refusal(workload)?))
            })
            .collect();
        if !cfg!(target_os = "linux") {
            missing.push(
                "the platform `local` starts Linux programs and reads `/proc`: run it on Linux, or in a Linux VM"
                    .to_owned(),
            );
        }
        missing
    }

    fn prepare(&self, _: &Step, site: &Site) -> anyhow::Result<Arc<dyn Place>> {
        let service = site.pipeline.service();
        if let Some((workload, why)) = site.pipeline.workloads().iter().find_map(|one| Some((one, refusal(one)?))) {
            bail!("the workload `{}` of `{service}` {why}", workload.name());
        }
        let dir = site.run.work().join(service);
        site.ledger.will_make(Some(service), Resource::Directory { path: dir.clone() })?;
        private_dir(&dir)?;
        let mut listeners = BTreeMap::new();
        for workload in site.pipeline.workloads() {
            for port in workload.ports() {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .with_context(|| format!("open a port for `{}` of `{}`", port.name, workload.name()))?;
                listeners.insert((workload.name().to_owned(), port.name.clone()), listener);
            }
        }
        Ok(Arc::new(LocalPlace::new(site, dir, listeners, self.ready_within)?))
    }
}
