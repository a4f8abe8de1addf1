//! A PostgreSQL cluster of its own, in a temporary directory, reached by a socket in it: no system cluster is touched, no port taken.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{LazyLock, Mutex};

use super::process::command;

/// Runs the cluster as long as something holds the other end of its standard input: however this process ends, that end closes, and the
/// shell ends the cluster and removes its directory. Neither a destructor nor a signal handler would do as much.
const SCRIPT: &str = r#"
set -eu
bin=$1
dir=$(mktemp -d /tmp/datastorage-pg.XXXXXX)
stop() { "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >>"$dir/log" 2>&1 || true; }
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
"$bin/initdb" -D "$dir/data" -U tester --auth=trust --encoding=UTF8 --no-locale --no-sync >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
echo "$dir"
while read -r order; do
    case $order in
    start) "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -o "-k $dir -c listen_addresses= -c fsync=off" start >/dev/null || cat "$dir/log" >&2 ;;
    stop) stop ;;
    esac
    echo done
done
"#;

/// A private cluster.
pub(crate) struct Cluster {
    directory: PathBuf,
    shell: Mutex<Shell>,
}

struct Shell {
    child: Child,
    // dropped to end the cluster
    orders: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Cluster {
    /// The cluster of tests that do not stop it, running; none without PostgreSQL.
    pub(crate) fn shared() -> Option<&'static Cluster> {
        static SHARED: LazyLock<Option<Cluster>> = LazyLock::new(|| {
            let cluster = Cluster::create();
            match &cluster {
                Some(cluster) => cluster.start(),
                None => say("skipped: PostgreSQL is not installed (apt-get install postgresql)"),
            }
            cluster
        });
        SHARED.as_ref()
    }

    /// A cluster that is not running yet; none without PostgreSQL.
    pub(crate) fn create() -> Option<Cluster> {
        let bin = binaries()?;
        // PostgreSQL refuses to run as root; the package has made a user for it
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut shell = if is_root { command("runuser") } else { command("sh") };
        if is_root {
            shell.args(["-u", "postgres", "--", "sh"]);
        }
        shell.args(["-c", SCRIPT, "sh"]).arg(bin).current_dir("/");
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut shell =
            Shell { orders: child.stdin.take(), replies: BufReader::new(child.stdout.take().unwrap()), child };
        let directory = PathBuf::from(shell.reply());
        Some(Cluster { directory, shell: Mutex::new(shell) })
    }

    pub(crate) fn start(&self) {
        self.order("start");
    }

    /// Stops it as a crash would.
    pub(crate) fn stop(&self) {
        self.order("stop");
    }

    /// The URL of a database of this cluster.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://tester@{}/{database}", self.directory.display().to_string().replace('/', "%2F"))
    }

    /// The URL of a new database.
    pub(crate) fn create_database(&self) -> String {
        let name = e2e_suite::unique("db").replace('-', "_");
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Runs SQL in a database.
    pub(crate) fn execute(&self, database: &str, sql: &str) {
        let url = self.url(database);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
            let work = async {
                client.batch_execute(sql).await.unwrap();
                // the connection ends when its client does
                drop(client);
            };
            let ((), ended) = tokio::join!(work, connection);
            ended.unwrap();
        });
    }

    fn order(&self, order: &str) {
        let mut shell = self.shell.lock().unwrap();
        writeln!(shell.orders.as_ref().unwrap(), "{order}").unwrap();
        assert_eq!(shell.reply(), "done");
    }
}

impl Shell {
    fn reply(&mut self) -> String {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the shell of the PostgreSQL cluster ended; standard error says why");
        line.trim_end().to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut shell = self.shell.lock().unwrap();
        drop(shell.orders.take());
        shell.child.wait().unwrap();
    }
}

/// Debian's newest: the programs that run a cluster are not on the PATH.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let bin = entry.path().join("bin");
        bin.join("initdb").exists().then_some((version, bin))
    });
    versions.max().map(|(_, bin)| bin)
}

#[expect(
    clippy::explicit_write,
    reason = "`eprintln!` is captured by the test harness, which shows nothing of a test that passes"
)]
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}
