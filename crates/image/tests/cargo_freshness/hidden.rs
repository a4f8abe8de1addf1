//! Cargo goes by times of modification. Each case here makes it keep a program of an older source, shows that it does (`bare`
//! is plain cargo on the same workspace), and then that `CargoBuild` makes the program of the current source.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use supervise::Cancel;

use crate::fixture::{Fixture, Silent, below, run, set_time, time};

/// Edits after a build; plain cargo still says `old`, the builder says `new`.
#[track_caller]
fn hidden_edit(edit: impl Fn(&Fixture), old: &str, new: &str) {
    let fixture = Fixture::new();
    assert!(fixture.bare().contains(old));
    assert!(fixture.build().says.contains(old));
    edit(&fixture);
    assert!(fixture.bare().contains(old), "cargo sees this case by itself now: is the measure still needed?");
    let built = fixture.build();
    assert!(built.says.contains(new) && !built.says.contains(old), "{}", built.says);
    assert_eq!((built.outcome.attempts, built.reasons), (1, Vec::new()));
    assert_eq!(built.outcome.made_visible.len(), 1, "{:?}", built.outcome.made_visible);
    // Seen once is enough: the next build has nothing to do.
    let built = fixture.build();
    assert!(built.says.contains(new));
    assert_eq!((built.outcome.attempts, built.outcome.made_visible), (1, Vec::new()));
}

#[test]
fn source_edited_with_an_old_time() {
    hidden_edit(|fixture| fixture.edit_old("app/src/main.rs"), "main=one", "main=two");
}

#[test]
fn included_file_edited_with_an_old_time() {
    hidden_edit(|fixture| fixture.edit_old("app/src/te xt.txt"), "text=one", "text=two");
}

#[test]
fn same_size_and_the_time_put_back() {
    hidden_edit(
        |fixture| {
            let path = fixture.path("app/src/part.rs");
            let before = time(&path);
            fixture.edit("app/src/part.rs");
            set_time(&path, before);
        },
        "part=one",
        "part=two",
    );
}

#[test]
fn path_dependency_edited_with_an_old_time() {
    hidden_edit(|fixture| fixture.edit_old("kit/src/lib.rs"), "kit=one", "kit=two");
}

#[test]
fn input_of_a_build_script_edited_with_an_old_time() {
    hidden_edit(|fixture| fixture.edit_old("app/data.txt"), "data=one", "data=two");
}

#[test]
fn input_of_a_build_script_that_names_none_edited_with_an_old_time() {
    hidden_edit(|fixture| fixture.edit_old("plain/data.txt"), "plain=one", "plain=two");
}

#[test]
fn the_clock_was_ahead_when_the_artefacts_were_made() {
    hidden_edit(
        |fixture| {
            for file in below(&fixture.path("target")) {
                let ahead = time(&file) + Duration::from_secs(24 * 3600);
                set_time(&file, ahead);
            }
            fixture.edit("kit/src/lib.rs");
        },
        "kit=one",
        "kit=two",
    );
}

#[test]
fn commit_in_a_build_script_that_watches_only_the_branch_name() {
    let fixture = Fixture::new();
    let first = fixture.git(&["rev-parse", "HEAD"]);
    assert!(fixture.bare().contains(&first) && fixture.build().says.contains(&first));
    fixture.commit();
    let second = fixture.git(&["rev-parse", "HEAD"]);
    assert!(fixture.bare().contains(&first), "cargo sees this case by itself now: is the measure still needed?");
    let built = fixture.build();
    assert!(built.says.contains(&second), "{}", built.says);
    assert_eq!(built.program.source.revision, Some(second));
    assert_eq!(built.outcome.attempts, 1);
}

