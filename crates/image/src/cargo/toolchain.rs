//! The compiler that cargo will use, and what of the caller's environment reaches it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use supervise::{Cancel, Cmd};

/// Cargo and the compiler behind it.
pub(super) struct Toolchain {
    pub(super) cargo: PathBuf,
    /// The compiler, where it was found next to cargo: cargo is told, so that it uses the one that was asked here.
    pub(super) rustc: Option<PathBuf>,
    /// `rustc -vV`: version, commit, host, LLVM.
    pub(super) version: String,
    pub(super) sysroot: PathBuf,
    /// The platform that programs are made for: this machine's own, so that what is built can be run and tested here.
    pub(super) target: String,
}

/// Both queries take some 10 ms; a compiler that needs longer than this is being installed by rustup.
const QUERY: Duration = Duration::from_mins(5);

impl Toolchain {
    /// The cargo that runs us (`$CARGO`, which cargo sets for what it starts) or the one in `PATH`, and its compiler.
    pub(super) fn find(prepare: &(dyn Fn(Cmd) -> Cmd + Sync), cancel: &Cancel) -> anyhow::Result<Toolchain> {
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        // Next to cargo in a toolchain's folder: asked directly it answers in half the time that rustup's proxy takes.
        let beside = cargo.with_file_name("rustc");
        let beside = (cargo.is_absolute() && beside.is_file()).then_some(beside);
        let rustc = beside.clone().unwrap_or_else(|| PathBuf::from("rustc"));
        let ask = |args: &[&str]| -> anyhow::Result<String> {
            let cmd = prepare(Cmd::new(&rustc).args(args.iter().copied()).capture_stdout().deadline(QUERY));
            let output =
                cmd.run(cancel).map_err(anyhow::Error::new).context("ask the Rust compiler for its version")?;
            Ok(String::from_utf8(output.stdout).context("read the Rust compiler's answer")?.trim_end().to_owned())
        };
        // A toolchain's folder has `bin` and `lib`; rustup's folder of proxies has not.
        let above = beside.as_deref().and_then(|rustc| rustc.parent()?.parent());
        let known = above.filter(|folder| folder.join("lib/rustlib").is_dir());
        let (version, sysroot) = thread::scope(|scope| {
            let asked = known.is_none().then(|| scope.spawn(|| ask(&["--print", "sysroot"])));
            let version = ask(&["-vV"]);
            let asked = asked.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            (version, asked.transpose())
        });
        let (version, sysroot) = (version?, sysroot?.map(PathBuf::from).or_else(|| known.map(Path::to_path_buf)));
        let sysroot = sysroot.unwrap_or_default();
        let Some(host) = version.lines().find_map(|line| line.strip_prefix("host: ")) else {
            bail!("`{} -vV` does not name its host: is it a Rust compiler?", rustc.display());
        };
        if !host.contains("-linux-") {
            bail!(
                "the cargo builder makes static Linux programs and runs them on this machine, which is `{host}`: \
                 use a Linux machine, virtual machine or container"
            );
        }
        Ok(Toolchain { target: host.to_owned(), cargo, rustc: beside, sysroot, version })
    }

    /// The commit of the compiler, where its distributor tells it.
    pub(super) fn commit(&self) -> &str {
        self.version.lines().find_map(|line| line.strip_prefix("commit-hash: ")).unwrap_or("unknown")
    }
}

/// Whether a variable of the caller is kept from the build.
///
/// What is compiled must follow from the checkout and the toolchain, not from how the tool was started. Under `cargo xtask`
/// the environment holds what cargo set for xtask itself (`CARGO_MANIFEST_DIR`, `CARGO_PKG_*`, …), and a build script that
/// watches one of those would run again at every change between `cargo xtask` and the bare binary. So of cargo's and rustc's
/// variables only those pass that say where to find and how to fetch things. All others of the caller pass: programs may take
/// them in with `env!`, which cargo tracks and the fingerprint lists.
pub(super) fn withheld(name: &str) -> bool {
    const FETCH: [&str; 6] =
        ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_", "CARGO_CACHE_"];
    // Outer builds and hooks: a job server whose pipes we do not pass on, and another checkout's index.
    const OUTER: [&str; 8] = [
        "MAKEFLAGS",
        "MFLAGS",
        "OUT_DIR",
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
        "GIT_WORK_TREE",
        "GIT_COMMON_DIR",
    ];
    let cargo =
        name.starts_with("CARGO_") && name != "CARGO_HOME" && !FETCH.iter().any(|prefix| name.starts_with(prefix));
    let compiler = name.starts_with("RUSTC") || matches!(name, "RUSTFLAGS" | "RUSTDOC" | "RUSTDOCFLAGS");
    cargo || compiler || name.starts_with("__CARGO") || OUTER.contains(&name)
}

