//! The run that a test belongs to: which service is under test, where its workloads listen, which tokens they take.
//!
//! The file holds secrets, hence no `Debug` here and no message that shows more than names of workloads and secrets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::Client;

/// The environment variable with the path of the run file.
const RUN_FILE: &str = "E2E_RUN_FILE";

/// The version of the run file that this crate reads.
const VERSION: u64 = 1;

/// The run that this test belongs to, as the tool describes it in the run file.
#[derive(Deserialize)]
pub struct Run {
    version: u64,
    run: String,
    service: String,
    platform: String,
    workloads: BTreeMap<String, Workload>,
    secrets: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Workload {
    ports: BTreeMap<String, String>,
}

impl Run {
    /// The run of this process, read once from the file that `E2E_RUN_FILE` names.
    ///
    /// # Panics
    ///
    /// Without a run, and says how to start one; with a file that cannot be read, and says why.
    pub fn current() -> &'static Run {
        static RUN: OnceLock<Run> = OnceLock::new();
        RUN.get_or_init(|| {
            let Some(path) = std::env::var_os(RUN_FILE) else {
                // cargo tells a test binary the package that it belongs to
                panic!("{}", how_to_run(std::env::var("CARGO_PKG_NAME").ok().as_deref()));
            };
            Run::read(Path::new(&path)).unwrap_or_else(|error| panic!("{error}"))
        })
    }

    fn read(path: &Path) -> Result<Run, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read the run file {} named by {RUN_FILE}: {error}", path.display()))?;
        Run::parse(&text).map_err(|error| format!("the run file {} named by {RUN_FILE}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Run, String> {
        // serde's own messages may quote a value, and values here may be tokens: say where, not what
        let run: Run = serde_json::from_str(text).map_err(|error| {
            format!("not a run file of version {VERSION} (line {}, column {})", error.line(), error.column())
        })?;
        if run.version != VERSION {
            return Err(format!(
                "version {} where {VERSION} is expected: rebuild the suite with the tool",
                run.version
            ));
        }
        Ok(run)
    }

    /// The run's id, a UUID.
    pub fn id(&self) -> &str {
        &self.run
    }

    /// The service under test.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Where the workloads run, such as `local`.
    pub fn platform(&self) -> &str {
        &self.platform
    }

    /// The address of one port of a workload, such as `http://127.0.0.1:4001`, without a slash at the end.
    ///
    /// # Panics
    ///
    /// If the run has no such workload or port; the message names those that it has.
    pub fn url(&self, workload: &str, port: &str) -> &str {
        let ports = match self.workloads.get(workload) {
            Some(workload) => &workload.ports,
            None => panic!("the run has no workload `{workload}`, only {}", names(&self.workloads)),
        };
        match ports.get(port) {
            Some(url) => url.trim_end_matches('/'),
            None => panic!("workload `{workload}` has no port `{port}`, only {}", names(ports)),
        }
    }

    /// A secret of the run by its name, such as `datastorage-token`.
    ///
    /// # Panics
    ///
    /// If the run has no such secret; the message names those that it has.
    pub fn secret(&self, name: &str) -> &str {
        match self.secrets.get(name) {
            Some(secret) => secret,
            None => panic!("the run has no secret `{name}`, only {}", names(&self.secrets)),
        }
    }

    /// A client of a workload's port `http` that shows the workload's own bearer token: the secret `<workload>-token`, or
    /// `service-token` for the service under test.
    ///
    /// # Panics
    ///
    /// If the run has no such workload or no token for it.
    pub fn client(&self, workload: &str) -> Client {
        let own = format!("{workload}-token");
        let token = if workload == self.service && !self.secrets.contains_key(&own) { "service-token" } else { &own };
        Client::new(self.url(workload, "http"), Some(self.secret(token)))
    }
}

fn how_to_run(package: Option<&str>) -> String {
    let service = package.and_then(|name| name.strip_prefix("e2e-")).unwrap_or("gateway");
    format!("this suite runs inside an E2E run: cargo xtask e2e {service}")
}

fn names<T>(map: &BTreeMap<String, T>) -> String {
    if map.is_empty() {
        return "none".to_owned();
    }
    map.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"version":1,"run":"0199c3f2-a7b4-7000-8000-000000000000","service":"gateway","platform":"local",
        "workloads":{"datastorage":{"ports":{"http":"http://127.0.0.1:4001"}},"gateway":{"ports":{"http":"http://127.0.0.1:4002/"}}},
        "secrets":{"datastorage-token":"t0p","service-token":"s3cret"}}"#;

    #[test]
    fn a_run_file_gives_addresses_and_tokens() {
        let run = Run::parse(FILE).unwrap();
        assert_eq!((run.service(), run.platform()), ("gateway", "local"));
        assert_eq!(run.url("datastorage", "http"), "http://127.0.0.1:4001");
        assert_eq!(run.client("gateway").url("/api/v1/x"), "http://127.0.0.1:4002/api/v1/x");
        assert_eq!(run.client("gateway").token(), Some("s3cret"));
        assert_eq!(run.client("datastorage").token(), Some("t0p"));
    }

    #[test]
    fn a_file_of_another_version_says_so_and_a_broken_one_shows_no_secret() {
        let other = Run::parse(&FILE.replacen('1', "2", 1)).err().unwrap();
        assert!(other.contains("version 2 where 1 is expected"), "{other}");
        let broken = Run::parse(r#"{"version":1,"secrets":"s3cret"}"#).err().unwrap();
        assert!(broken.contains("line 1, column") && !broken.contains("s3cret"), "{broken}");
    }

    #[test]
    fn without_a_run_the_message_is_the_command_to_type() {
        assert_eq!(
            how_to_run(Some("e2e-workflowexecution")),
            "this suite runs inside an E2E run: cargo xtask e2e workflowexecution"
        );
        assert_eq!(how_to_run(None), "this suite runs inside an E2E run: cargo xtask e2e gateway");
    }

    #[test]
    fn an_unknown_workload_is_answered_with_the_known_ones() {
        let panic = std::panic::catch_unwind(|| Run::parse(FILE).unwrap().url("redis", "http").to_owned()).unwrap_err();
        assert_eq!(
            panic.downcast_ref::<String>().unwrap(),
            "the run has no workload `redis`, only `datastorage`, `gateway`"
        );
    }
}
