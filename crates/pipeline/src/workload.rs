//! What a pipeline is, as data: the workloads that it deploys and the suite that it runs.
//!
//! Nothing here knows a platform. What differs by platform (the address of another workload, a data directory, a secret) is
//! a typed [`Value`] that each platform resolves.

mod builder;
mod value;

use std::path::{Component, Path};

use anyhow::{bail, ensure};

pub use builder::{Builder, Containerfile};
pub use value::{Part, Value, address, data, endpoint, image_path, secret};

/// The E2E pipeline of one service: what is deployed for it, and which suite then runs.
#[derive(Clone, Debug)]
pub struct Pipeline {
    service: String,
    workloads: Vec<Workload>,
    suite: Option<String>,
}

impl Pipeline {
    /// The pipeline of the service of this name. The name also tags its images.
    pub fn new(service: &str) -> Pipeline {
        Pipeline { service: service.to_owned(), workloads: Vec::new(), suite: None }
    }

    /// Adds a workload. Each is built, loaded and deployed from an image of this pipeline's own.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Pipeline {
        self.workloads.push(workload);
        self
    }

    /// Replaces the workload of this name by what `change` makes of it. It has no effect on a pipeline without one.
    #[must_use]
    pub fn change(mut self, name: &str, change: impl FnOnce(Workload) -> Workload) -> Pipeline {
        if let Some(workload) = self.workloads.iter_mut().find(|workload| workload.name == name) {
            *workload = change(workload.clone());
        }
        self
    }

    /// Names the package whose integration test `suite` is the service's E2E suite.
    #[must_use]
    pub fn suite(mut self, package: &str) -> Pipeline {
        self.suite = Some(package.to_owned());
        self
    }

    /// The service, which is the pipeline's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The workloads, in the order in which they were added.
    pub fn workloads(&self) -> &[Workload] {
        &self.workloads
    }

    /// The package of the suite.
    pub fn suite_package(&self) -> Option<&str> {
        self.suite.as_deref()
    }

    /// Checks what the types cannot: every name is there once, and every value refers to something that exists.
    ///
    /// # Errors
    /// The first fault, with the names that would be right.
    pub fn validate(&self) -> anyhow::Result<()> {
        let service = &self.service;
        for (index, workload) in self.workloads.iter().enumerate() {
            let name = &workload.name;
            if self.workloads[..index].iter().any(|other| other.name == *name) {
                bail!("pipeline `{service}` has two workloads called `{name}`: give each a name of its own");
            }
            for (variable, value) in &workload.env {
                for part in value.parts() {
                    let Part::Address { workload: target, port } = part else { continue };
                    let known = self.workloads.iter().any(|w| w.name == *target && w.port_named(port).is_some());
                    if !known {
                        let all: Vec<_> = self
                            .workloads
                            .iter()
                            .flat_map(|w| w.ports.iter().map(move |p| format!("`{}` `{}`", w.name, p.name)))
                            .collect();
                        bail!(
                            "`{variable}` of workload `{name}` in pipeline `{service}` wants the port `{port}` of `{target}`, \
                             which does not exist; there are: {}",
                            all.join(", ")
                        );
                    }
                }
            }
        }
        for workload in &self.workloads {
            let whose = format!("workload `{}` of pipeline `{service}`", workload.name);
            workload.builder.check(&whose, !workload.files.is_empty() || workload.ca_bundle)?;
            for (index, path) in workload.scratch.iter().enumerate() {
                let mut parts = Path::new(path).components();
                let inside = parts.next() == Some(Component::RootDir) && parts.clone().next().is_some();
                ensure!(
                    inside
                        && parts.all(|part| matches!(part, Component::Normal(_)))
                        && !workload.scratch[..index].contains(path),
                    "`{path}`, to which {whose} may write, must be an absolute path, and be there once"
                );
            }
        }
        for Workload { name, ports, .. } in &self.workloads {
            if ports.is_empty() {
                bail!(
                    "workload `{name}` of pipeline `{service}` has no port and cannot be asked whether it is ready: add one"
                );
            }
            for (index, port) in ports.iter().enumerate() {
                if ports[..index].iter().any(|other| other.name == port.name) {
                    bail!("workload `{name}` of pipeline `{service}` has two ports called `{}`", port.name);
                }
            }
        }
        Ok(())
    }
}