#[test]
fn program_in_the_target_directory_overwritten_with_an_older_one() {
    let fixture = Fixture::new();
    fixture.bare();
    let old = fixture.build();
    let kept = fixture.root.join("old");
    fs::copy(&old.program.path, &kept).unwrap();
    // In place: the file in cargo's `deps` is a hard link to it.
    let overwrite = |program: &Path| fs::write(program, fs::read(&kept).unwrap()).unwrap();
    fixture.edit("app/src/main.rs");
    assert!(fixture.bare().contains("main=two"));
    overwrite(&fixture.path("target/bare/image/app"));
    assert!(fixture.bare().contains("main=one"), "cargo sees this case by itself now: is the measure still needed?");
    let new = fixture.build();
    overwrite(&below(&fixture.target()).into_iter().find(|path| path.ends_with("image/app")).unwrap());
    let built = fixture.build();
    assert!(built.says.contains("main=two"), "{}", built.says);
    assert_eq!(built.outcome.attempts, 2);
    assert!(built.reasons[0].contains("is not the file that was built"), "{:?}", built.reasons);
    assert_eq!(built.program.source, new.program.source);
}

#[test]
fn variables_that_programs_take_in_are_inputs() {
    let mut fixture = Fixture::new();
    let without = fixture.build();
    assert!(without.says.contains("var=None"));
    assert!(fixture.build().outcome.made_visible.is_empty());
    fixture.env = vec![("APP_VAR".to_owned(), "set".to_owned())];
    let with = fixture.build();
    assert!(with.says.contains("var=Some(\"set\")"), "{}", with.says);
    assert_ne!(with.program.source.fingerprint, without.program.source.fingerprint);
    // What a build script sets for the compiler is not taken from outside.
    let names: Vec<&str> = with.program.source.inputs.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"env:APP_VAR") && !names.contains(&"env:COMMIT"), "{names:?}");
}

#[test]
fn a_module_that_moved_is_followed() {
    let fixture = Fixture::new();
    assert!(fixture.build().says.contains("part=one"));
    fs::create_dir(fixture.path("app/src/part")).unwrap();
    fs::rename(fixture.path("app/src/part.rs"), fixture.path("app/src/part/mod.rs")).unwrap();
    fixture.edit_old("app/src/part/mod.rs");
    let built = fixture.build();
    assert!(built.says.contains("part=two"), "{}", built.says);
    assert!(built.program.source.inputs.iter().any(|(name, _)| name == "app/src/part/mod.rs"));
    assert!(!built.program.source.inputs.iter().any(|(name, _)| name == "app/src/part.rs"));
}

#[test]
fn a_file_that_joins_or_leaves_a_watched_package_counts() {
    let fixture = Fixture::new();
    let script = "fn main() {\n    let there = std::fs::exists(\"new.txt\").unwrap();\n    println!(\"cargo::rustc-env=PLAIN_DATA={there}\");\n}\n";
    fs::write(fixture.path("plain/build.rs"), script).unwrap();
    assert!(fixture.build().says.contains("plain=false"));
    for (name, seen) in [("plain/ignored", false), ("plain/new.txt", true)] {
        fs::write(fixture.path(name), "").unwrap();
        fixture.age(name);
        let built = fixture.build();
        assert!(built.says.contains(&format!("plain={seen}")), "{name}: {}", built.says);
        assert_eq!(built.outcome.made_visible.is_empty(), !seen, "{name}: {:?}", built.outcome.made_visible);
    }
    fs::remove_file(fixture.path("plain/new.txt")).unwrap();
    assert!(fixture.build().says.contains("plain=false"));
}

#[test]
fn without_a_usable_record_nothing_is_kept() {
    let record = |fixture: &Fixture| fixture.target().join("build-record.json");
    let damage: [fn(&Path); 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "{\"version\":1,\"inp").unwrap(),
        // The tool was killed while cargo ran.
        |path| {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains("\"running\":false"));
            fs::write(path, text.replace("\"running\":false", "\"running\":true")).unwrap();
        },
    ];
    let fixture = Fixture::new();
    let mut says = ["main=one", "main=two"].into_iter().cycle();
    assert!(fixture.build().says.contains(says.next().unwrap()));
    for damage in damage {
        let text = fs::read_to_string(fixture.path("app/src/main.rs")).unwrap();
        let text = if text.contains("one") { text.replace("one", "two") } else { text.replace("two", "one") };
        fs::write(fixture.path("app/src/main.rs"), text).unwrap();
        fixture.age("app/src/main.rs");
        damage(&record(&fixture));
        let built = fixture.build();
        assert!(built.says.contains(says.next().unwrap()), "{}", built.says);
        assert_eq!(built.outcome.attempts, 1, "{:?}", built.reasons);
    }
}

