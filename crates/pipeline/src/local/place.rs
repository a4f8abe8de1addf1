//! The place of one pipeline on `local`: its images, its processes.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use image::{Digest, Holder, LoadedImage, LocalStore};
use supervise::{Process, Sandbox};

use super::ready;
use crate::Failure;
use crate::event::Event;
use crate::platform::{Deployable, Instance, Place, Seen, Sight, Site};
use crate::proof::not_as_built;
use crate::recorder::lock;
use crate::rundir::RunDir;
use crate::secrets::{Secrets, random};
use crate::step::Step;
use crate::workload::{Part, Workload};

/// How long after its end the status of a process may take to be known.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct LocalPlace {
    service: String,
    dir: PathBuf,
    run: Arc<RunDir>,
    secrets: Secrets,
    store: LocalStore,
    ready_within: Duration,
    addresses: BTreeMap<(String, String), SocketAddr>,
    /// The workloads, in the order of the pipeline.
    order: Vec<String>,
    /// Taken out one by one as the workloads start: then only they hold the sockets.
    listeners: Mutex<BTreeMap<(String, String), TcpListener>>,
    running: Mutex<BTreeMap<String, Running>>,
}

/// A workload's process.
pub(super) struct Running {
    pub(super) process: Process,
    pub(super) log: PathBuf,
    /// The file that it was started from.
    executable: PathBuf,
}

impl LocalPlace {
    pub(super) fn new(
        site: &Site,
        dir: PathBuf,
        listeners: BTreeMap<(String, String), TcpListener>,
        ready_within: Duration,
    ) -> anyhow::Result<LocalPlace> {
        let mut addresses = BTreeMap::new();
        for (port, listener) in &listeners {
            addresses.insert(port.clone(), listener.local_addr().context("read back the port of a socket")?);
        }
        Ok(LocalPlace {
            service: site.pipeline.service().to_owned(),
            store: LocalStore::create(&dir.join("images"))?,
            dir,
            run: Arc::clone(&site.run),
            secrets: site.secrets.clone(),
            ready_within,
            addresses,
            order: site.pipeline.workloads().iter().map(|workload| workload.name().to_owned()).collect(),
            listeners: Mutex::new(listeners),
            running: Mutex::new(BTreeMap::new()),
        })
    }

    fn address(&self, workload: &str, port: &str) -> anyhow::Result<String> {
        let address = self.addresses.get(&(workload.to_owned(), port.to_owned()));
        address.map(SocketAddr::to_string).with_context(|| format!("`{workload}` has no port `{port}`"))
    }

    /// Unpacks the image of a workload and starts its entrypoint.
    fn launch(&self, step: &Step, deployable: &Deployable) -> anyhow::Result<Instance> {
        let workload = &deployable.workload;
        let name = workload.name();
        let unpacked = self.store.unpack(&deployable.image, &self.dir.join(name));
        let rootfs = unpacked.map_err(|error| not_as_built(step, name, error))?;
        let (program, arguments) =
            rootfs.entrypoint.split_first().with_context(|| format!("the image of `{name}` has no entrypoint"))?;
        let confined = confine(step, &rootfs.root, name);
        let inside = if confined { String::new() } else { rootfs.root.display().to_string() };
        let executable = join(&rootfs.root, program);
        let log = self.run.log(&self.service, name)?;
        let identity = random();

        let mut command = step.command(if confined { PathBuf::from(program) } else { executable.clone() });
        command = command.args(arguments).env_clear().env(crate::ledger::RUN_MARK, step.recorder().run_id());
        for (variable, value) in &rootfs.env {
            command = command.env(variable, value);
        }
        for (variable, value) in workload.environment() {
            let text = value.resolve(|part| match part {
                Part::Text(text) => Ok(text.clone()),
                Part::Address { workload, port } => self.address(workload, port),
                Part::Secret(secret) => Ok(self.secrets.get(secret).context("no such secret")?.to_owned()),
                Part::Data(path) => Ok(format!("{inside}/data{path}")),
                Part::ImagePath(path) => Ok(format!("{inside}{path}")),
            })?;
            command = if value.is_secret() { command.secret_env(variable, text) } else { command.env(variable, text) };
        }
        let sandbox = if confined {
            Sandbox {
                root: Some(rootfs.root.clone()),
                user: Some(rootfs.user),
                dir: Some(PathBuf::from(&rootfs.working_dir)),
            }
        } else {
            Sandbox { root: None, user: None, dir: Some(join(&rootfs.root, &rootfs.working_dir)) }
        };
        let mut sockets = Vec::new();
        for port in workload.ports() {
            let socket = lock(&self.listeners).remove(&(name.to_owned(), port.name.clone()));
            sockets.push(socket.with_context(|| format!("`{name}` was started twice"))?);
        }
        let process = command
            .env("INSTANCE_ID", &identity)
            .sandbox(sandbox)
            .listeners(sockets)
            .log_directly(&log)
            .spawn(step.cancel())
            .with_context(|| format!("start `{name}`"))?;
        let pid = process.pid();
        lock(&self.running).insert(name.to_owned(), Running { process, log, executable });
        step.event(Event::Deployed {
            service: self.service.clone(),
            workload: name.to_owned(),
            reference: deployable.image.image().reference().to_owned(),
            instance: format!("pid {pid}"),
        });
        let mut endpoints = Vec::new();
        for port in workload.ports() {
            endpoints.push((port.name.clone(), port.url(self.address(name, &port.name)?)));
        }
        Ok(Instance { workload: name.to_owned(), name: format!("pid {pid}"), endpoints, identity: Some(identity) })
    }
}