/// A program that a pipeline deploys, from its own image.
#[derive(Clone, Debug)]
pub struct Workload {
    name: String,
    builder: Builder,
    ports: Vec<Port>,
    env: Vec<(String, Value)>,
    files: Vec<File>,
    ready: String,
    /// None: it has no such endpoint.
    version: Option<String>,
    data: bool,
    scratch: Vec<String>,
    ca_bundle: bool,
}

/// A port on which a workload listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, by which others refer to it.
    pub name: String,
    /// The port in the container. On `local` the operating system chooses another.
    pub number: u16,
    /// What it speaks.
    pub protocol: Protocol,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP, without TLS.
    Http,
    /// Something else over TCP.
    Tcp,
}

impl Port {
    /// The URL of this port at an address (`HOST:PORT`).
    pub fn url(&self, address: impl std::fmt::Display) -> String {
        let scheme = match self.protocol {
            Protocol::Http => "http",
            Protocol::Tcp => "tcp",
        };
        format!("{scheme}://{address}")
    }
}

/// A file of the workspace that goes into the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Absolute path in the image.
    pub path: String,
    /// Where it is, relative to the workspace.
    pub source: String,
}

impl Workload {
    /// A workload whose image holds the binary of a package of this workspace. The package's name is the workload's.
    pub fn cargo(package: &str) -> Workload {
        let builder = Builder::Cargo { package: package.to_owned() };
        Workload { version: Some("/version".to_owned()), ..Workload::new(package, builder) }
    }

    /// A workload in any language, whose image podman or docker builds from the `Containerfile` or `Dockerfile` in a folder of
    /// the workspace. Files that `.containerignore` or `.dockerignore` leaves out are none of its source.
    ///
    /// The images that it builds on must be there: nothing is pulled during a run. It must not run as root, and name its user by
    /// number. `SOURCE_FINGERPRINT` is in its environment: a service that answers with it, and names the path by
    /// [`Workload::version`], is proved up to its endpoint.
    pub fn containerfile(name: &str, context: &str) -> Workload {
        let containerfile = Containerfile { context: context.to_owned(), ..Containerfile::default() };
        Workload::new(name, Builder::Containerfile(containerfile))
    }

    /// A workload from an image of others (a database, a message broker) that podman or docker has: nothing is pulled during a
    /// run. It gets a tag of the run like any image, so that what runs is known; nothing else of it changes.
    ///
    /// It must not run as root: if the image does not name another user by number, [`Workload::user`] does.
    pub fn image(name: &str, reference: &str) -> Workload {
        Workload::new(name, Builder::Image { reference: reference.to_owned(), user: None })
    }

    fn new(name: &str, builder: Builder) -> Workload {
        Workload {
            name: name.to_owned(),
            builder,
            ports: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            ready: "/readyz".to_owned(),
            version: None,
            data: false,
            scratch: Vec::new(),
            ca_bundle: false,
        }
    }

    /// Names the Containerfile, relative to the context. It has no effect on a workload without one.
    #[must_use]
    pub fn containerfile_path(self, path: &str) -> Workload {
        self.edit(|of| of.path = Some(path.to_owned()))
    }

    /// Sets a build argument (`ARG`) of its Containerfile. It has no effect on a workload without one.
    #[must_use]
    pub fn build_arg(self, name: &str, value: &str) -> Workload {
        self.edit(|of| of.arguments.push((name.to_owned(), value.to_owned())))
    }