/// Variables that say where something is on this machine. A build script may watch them, but their values differ from
/// machine to machine where the outcome does not.
pub(super) fn names_the_machine(name: &str) -> bool {
    matches!(
        name,
        "PATH" | "HOME" | "USER" | "PWD" | "TMPDIR" | "LD_LIBRARY_PATH" | "CARGO" | "CARGO_HOME" | "RUSTUP_HOME"
    ) || withheld(name)
}

/// Whether a variable is a setting of the C toolchain, which build scripts that compile C read (the `cc` crate, "External
/// configuration via environment variables"). Cargo rebuilds when one changes; they are parameters of the build.
pub(super) fn sets_c_toolchain(name: &str) -> bool {
    const TOOLS: [&str; 8] = ["CC", "CXX", "AR", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "ARFLAGS", "LDFLAGS"];
    let name = name.strip_prefix("TARGET_").or_else(|| name.strip_prefix("HOST_")).unwrap_or(name);
    TOOLS.iter().any(|tool| name == *tool || name.strip_prefix(tool).is_some_and(|rest| rest.starts_with('_')))
}

/// The caller's variables that are kept from the build.
pub(super) fn withheld_now() -> Vec<OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_str().is_some_and(withheld)).collect()
}

/// Whether cargo configuration has a say in what is compiled: it holds more than how to fetch, log in, and print.
pub(super) fn shapes_the_build(config: &str) -> bool {
    // `include` is not among them: what the included file says is not known here.
    const HARMLESS: [&str; 13] = [
        "alias",
        "cache",
        "cargo-new",
        "credential-alias",
        "doc",
        "future-incompat-report",
        "http",
        "install",
        "net",
        "registries",
        "registry",
        "source",
        "term",
    ];
    let mut in_table = false;
    for line in config.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // A line of an array may begin with `[` too; taking it for a table makes the answer yes, which is the safe one.
        let key = match line.strip_prefix('[') {
            Some(header) => header.trim_start_matches('['),
            // Dotted keys may stand before the first table.
            None if !in_table => line,
            None => continue,
        };
        in_table |= line.starts_with('[');
        let first = key.split(['.', ']', '=']).next().unwrap_or(key).trim().trim_matches(['"', '\'']);
        if !HARMLESS.contains(&first) {
            return true;
        }
    }
    false
}

/// The folder of cargo's downloads and configuration.
pub(super) fn cargo_home() -> PathBuf {
    // As cargo does it: from the user database where HOME is not set.
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    let set = std::env::var_os("CARGO_HOME").filter(|value| value != OsStr::new("")).map(PathBuf::from);
    set.or_else(home).unwrap_or_else(|| PathBuf::from("/nonexistent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_to_fetch_from_passes_to_the_build() {
        for name in [
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_PROFILE_IMAGE_OPT_LEVEL",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "CARGO_MANIFEST_DIR",
            "CARGO_PKG_VERSION",
            "CARGO_INCREMENTAL",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_BOOTSTRAP",
            "GIT_DIR",
            "MAKEFLAGS",
        ] {
            assert!(withheld(name), "{name}");
        }
        for name in [
            "CARGO",
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_X_TOKEN",
            "PATH",
            "RUSTUP_HOME",
            "APP_VERSION",
        ] {
            assert!(!withheld(name), "{name}");
        }
        assert!(
            sets_c_toolchain("CC")
                && sets_c_toolchain("TARGET_CFLAGS")
                && sets_c_toolchain("CC_x86_64-unknown-linux-gnu")
        );
        assert!(!sets_c_toolchain("CCACHE") && !sets_c_toolchain("ARCH"));
    }

    #[test]
    fn a_mirror_is_not_an_input_but_a_profile_is() {
        assert!(!shapes_the_build(
            "# mine\n[source.crates-io]\nreplace-with = \"mirror\"\n[net]\nretry = 3\n[http]\nproxy = \"x\"\n"
        ));
        assert!(!shapes_the_build(""));
        assert!(!shapes_the_build("net.retry = 3\n"));
        for config in [
            "[profile.image]\nopt-level = 3\n",
            "[net]\nretry = 3\n[target.'cfg(unix)']\nlinker = \"x\"\n",
            "build.rustflags = [\"--cfg\", \"x\"]\n",
            "[env]\nV = \"1\"\n",
            "include = [\"other.toml\"]\n",
        ] {
            assert!(shapes_the_build(config), "{config}");
        }
    }
}