impl Place for LocalPlace {
    fn holder(&self, _: &Workload) -> &dyn Holder {
        &self.store
    }

    fn start(&self, step: &Step, workloads: &[Deployable]) -> anyhow::Result<Vec<Instance>> {
        let instances = std::thread::scope(|scope| {
            let threads: Vec<_> =
                workloads.iter().map(|workload| scope.spawn(|| self.launch(step, workload))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(crate::step::panicked)?)
                .collect::<anyhow::Result<Vec<_>>>()
        })?;
        ready::wait(
            step,
            workloads,
            &instances,
            self.ready_within,
            |workload| self.exited(workload),
            |workload| self.run.log(&self.service, workload),
        )?;
        Ok(instances)
    }

    fn look(&self, instance: &Instance, image: &LoadedImage) -> Sight {
        let running = lock(&self.running);
        let Some(running) = running.get(&instance.workload) else {
            let gone = Seen::broken("a running process", "it was never started");
            return Sight { place_to_container: gone.clone(), container_to_process: gone };
        };
        let exe = PathBuf::from(format!("/proc/{}/exe", running.process.pid()));
        let file = |path: &Path| fs::metadata(path).map(|meta| format!("device {} inode {}", meta.dev(), meta.ino()));
        let place_to_container = match (file(&running.executable), file(&exe)) {
            (Ok(expected), Ok(found)) => Seen::compare(expected, found),
            (Err(error), _) => {
                Seen::broken(running.executable.display(), format!("the unpacked file cannot be read: {error}"))
            }
            (_, Err(error)) => {
                Seen::broken(running.executable.display(), format!("{} is gone: {error}", instance.name))
            }
        };
        let container_to_process = match (image.image().executable_digest(), Digest::of_file(&exe)) {
            (None, _) => Seen::unchecked("the executable of the image", "which one it is, its image does not tell"),
            (Some(expected), Ok(found)) => Seen::compare(expected, found),
            (Some(expected), Err(error)) => {
                Seen::broken(expected, format!("{} cannot be read: {error:#}", instance.name))
            }
        };
        Sight { place_to_container, container_to_process }
    }

    fn down(&self, instance: &Instance) -> Option<Failure> {
        self.exited(&instance.workload)
    }

    fn stop(&self, step: &Step) -> anyhow::Result<()> {
        // The last that was added depends on those before it: it goes first, and may still write to them while it ends.
        let mut running = std::mem::take(&mut *lock(&self.running));
        for name in self.order.iter().rev() {
            let Some(running) = running.remove(name) else { continue };
            let stopped = running.process.stop();
            if stopped.killed {
                step.note(format!("`{name}` did not end when it was told to (SIGTERM) and was killed"));
            }
        }
        Ok(())
    }

    fn keep(&self) {
        for (_, running) in std::mem::take(&mut *lock(&self.running)) {
            running.process.detach();
        }
    }
}

impl LocalPlace {
    /// Why the process of this workload has ended, if it has.
    fn exited(&self, workload: &str) -> Option<Failure> {
        let mut running = lock(&self.running);
        let running = running.get_mut(workload)?;
        // Who was talking to it may know before its status is here; its program is gone from `/proc` by then.
        let gone = fs::read_link(format!("/proc/{}/exe", running.process.pid())).is_err();
        let status = if gone { running.process.wait_timeout(STATUS_LIMIT) } else { running.process.try_wait() }?;
        let failure = Failure::new(format!("`{workload}` ended by itself: {status}"))
            .evidence(supervise::tail_of(&running.log))
            .log(&running.log)
            .hint("its last lines above say why");
        Some(failure)
    }
}

/// Whether the workload gets the image as its root directory, and the image's user. Root can do that; others cannot, and are no
/// root already, as the image demands.
fn confine(step: &Step, root: &Path, name: &str) -> bool {
    if !supervise::is_root() {
        return false;
    }
    let made = supervise::make_devices(root);
    if let Err(error) = &made {
        step.note(format!(
            "`{name}` runs as root, outside of its image's root directory: its device files cannot be made ({error})"
        ));
    }
    made.is_ok()
}

/// An absolute path of the image, below its unpacked root.
fn join(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