#[test]
fn without_record_and_lock_file_nothing_is_kept_either() {
    let fixture = Fixture::new();
    fixture.build();
    fs::remove_file(fixture.target().join("build-record.json")).unwrap();
    fs::remove_file(fixture.path("Cargo.lock")).unwrap();
    fixture.edit_old("kit/src/lib.rs");
    let built = fixture.build();
    assert!(built.says.contains("kit=two"), "{}", built.says);
    // Cargo writes the lock file during the build, so that a second look is needed.
    assert_eq!(built.reasons, ["`Cargo.lock#app` changed while it was built"]);
}

#[test]
fn programs_that_share_a_package_are_built_by_turns() {
    let fixture = Fixture::new();
    let build = |packages: &[&str]| {
        let mut build = fixture.cargo_build();
        build.packages = packages.iter().map(|&package| package.to_owned()).collect();
        let (out, log) = (fixture.root.join("out"), fixture.root.join("log"));
        let outcome = build.run(&out, &Cancel::new(), Arc::new(Silent), &log, Arc::new(|_| {})).unwrap();
        assert_eq!(outcome.attempts, 1);
        let says: String = outcome.programs.values().map(|program| run(&program.path)).collect();
        (says.matches("kit=one").count(), says.matches("kit=two").count(), outcome.made_visible)
    };
    let kit = || vec!["kit/src/lib.rs".to_owned()];
    assert_eq!(build(&["app", "other"]), (2, 0, vec![]));
    fixture.edit_old("kit/src/lib.rs");
    assert_eq!(build(&["app"]), (0, 1, kit()));
    // The library in the target directory is of the edit, and `other` was never built from it.
    let text = fs::read_to_string(fixture.path("kit/src/lib.rs")).unwrap();
    fs::write(fixture.path("kit/src/lib.rs"), text.replace("two", "one")).unwrap();
    fixture.age("kit/src/lib.rs");
    assert_eq!(build(&["other"]), (1, 0, kit()));
    assert_eq!(build(&["app", "other"]), (2, 0, vec![]));
}

#[test]
fn manifests_count_whatever_their_time() {
    let fixture = Fixture::new();
    let first = fixture.build();
    assert!(first.says.contains("extra=false assertions=true"));
    for (name, from, to) in [
        ("app/Cargo.toml", "default = []", "default = [\"extra\"]"),
        ("Cargo.toml", "debug = false", "debug-assertions = false"),
    ] {
        let text = fs::read_to_string(fixture.path(name)).unwrap();
        fs::write(fixture.path(name), text.replace(from, to)).unwrap();
        fixture.age(name);
    }
    let built = fixture.build();
    assert!(built.says.contains("extra=true assertions=false"), "{}", built.says);
    assert_ne!(built.program.source.fingerprint, first.program.source.fingerprint);
    // A remark changes the fingerprint, since the file is an input, but there is nothing to build.
    let text = fs::read_to_string(fixture.path("Cargo.toml")).unwrap();
    fs::write(fixture.path("Cargo.toml"), format!("# A remark.\n{text}")).unwrap();
    let remark = fixture.build();
    assert_eq!((remark.outcome.attempts, remark.program.digest), (1, built.program.digest));
}

#[test]
fn what_a_failed_build_compiled_is_not_taken_for_what_was_recorded() {
    let fixture = Fixture::new();
    assert!(fixture.build().says.contains("kit=one"));
    let (kit, main) = (fixture.path("kit/src/lib.rs"), fixture.path("app/src/main.rs"));
    let (kit_before, main_before) = (fs::read(&kit).unwrap(), fs::read(&main).unwrap());
    fixture.edit("kit/src/lib.rs");
    fs::write(&main, "fn main() { broken }\n").unwrap();
    let error = fixture.build_with(|_| {}).unwrap_err();
    assert!(error.to_string().contains("`app` does not compile"), "{error}");
    // Now the library in the target directory is of the edit, and everything looks as it did at the last good build.
    for (path, text) in [(&kit, kit_before), (&main, main_before)] {
        fs::write(path, text).unwrap();
    }
    fixture.age("kit/src/lib.rs");
    fixture.age("app/src/main.rs");
    let built = fixture.build();
    assert!(built.says.contains("kit=one"), "{}", built.says);
}
