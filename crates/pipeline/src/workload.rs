//! What a pipeline is, as data: the workloads that it deploys and the suite that it runs.
//!
//! Nothing here knows a platform. What differs by platform (the address of another workload, a data directory, a secret) is
//! a typed [`Value`] that each platform resolves.

use anyhow::bail;

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
                for part in &value.0 {
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
    version: String,
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
        Workload {
            name: package.to_owned(),
            builder: Builder::Cargo { package: package.to_owned() },
            ports: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            ready: "/readyz".to_owned(),
            version: "/version".to_owned(),
            data: false,
            ca_bundle: false,
        }
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

    /// Sets the path that answers with `source_fingerprint` and `instance` as JSON (default `/version`).
    #[must_use]
    pub fn version(mut self, path: &str) -> Workload {
        self.version = path.to_owned();
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

    /// The version path.
    pub fn version_path(&self) -> &str {
        &self.version
    }

    /// Whether it wants a data directory.
    pub fn wants_data(&self) -> bool {
        self.data
    }

    /// Whether its image holds the certificate authorities.
    pub fn wants_ca_bundle(&self) -> bool {
        self.ca_bundle
    }
}

/// A value that the platform completes when it deploys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value(Vec<Part>);

/// A piece of a [`Value`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// `http://…` address of a workload's port.
    Endpoint {
        /// The workload.
        workload: String,
        /// The name of its port.
        port: String,
    },
    /// A secret of this pipeline and run, made at random; the same name is the same secret.
    Secret(String),
    /// A path in the workload's data directory.
    Data(String),
    /// A path in the workload's image.
    ImagePath(String),
}

impl Value {
    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Whether a secret is part of it: then it is never printed.
    pub fn is_secret(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Secret(_)))
    }

    /// This value followed by another.
    #[must_use]
    pub fn then(mut self, next: impl Into<Value>) -> Value {
        self.0.extend(next.into().0);
        self
    }

    /// The whole text, each piece resolved.
    ///
    /// # Errors
    /// What `resolve` returns.
    pub fn resolve(&self, mut resolve: impl FnMut(&Part) -> anyhow::Result<String>) -> anyhow::Result<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(piece) => text.push_str(piece),
                other => text.push_str(&resolve(other)?),
            }
        }
        Ok(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value(vec![Part::Text(text.to_owned())])
    }
}

/// The address of a workload's port: `http://host:port`.
pub fn endpoint(workload: &str, port: &str) -> Value {
    Value(vec![Part::Endpoint { workload: workload.to_owned(), port: port.to_owned() }])
}

/// A secret, random in each run.
pub fn secret(name: &str) -> Value {
    Value(vec![Part::Secret(name.to_owned())])
}

/// A path in the workload's data directory.
pub fn data(path: &str) -> Value {
    Value(vec![Part::Data(path.to_owned())])
}

/// A path in the workload's image.
pub fn image_path(path: &str) -> Value {
    Value(vec![Part::ImagePath(path.to_owned())])
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
    fn a_value_is_resolved_piece_by_piece_and_knows_that_it_is_secret() {
        let value = Value::from("postgres://u:").then(secret("db")).then("@h/").then(data("x"));
        assert!(value.is_secret() && !data("x").is_secret());
        let text = value.resolve(|part| Ok(format!("<{part:?}>"))).unwrap();
        assert_eq!(text, r#"postgres://u:<Secret("db")>@h/<Data("x")>"#);
    }
}
