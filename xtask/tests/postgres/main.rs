//! `cargo xtask e2e … --database postgres`: a service's own suite passes with its DataStorage on a PostgreSQL in the cluster, and
//! what it wrote is in that PostgreSQL.
//!
//! The image is made of Debian's packages, by the contract of the official one, which cannot be pulled in a test.

#[path = "../../../crates/pipeline/tests/containerfile/base.rs"]
mod base;
#[expect(dead_code, reason = "shared with the tests of the command line, which use all of it")]
#[path = "../it/kit.rs"]
mod kit;
#[expect(dead_code, reason = "as `kit`")]
#[path = "../it/ran.rs"]
mod ran;

use std::time::Duration;

use base::{Base, Recipe};
use kit::{Real, ask};
use pipeline::Platform;
use pipeline::kind::{Clusters, Kind, Options, Provider};
use ran::Ran;
use supervise::Cmd;

/// An image with PostgreSQL, whichever version this Debian has. It runs as root unless it is told otherwise, as the official one.
const POSTGRES: Recipe = Recipe {
    name: "postgres-base",
    packages: &["postgresql", "dash", "coreutils"],
    holds: |name| {
        let versioned = |prefix: &str| {
            name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()))
        };
        let library = name.starts_with("lib")
            && !["libllvm", "libz3", "libperl", "libgdbm"].iter().any(|one| name.starts_with(one));
        versioned("postgresql-")
            || versioned("postgresql-client-")
            || (library && !name.ends_with("-perl"))
            || ["dash", "coreutils", "zlib1g", "tzdata"].contains(&name)
    },
    files: &[
        ("/etc/passwd", "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/var/lib/postgresql:/bin/sh\n"),
        ("/etc/group", "root:x:0:\npostgres:x:999:\n"),
        ("/usr/local/bin/docker-entrypoint.sh", include_str!("docker-entrypoint.sh")),
    ],
    instructions: "ENTRYPOINT [\"/bin/sh\", \"/usr/local/bin/docker-entrypoint.sh\"]\nCMD [\"postgres\"]\n",
};

#[test]
fn a_suite_passes_on_postgres_and_its_events_are_there() {
    let kind = Kind::new(Options {
        provider: Some(Provider::Podman),
        node_image: None,
        workers: 0,
        clusters: Clusters::PerPipeline,
        ready_within: Duration::from_secs(60),
        creating: None,
    });
    let missing = kind.preflight(&[]);
    if !missing.is_empty() {
        return skip(&missing.join("; "));
    }
    let Some(base) = Base::new(&POSTGRES) else { return };
    let real = Real::take();
    let arguments = ["signalprocessing", "--platform", "kind", "--provider", "podman", "--database", "postgres"];
    let arguments = [&arguments[..], &["--postgres-image", base.name(), "--keep", "--ready-within", "120"]].concat();
    let (answer, ran) = real.e2e(&arguments);
    let counted = events_in_postgres(&ran);
    let secrets = serde_json::from_str::<serde_json::Value>(&ran.read("work/signalprocessing/run.json"));
    let audit = real.ask(&["audit", ran.id(), "--format", "json"]);
    real.ask(&["clean", ran.id()]).expect(0);
    answer.expect(0);
    assert!(counted.parse::<u32>().is_ok_and(|events| events > 0), "PostgreSQL answers `{counted}`");

    let password = secrets.unwrap()["secrets"]["postgres-password"].as_str().unwrap().to_owned();
    let logs =
        ["datastorage", "postgres", "postgres-build", "apply"].map(|log| format!("logs/signalprocessing/{log}.log"));
    for file in ["events.jsonl", "report.json"].map(str::to_owned).iter().chain(&logs) {
        assert!(!ran.read(file).contains(&password), "{file} tells the password");
    }

    // Of an image of others less can be seen. What can be seen holds, and the rest is not said to.
    let audit = audit.json();
    let lines = audit["services"][0]["lines"].as_array().unwrap();
    let of = |verdict: &str| {
        lines
            .iter()
            .filter(|line| line["verdict"] == verdict)
            .map(|line| line["check"].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("unchecked"),
        ["proof:postgres:image_to_executable", "proof:postgres:process_to_endpoint"],
        "{audit:#}"
    );
    // It was kept.
    assert_eq!(of("failed"), ["nothing_left"], "{audit:#}");
    let process = lines.iter().find(|line| line["check"] == "proof:postgres:container_to_process").unwrap();
    assert!(process.to_string().contains("/bin/postgres"), "the shell has gone on as the server: {process}");
}

/// How many events PostgreSQL has, as it says itself in its pod.
fn events_in_postgres(ran: &Ran) -> String {
    let kubeconfig = ran.dir.join("work/signalprocessing/kubeconfig");
    let kubectl = || Cmd::new("kubectl").arg("--kubeconfig").arg(&kubeconfig);
    let namespaces = ask(kubectl()
        .args(["get", "pods", "--all-namespaces", "--selector", "app.kubernetes.io/name=postgres"])
        .args(["--output", "jsonpath={.items[0].metadata.namespace}"]));
    let exec = kubectl().args(["exec", "--namespace", namespaces.out.trim(), "deployment/postgres", "--"]);
    let query = "SELECT count(*) FROM events";
    let bin = "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH";
    ask(exec.args(["sh", "-c", &format!("{bin} psql -U datastorage -d datastorage -tAc '{query}'")]))
        .out
        .trim()
        .to_owned()
}

#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn skip(why: &str) {
    assert_ne!(std::env::var("E2E_TEST_KIND").as_deref(), Ok("required"), "{why}");
    eprintln!("not tested: {why}");
}
