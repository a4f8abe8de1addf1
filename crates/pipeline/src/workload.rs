//! What a pipeline is, as data: the workloads that it deploys and the suite that it runs.
//!
//! Nothing here knows a platform. What differs by platform (the address of another workload, a data directory, a secret) is
//! a typed [`Value`] that each platform resolves.

mod value;

use std::path::{Component, Path};

use anyhow::bail;

pub use value::{Part, Value, data, endpoint, image_path, secret};

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
                    let Part::Endpoint { workload: target, port } = part else { continue };
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
            workload.check(service)?;
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
    ca_bundle: bool,
}

/// How the image of a workload is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Builder {
    /// A binary of this workspace, by the name of its package.
    Cargo {
        /// The package, which is also the name of the binary.
        package: String,
    },
    /// Whatever a Containerfile makes, by podman or docker.
    Containerfile(Containerfile),
}

/// How a Containerfile is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containerfile {
    /// The folder whose files it can copy, relative to the workspace.
    pub context: String,
    /// Where it is, relative to the context; `Containerfile` or else `Dockerfile` if not given.
    pub path: Option<String>,
    /// Build arguments (`ARG`), which are part of the fingerprint.
    pub arguments: Vec<(String, String)>,
    /// Whether its steps may use the network. What they fetch is not part of the fingerprint.
    pub network: bool,
}

/// A port on which a workload listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, by which others refer to it.
    pub name: String,
    /// The port in the container. On `local` the operating system chooses another.
    pub number: u16,
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

    fn edit(mut self, edit: impl FnOnce(&mut Containerfile)) -> Workload {
        if let Builder::Containerfile(of) = &mut self.builder {
            edit(of);
        }
        self
    }

    /// Adds a port. The first one answers the readiness and version probes.
    #[must_use]
    pub fn port(mut self, name: &str, number: u16) -> Workload {
        self.ports.push(Port { name: name.to_owned(), number });
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

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<Value>) -> Workload {
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

    /// The readiness path.
    pub fn ready_path(&self) -> &str {
        &self.ready
    }

    /// The version path, if it has one.
    pub fn version_path(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether it wants a data directory.
    pub fn wants_data(&self) -> bool {
        self.data
    }

    /// Whether its image holds the certificate authorities.
    pub fn wants_ca_bundle(&self) -> bool {
        self.ca_bundle
    }

    /// What a Containerfile cannot be told.
    fn check(&self, service: &str) -> anyhow::Result<()> {
        let Builder::Containerfile(of) = &self.builder else { return Ok(()) };
        let name = &self.name;
        if !self.files.is_empty() || self.ca_bundle {
            bail!(
                "workload `{name}` of pipeline `{service}` is built from a Containerfile: copy its files and certificates there"
            );
        }
        let inside = Path::new(&of.context).components().all(|part| matches!(part, Component::Normal(_)));
        if of.context != "." && (!inside || of.context.is_empty()) {
            bail!(
                "the build context `{}` of workload `{name}` in pipeline `{service}` must be a folder of the workspace, such as \
                 `services/{name}` or `.`",
                of.context
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_nothing_is_refused_with_what_exists() {
        let pipeline = Pipeline::new("gateway")
            .workload(Workload::cargo("datastorage").port("http", 8080))
            .workload(Workload::cargo("gateway").env("DATASTORAGE_URL", endpoint("datastorage", "grpc")));
        let error = pipeline.validate().unwrap_err().to_string();
        assert!(error.contains("`DATASTORAGE_URL`") && error.contains("there are: `datastorage` `http`"), "{error}");
        let twice = Pipeline::new("a").workload(Workload::cargo("b")).workload(Workload::cargo("b"));
        assert!(twice.validate().unwrap_err().to_string().contains("two workloads called `b`"));
    }

    #[test]
    fn a_containerfile_copies_its_files_itself_and_from_the_workspace_only() {
        let check = |workload: Workload| {
            Pipeline::new("a").workload(workload.port("http", 8080)).validate().map_err(|error| error.to_string())
        };
        assert_eq!(check(Workload::containerfile("b", "services/b").build_arg("A", "1")), Ok(()));
        assert_eq!(check(Workload::containerfile("b", ".").containerfile_path("services/b/Dockerfile")), Ok(()));
        let error = check(Workload::containerfile("b", "b").file("/x", "x")).unwrap_err();
        assert!(error.contains("copy its files and certificates there"), "{error}");
        for outside in ["/b", "../b", "b/../..", ""] {
            let error = check(Workload::containerfile("b", outside)).unwrap_err();
            assert!(error.contains("must be a folder of the workspace"), "{outside}: {error}");
        }
    }
}
