//! The command line, as typed.

use clap::{Args, Parser, Subcommand, ValueEnum};

/// E2E tests of services against images that are built, in every run, from the source as it is.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build, load, deploy, prove, test and remove: one service, several, or all of them
    E2e(E2e),
    /// Print the Kubernetes objects that a service's pipeline becomes
    Render(Render),
    /// Remove what a killed or kept run left behind, and nothing else
    Clean(Clean),
    /// Print the checklist of a run, each line with its evidence
    Audit(Audit),
    /// Tell whether an archive, an image or a file is what a run tested
    Verify(Verify),
    /// Check that the sources keep the rules of the design
    Tidy,
}

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  cargo xtask e2e signalprocessing             one service, with its own DataStorage
  cargo xtask e2e --all                        every service, at the same time
  cargo xtask e2e gateway workflowexecution    these two
  cargo xtask e2e gateway -- dedup             only the tests with `dedup` in their name
  cargo xtask e2e gateway --keep               leave everything running afterwards
  cargo xtask e2e --all --plan                 say what would be done
  cargo xtask e2e --all --platform kind --database postgres    in clusters, with PostgreSQL

Exit codes: 0 all passed, 1 tests failed, 2 wrong usage, 3 the run itself failed (build, cluster, load, deploy,
proof), 130 and 143 interrupted. Ctrl-C once: end and remove everything. Twice: kill. Three times: leave at once.

Each run leaves `target/e2e/runs/<id>/` (the newest is `target/e2e/latest`): report.json, junit.xml, timings.html,
events.jsonl, provenance/, logs/.")]
pub(crate) struct E2e {
    /// The services to test
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Test every service
    #[arg(long, conflicts_with = "services")]
    pub(crate) all: bool,
    /// Print the services that can be named, and end
    #[arg(long)]
    pub(crate) list: bool,
    /// Where to run
    #[arg(long, value_enum, default_value_t = Platform::Local)]
    pub(crate) platform: Platform,
    /// Leave everything running when the tests are over; print the addresses and how to end it
    #[arg(long)]
    pub(crate) keep: bool,
    /// How much heavy work at once (default: the number of processors)
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
    /// How long a workload may take to become ready
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ready_within: u64,
    /// How long one test may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) test_within: u64,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// What to print on stdout when the run is over
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Show each command and each test
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Show only failures and the summary
    #[arg(long, short, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Passed on to the suites: filters, as for `cargo test -- FILTER`
    #[arg(last = true, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    // Last: what comes after a heading is listed under it.
    #[command(flatten)]
    pub(crate) kind: KindFlags,
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
}

#[derive(Args)]
#[command(next_help_heading = "With --platform kind")]
pub(crate) struct KindFlags {
    /// The engine of the nodes (default: KIND_EXPERIMENTAL_PROVIDER, or the first of docker and podman that answers)
    #[arg(long, value_enum)]
    pub(crate) provider: Option<Provider>,
    /// The image of the nodes (default: KIND_NODE_IMAGE, or kind's own)
    #[arg(long, value_name = "IMAGE")]
    pub(crate) node_image: Option<String>,
    /// Nodes beside the control plane
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) workers: u32,
    /// One cluster for the run, a namespace for each service
    #[arg(long, conflicts_with = "reuse")]
    pub(crate) shared_cluster: bool,
    /// Use the kind cluster of this name, which exists and stays; only namespaces in it are made and removed
    #[arg(long, value_name = "NAME", conflicts_with_all = ["workers", "node_image", "creating"])]
    pub(crate) reuse: Option<String>,
    /// How many clusters are created at once (default: what processors and memory allow)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) creating: Option<u16>,
}

impl KindFlags {
    /// The first of these flags that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--provider", self.provider.is_some()),
            ("--node-image", self.node_image.is_some()),
            ("--workers", self.workers > 0),
            ("--shared-cluster", self.shared_cluster),
            ("--reuse", self.reuse.is_some()),
            ("--creating", self.creating.is_some()),
        ];
        given.into_iter().find_map(|(flag, given)| given.then_some(flag))
    }
}

#[derive(Args)]
#[command(next_help_heading = "DataStorage's database")]
pub(crate) struct DatabaseFlags {
    /// What keeps DataStorage's events
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    pub(crate) database: Database,
    #[arg(
        long,
        value_name = "IMAGE",
        help = format!("The image of PostgreSQL, which the engine must have (default: {})", datastorage_image::POSTGRES_IMAGE)
    )]
    pub(crate) postgres_image: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Database {
    /// A file of DataStorage's own, empty at the start
    Sqlite,
    /// A PostgreSQL server for each DataStorage, with `--platform kind`
    Postgres,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Provider {
    Docker,
    Podman,
}

#[derive(Args)]
pub(crate) struct Render {
    /// The service
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) database: DatabaseFlags,
}

#[derive(Args)]
pub(crate) struct Clean {
    /// The run to remove, even if it was kept on purpose (default: all that ended without removing everything)
    pub(crate) run: Option<String>,
}

#[derive(Args)]
pub(crate) struct Audit {
    /// The run (default: the last)
    pub(crate) run: Option<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = AuditFormat::Text)]
    pub(crate) format: AuditFormat,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The run, or `latest`
    pub(crate) run: String,
    /// An OCI archive, an executable, or the name of an image in podman or docker
    #[arg(value_name = "FILE-OR-IMAGE")]
    pub(crate) what: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Platform {
    /// Processes from unpacked images; nothing to install
    Local,
    /// A Kubernetes cluster for each service, made by kind with podman or docker
    Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Nothing: what people read is on stderr
    Text,
    /// The content of report.json
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AuditFormat {
    Text,
    Json,
    Markdown,
}
