//! What the builder does around cargo: the fingerprint, sources that change meanwhile, failures, builds at the same time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use image::{BuildError, Digest, Progress};
use supervise::Cancel;

use crate::fixture::{Fixture, LIMIT, Silent, run};

#[test]
fn the_fingerprint_is_of_the_checkout_and_of_nothing_else() {
    let (one, two) = (Fixture::new(), Fixture::new());
    let first = one.build();
    // Another folder, another time, a build of something else before.
    two.edit("app/src/main.rs");
    two.build();
    fs::write(two.path("app/src/main.rs"), fs::read(one.path("app/src/main.rs")).unwrap()).unwrap();
    let second = two.build();
    let (first_source, second_source) = (&first.program.source, &second.program.source);
    // The commits differ in their time, and a build script takes the commit in.
    let without_head = |inputs: &[(String, Digest)]| -> Vec<_> {
        inputs.iter().filter(|(name, _)| name != "git:HEAD").cloned().collect()
    };
    assert_eq!(without_head(&first_source.inputs), without_head(&second_source.inputs));
    assert_eq!(first_source.parameters, second_source.parameters);
    let names: Vec<&str> = first_source.inputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            ".cargo/config",
            ".cargo/config.toml",
            ".git/HEAD",
            "Cargo.lock#app",
            "Cargo.toml",
            "app/Cargo.toml",
            "app/build.rs",
            "app/data.txt",
            "app/src/main.rs",
            "app/src/part.rs",
            "app/src/te xt.txt",
            "cargo-config:outside",
            "env:APP_VAR",
            "git:HEAD",
            "kit/Cargo.toml",
            "kit/src/lib.rs",
            "plain/**",
            "plain/Cargo.toml",
            "plain/build.rs",
            "plain/src/lib.rs",
            "rust-toolchain",
            "rust-toolchain.toml",
        ]
    );
    let told = format!("{first_source:?}");
    assert!(!told.contains(one.root.to_str().unwrap()), "{told}");
}

#[test]
fn the_program_is_static_and_has_no_path_of_the_machine() {
    let fixture = Fixture::new();
    let built = fixture.build();
    let bytes = fs::read(&built.program.path).unwrap();
    assert_eq!(Digest::of(&bytes), built.program.digest);
    // ELF-64: e_phoff at 0x20, e_phentsize at 0x36, e_phnum at 0x38; a program that needs a loader has a PT_INTERP (3).
    let number =
        |at: usize, size: usize| bytes[at..at + size].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let headers = (0..number(0x38, 2)).map(|index| number(number(0x20, 8) + index * number(0x36, 2), 4));
    assert!(headers.clone().count() > 0 && !headers.clone().any(|kind| kind == 3), "not static");
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!has(fixture.root.to_str().unwrap()));
    let home = std::env::var("HOME").unwrap();
    assert!(!has(&format!("{home}/.cargo")) && !has(&format!("{home}/.rustup")));
}

#[test]
fn the_source_now_is_compared_with_that_of_a_build() {
    let fixture = Fixture::new();
    let source = fixture.build().program.source;
    assert!(!source.dirty, "{}", fixture.git(&["status", "--porcelain"]));
    assert_eq!(source.revision.as_deref(), Some(fixture.git(&["rev-parse", "HEAD"]).as_str()));
    let now = || fixture.cargo_build().fingerprint_now(&source, &Cancel::new()).unwrap();
    assert_eq!((now().fingerprint, now().changed), (source.fingerprint, Vec::new()));
    fixture.edit_old("kit/src/lib.rs");
    fs::remove_file(fixture.path("app/data.txt")).unwrap();
    assert_eq!(now().changed, ["app/data.txt", "kit/src/lib.rs"]);
    assert_ne!(now().fingerprint, source.fingerprint);
    fixture.git(&["checkout", "--quiet", "."]);
    assert_eq!(now().fingerprint, source.fingerprint);
    let mut other = fixture.cargo_build();
    other.profile = "dev".to_owned();
    assert_eq!(other.fingerprint_now(&source, &Cancel::new()).unwrap().changed, ["parameter profile"]);
    fixture.edit("app/src/part.rs");
    assert!(fixture.build().program.source.dirty);
}