    /// Lets the steps of its Containerfile use the network, which they may not otherwise: what they fetch may be another thing
    /// each time, and no fingerprint tells. It has no effect on a workload without one.
    #[must_use]
    pub fn build_network(self) -> Workload {
        self.edit(|of| of.network = true)
    }

    /// Sets the number of the user and group that an image of others runs as. It has no effect on other workloads: a Containerfile
    /// names its user itself.
    #[must_use]
    pub fn user(mut self, number: u32) -> Workload {
        if let Builder::Image { user, .. } = &mut self.builder {
            *user = Some(number);
        }
        self
    }

    fn edit(mut self, edit: impl FnOnce(&mut Containerfile)) -> Workload {
        if let Builder::Containerfile(of) = &mut self.builder {
            edit(of);
        }
        self
    }

    /// Adds a port that speaks HTTP. The first port answers the readiness and version probes.
    #[must_use]
    pub fn port(self, name: &str, number: u16) -> Workload {
        self.add_port(name, number, Protocol::Http)
    }

    /// Adds a port that speaks something else over TCP. A workload whose first port is one is ready as soon as it takes
    /// connections there.
    #[must_use]
    pub fn tcp_port(self, name: &str, number: u16) -> Workload {
        self.add_port(name, number, Protocol::Tcp)
    }

    fn add_port(mut self, name: &str, number: u16, protocol: Protocol) -> Workload {
        self.ports.push(Port { name: name.to_owned(), number, protocol });
        self
    }

    /// Sets the path that answers 200 once the workload can serve (default `/readyz`).
    #[must_use]
    pub fn ready(mut self, path: &str) -> Workload {
        self.ready = path.to_owned();
        self
    }

    /// Sets the path that answers with `source_fingerprint` and `instance` as JSON (default `/version`, and none for a
    /// Containerfile).
    #[must_use]
    pub fn version(mut self, path: &str) -> Workload {
        self.version = Some(path.to_owned());
        self
    }

    /// Sets an environment variable; what was set before is replaced.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<Value>) -> Workload {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Packs a file of the workspace into the image.
    #[must_use]
    pub fn file(mut self, path: &str, source: &str) -> Workload {
        self.files.push(File { path: path.to_owned(), source: source.to_owned() });
        self
    }

    /// Gives the workload a directory that it may write, empty at the start of every run.
    #[must_use]
    pub fn data(mut self) -> Workload {
        self.data = true;
        self
    }

    /// Makes a directory of the image one that the workload may write, empty at each start of it; `/tmp` is one always.
    #[must_use]
    pub fn scratch(mut self, path: &str) -> Workload {
        self.scratch.push(path.to_owned());
        self
    }

    /// Packs the certificates of the machine's certificate authorities, for a service that calls others over TLS.
    #[must_use]
    pub fn ca_bundle(mut self) -> Workload {
        self.ca_bundle = true;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its image is built.
    pub fn builder(&self) -> &Builder {
        &self.builder
    }

    /// Its ports.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The port of this name.
    pub fn port_named(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.name == name)
    }

    /// Its environment, unresolved.
    pub fn environment(&self) -> &[(String, Value)] {
        &self.env
    }

    /// The files of the workspace that its image holds.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The readiness path; none if it is ready as soon as its first port takes connections.
    pub fn ready_path(&self) -> Option<&str> {
        let tcp = self.ports.first().is_some_and(|port| port.protocol == Protocol::Tcp);
        if tcp { None } else { Some(&self.ready) }
    }

    /// The version path, if it has one.
    pub fn version_path(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether it wants a data directory.
    pub fn wants_data(&self) -> bool {
        self.data
    }

    /// The directories of its image that it may write.
    pub fn scratch_directories(&self) -> &[String] {
        &self.scratch
    }

    /// Whether its image holds the certificate authorities.
    pub fn wants_ca_bundle(&self) -> bool {
        self.ca_bundle
    }
}

#[cfg(test)]
mod tests;