#[test]
fn flags_of_the_caller_do_not_reach_the_build() {
    let mut fixture = Fixture::new();
    let before = fixture.build();
    fixture.env = [
        ("RUSTFLAGS", "--cfg broken -C no-such-flag"),
        ("CARGO_ENCODED_RUSTFLAGS", "--no-such-flag"),
        ("RUSTC_WRAPPER", "/nonexistent"),
        ("CARGO_PROFILE_IMAGE_DEBUG_ASSERTIONS", "false"),
        ("CARGO_BUILD_TARGET", "no-such-target"),
        ("CARGO_TARGET_DIR", "/nonexistent"),
        ("GIT_DIR", "/nonexistent"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let after = fixture.build();
    assert_eq!(after.program.digest, before.program.digest);
    assert_eq!(after.program.source, before.program.source);
}

#[test]
fn a_source_that_changes_meanwhile_is_built_again() {
    for known in [false, true] {
        let fixture = Arc::new(Fixture::new());
        if known {
            fixture.build();
        }
        let during = fixture.clone();
        // After cargo has read it, and so that cargo cannot see it.
        let outcome = fixture.build_with(move |progress| {
            if progress == (Progress::Compiled { attempt: 1 }) {
                during.edit_old("kit/src/lib.rs");
            }
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.attempts, 2);
        assert!(outcome.made_visible.contains(&"kit/src/lib.rs".to_owned()), "{:?}", outcome.made_visible);
        assert!(run(&outcome.programs["app"].path).contains("kit=two"));
    }
}

#[test]
fn a_change_that_was_undone_meanwhile_is_noticed() {
    let fixture = Arc::new(Fixture::new());
    fixture.build();
    let during = fixture.clone();
    let outcome = fixture.build_with(move |progress| {
        if progress == (Progress::Compiled { attempt: 1 }) {
            let path = during.path("kit/src/lib.rs");
            let text = fs::read(&path).unwrap();
            fs::write(&path, "broken").unwrap();
            fs::write(&path, text).unwrap();
        }
    });
    assert_eq!(outcome.unwrap().attempts, 2);
}

#[test]
fn a_source_that_never_rests_is_an_error_that_names_it() {
    let fixture = Arc::new(Fixture::new());
    let (during, count) = (fixture.clone(), AtomicU32::new(0));
    let error = fixture.build_with(move |progress| {
        if let Progress::Compiled { .. } = progress {
            let text = format!("pub const KIT: &str = \"{}\";\n", count.fetch_add(1, Ordering::Relaxed));
            fs::write(during.path("kit/src/lib.rs"), text).unwrap();
        }
    });
    let error = error.unwrap_err();
    let BuildError::SourceKeepsChanging { inputs, attempts } = &error else { panic!("{error}") };
    assert_eq!((inputs.as_slice(), *attempts), (["kit/src/lib.rs".to_owned()].as_slice(), 4));
    assert!(error.to_string().contains("`kit/src/lib.rs`"), "{error}");
    // And the state it left is not trusted.
    assert!(fixture.build().says.contains("kit=3"));
}

#[test]
fn a_compile_error_is_told_in_one_sentence() {
    let fixture = Fixture::new();
    fs::write(fixture.path("kit/src/lib.rs"), "pub const KIT: &str = missing;\n").unwrap();
    let error = fixture.build_with(|_| {}).unwrap_err();
    let BuildError::Failed { cause, tail, log } = &error else { panic!("{error}") };
    assert_eq!(
        cause,
        "`kit` does not compile: error[E0425]: cannot find value `missing` in this scope (kit/src/lib.rs:1)"
    );
    assert!(tail.iter().any(|line| line.contains("could not compile")), "{tail:?}");
    assert!(fs::read_to_string(log).unwrap().contains("cannot find value `missing`"));
}

#[test]
fn what_is_missing_is_named() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path(".cargo")).unwrap();
    fs::write(fixture.path(".cargo/config.toml"), "[target.'cfg(all())']\nlinker = \"no-such-linker\"\n").unwrap();
    let error = fixture.build_with(|_| {}).unwrap_err().to_string();
    assert!(error.contains("linker `no-such-linker` not found; install a C compiler"), "{error}");
    fs::remove_file(fixture.path(".cargo/config.toml")).unwrap();
    let mut build = fixture.cargo_build();
    build.packages = vec!["nobody".to_owned()];
    let out = fixture.root.join("out");
    let log = fixture.root.join("log");
    let error = build.run(&out, &Cancel::new(), Arc::new(Silent), &log, Arc::new(|_| {})).unwrap_err().to_string();
    assert!(error.contains("`nobody`"), "{error}");
}

#[test]
fn cancelling_ends_a_build_and_the_next_one_is_right() {
    let fixture = Fixture::new();
    let cancel = Cancel::new();
    let during = cancel.clone();
    let on_progress = move |progress| {
        if matches!(&progress, Progress::Line(line) if line.contains("Compiling")) {
            during.cancel();
        }
    };
    let (out, log) = (fixture.root.join("out"), fixture.root.join("log"));
    let error = fixture.cargo_build().run(&out, &cancel, Arc::new(Silent), &log, Arc::new(on_progress)).unwrap_err();
    assert!(matches!(error, BuildError::Cancelled), "{error}");
    fixture.edit_old("kit/src/lib.rs");
    assert!(fixture.build().says.contains("kit=two"));
}

#[test]
fn a_second_build_waits_for_the_first_and_both_have_their_own_program() {
    let fixture = Arc::new(Fixture::new());
    let (told, waiting) = std::sync::mpsc::channel();
    let waiting = std::sync::Mutex::new(waiting);
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| {
            let (inner, during) = (fixture.clone(), fixture.clone());
            let second = std::sync::Mutex::new(None);
            let second = Arc::new(second);
            let started = second.clone();
            let told = told.clone();
            let outcome = fixture.build_with(move |progress| {
                // While the first holds the lock the second begins, and must wait.
                if progress == (Progress::Compiled { attempt: 1 }) {
                    let (inner, told) = (inner.clone(), told.clone());
                    *started.lock().unwrap() = Some(thread::spawn(move || {
                        let (out, log) = (inner.root.join("out2"), inner.root.join("log2"));
                        let report = move |progress| {
                            if let Progress::Waiting { holder } = progress {
                                told.send(holder).unwrap();
                            }
                        };
                        inner.cargo_build().run(&out, &Cancel::new(), Arc::new(Silent), &log, Arc::new(report)).unwrap()
                    }));
                    let holder = waiting.lock().unwrap().recv_timeout(LIMIT).unwrap();
                    assert_eq!(holder, format!("process {}", std::process::id()));
                    during.edit_old("app/src/part.rs");
                }
            });
            let second = second.lock().unwrap().take().unwrap().join().unwrap();
            (outcome.unwrap(), second)
        });
        first.join().unwrap()
    });
    let (first, second) = (&first.programs["app"], &second.programs["app"]);
    assert_ne!(first.path, second.path);
    assert!(run(&first.path).contains("part=two") && run(&second.path).contains("part=two"));
    assert_eq!(first.digest, second.digest);
}

#[test]
fn waiting_for_the_lock_ends_on_cancel_and_at_the_limit() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.target()).unwrap();
    let file = fs::File::create(fixture.target().join("build.lock")).unwrap();
    file.lock().unwrap();
    let (out, log) = (fixture.root.join("out"), fixture.root.join("log"));
    let cancel = Cancel::new();
    let during = cancel.clone();
    let on_progress = Arc::new(move |_| during.cancel());
    let error = fixture.cargo_build().run(&out, &cancel, Arc::new(Silent), &log, on_progress).unwrap_err();
    assert!(matches!(error, BuildError::Cancelled), "{error}");
    let mut build = fixture.cargo_build();
    build.limit = Duration::from_millis(1);
    let error = build.run(&out, &Cancel::new(), Arc::new(Silent), &log, Arc::new(|_| {})).unwrap_err().to_string();
    assert!(error.contains("holds") && error.contains("build.lock"), "{error}");
}
