//! Images: the same source gives the same bytes, the labels tell what it was, and nothing else is packed than what was built.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use image::{AssetContent, AssetFile, BlobStore, BuiltImage, Digest, Handover, NotAsBuilt, Recipe, build};
use serde_json::{Value, json};

use crate::kit::{self, TempDir};

#[test]
fn two_builds_of_one_source_have_the_same_digests() {
    let dir = TempDir::new();
    let files = [
        AssetFile { path: "/etc/rules.toml".to_owned(), content: AssetContent::Bytes(b"a = 1".to_vec()), mode: 0o644 },
        AssetFile { path: "/srv/page".to_owned(), content: AssetContent::Host(dir.join("page")), mode: 0o600 },
    ];
    fs::write(dir.join("page"), "hello").unwrap();
    // Another place, another time, another run, another tag, the files in another order: none of it may show.
    let image = |place: &str, files: &[AssetFile]| {
        let program = kit::program(&dir.join(place), kit::tiny());
        let recipe = Recipe { files, ports: &[8080, 9090], ..Recipe::new(&program) };
        build(kit::tag(), &recipe, &BlobStore::create(&dir.join(&format!("{place}-blobs"))).unwrap()).unwrap()
    };
    let (one, two) = (image("one", &files), image("two", &[files[1].clone(), files[0].clone()]));
    assert_ne!(one.reference(), two.reference());
    assert_eq!(one.layers(), two.layers());
    assert_eq!(one.config_digest(), two.config_digest());
    assert_eq!(one.manifest_digest(), two.manifest_digest());
    assert_eq!(one.executable_digest(), two.executable_digest());
    for image in [&one, &two] {
        assert_eq!(Digest::of(image.config_bytes()), image.config_digest());
        assert_eq!(Digest::of(image.manifest_bytes()), image.manifest_digest());
        let text = String::from_utf8_lossy(image.config_bytes());
        assert!(!text.contains(&image.run().simple()) && !text.contains(env!("CARGO_TARGET_TMPDIR")), "{text}");
    }
}

#[test]
fn the_config_says_what_it_was_built_from_and_how_it_is_run() {
    let dir = TempDir::new();
    let program = kit::program(&dir.join("program"), kit::tiny());
    let env = [("LOG".to_owned(), "info".to_owned())];
    let recipe = Recipe { ports: &[8080], env: &env, ..Recipe::new(&program) };
    let image = build(kit::tag(), &recipe, &BlobStore::create(&dir.join("blobs")).unwrap()).unwrap();
    let config: Value = serde_json::from_slice(image.config_bytes()).unwrap();
    let fingerprint = program.source.fingerprint.to_string();
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    assert_eq!(config["os"], "linux");
    assert_eq!(config["architecture"], if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    assert_eq!(
        config["config"],
        json!({
            "User": "65532:65532",
            "ExposedPorts": { "8080/tcp": {} },
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "SERVICE_NAME=tiny",
                format!("SOURCE_FINGERPRINT={fingerprint}"),
                "SOURCE_REVISION=0123abc",
                "LOG=info",
            ],
            "Entrypoint": ["/usr/bin/tiny"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.created": "1970-01-01T00:00:00Z",
                "org.opencontainers.image.revision": "0123abc",
                "dev.e2e.consumer": "gateway",
                "dev.e2e.dirty": "true",
                "dev.e2e.service": "tiny",
                "dev.e2e.source-fingerprint": fingerprint,
            },
        })
    );
    assert_eq!(image.executable_fingerprint().unwrap(), Some(program.source.fingerprint));
}

#[test]
fn layers_go_from_what_changes_least_to_what_changes_most() {
    let dir = TempDir::new();
    let program = kit::program(&dir.join("program"), kit::tiny());
    let rules = AssetContent::Bytes(b"a = 1".to_vec());
    let files = [AssetFile { path: "/etc/app/rules.toml".to_owned(), content: rules, mode: 0o640 }];
    let blobs = BlobStore::create(&dir.join("blobs")).unwrap();
    let image = build(kit::tag(), &Recipe { files: &files, ..Recipe::new(&program) }, &blobs).unwrap();
    let layers: Vec<_> = image.layers().iter().map(|layer| contents(&image, &layer.digest)).collect();
    let [base, assets, executable] = layers.as_slice() else { panic!("{layers:?}") };
    assert_eq!(base["data/"], (0o750, 65532, String::new()));
    assert_eq!(base["tmp/"].0, 0o1777);
    assert!(base["etc/passwd"].2.contains("nonroot:x:65532:65532:"), "{base:?}");
    assert_eq!(assets.keys().collect::<Vec<_>>(), ["etc/", "etc/app/", "etc/app/rules.toml"]);
    assert_eq!(assets["etc/app/rules.toml"], (0o640, 0, "a = 1".to_owned()));
    assert_eq!(executable.keys().collect::<Vec<_>>(), ["usr/", "usr/bin/", "usr/bin/tiny"]);
    assert_eq!(executable["usr/bin/tiny"].0, 0o755);

    // An edit of the program changes its layer alone.
    let mut bytes = kit::tiny().to_vec();
    bytes.extend_from_slice(b"edited");
    let edited = kit::program(&dir.join("program"), &bytes);
    let edited = build(kit::tag(), &Recipe { files: &files, ..Recipe::new(&edited) }, &blobs).unwrap();
    assert_eq!(edited.layers()[..2], image.layers()[..2]);
    assert_ne!(edited.layers()[2], image.layers()[2]);
}

/// Mode, owner and text of everything in a layer.
fn contents(image: &BuiltImage, layer: &Digest) -> BTreeMap<String, (u32, u64, String)> {
    let mut archive = tar::Archive::new(image.blobs().reader(layer).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let (mode, owner) = (entry.header().mode().unwrap(), entry.header().uid().unwrap());
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.insert(path, (mode, owner, String::from_utf8_lossy(&bytes).into_owned()));
    }
    found
}

#[test]
fn certificate_authorities_are_packed_where_a_recipe_wants_them() {
    let dir = TempDir::new();
    let program = kit::program(&dir.join("program"), kit::tiny());
    let blobs = BlobStore::create(&dir.join("blobs")).unwrap();
    let plain = build(kit::tag(), &Recipe::new(&program), &blobs).unwrap();
    let path = "etc/ssl/certs/ca-certificates.crt";
    assert!(!contents(&plain, &plain.layers()[0].digest).contains_key(path));
    let wanted = build(kit::tag(), &Recipe { ca_bundle: true, ..Recipe::new(&program) }, &blobs);
    match fs::read_to_string(format!("/{path}")) {
        Ok(bundle) => {
            let wanted = wanted.unwrap();
            assert_eq!(contents(&wanted, &wanted.layers()[0].digest)[path], (0o644, 0, bundle));
        }
        Err(_) => {
            let error = format!("{:#}", wanted.unwrap_err());
            assert!(error.contains("install the package `ca-certificates`"), "{error}");
        }
    }
}

#[test]
fn a_program_that_was_replaced_after_it_was_built_is_refused() {
    let dir = TempDir::new();
    let program = kit::program(&dir.join("program"), kit::tiny());
    let blobs = BlobStore::create(&dir.join("blobs")).unwrap();
    let mut other = kit::tiny().to_vec();
    *other.last_mut().unwrap() ^= 1;
    let dynamic = fs::read(kit::compile(dir.path(), "target-feature=-crt-static")).unwrap();
    for replacement in [other.as_slice(), &dynamic, b"#!/bin/sh\n"] {
        fs::write(&program.path, replacement).unwrap();
        let error = build(kit::tag(), &Recipe::new(&program), &blobs).unwrap_err();
        let broken = error.downcast_ref::<NotAsBuilt>().unwrap();
        let values = (program.digest.to_string(), Ok(Digest::of(replacement).to_string()));
        assert_eq!((broken.handover, (broken.expected.clone(), broken.found.clone())), (Handover::Packing, values));
        assert!(format!("{error:#}").contains("was replaced after it was built (expected sha256:"), "{error:#}");
    }
    // What cannot be read is not what was replaced.
    fs::remove_file(&program.path).unwrap();
    let error = build(kit::tag(), &Recipe::new(&program), &blobs).unwrap_err();
    assert!(!error.is::<NotAsBuilt>() && format!("{error:#}").contains("No such file"), "{error:#}");
}

#[test]
fn only_static_elf_programs_are_packed() {
    let dir = TempDir::new();
    let blobs = BlobStore::create(&dir.join("blobs")).unwrap();
    let dynamic = fs::read(kit::compile(dir.path(), "target-feature=-crt-static")).unwrap();
    let patched = |at: usize, value: u8| {
        let mut bytes = kit::tiny().to_vec();
        bytes[at] = value;
        bytes
    };
    for (bytes, reason) in [
        (dynamic, "linked dynamically"),
        (b"#!/bin/sh\n".to_vec(), "not a 64-bit little-endian ELF"),
        (Vec::new(), "not a 64-bit little-endian ELF"),
        (patched(4, 1), "not a 64-bit little-endian ELF"),
        (patched(5, 2), "not a 64-bit little-endian ELF"),
        (patched(18, 3), "e_machine 3"),
        (patched(46, 0xff), "the file is damaged"),
        (kit::tiny()[..2000].to_vec(), "the file is damaged"),
    ] {
        let program = kit::program(&dir.join("program"), &bytes);
        let error = build(kit::tag(), &Recipe::new(&program), &blobs).unwrap_err();
        assert!(!error.is::<NotAsBuilt>() && format!("{error:#}").contains(reason), "{error:#}");
    }
}

#[test]
fn a_recipe_that_makes_no_sense_is_refused() {
    let dir = TempDir::new();
    let program = kit::program(&dir.join("program"), kit::tiny());
    let blobs = BlobStore::create(&dir.join("blobs")).unwrap();
    let plain = Recipe::new(&program);
    let file =
        |path: &str, mode| vec![AssetFile { path: path.to_owned(), content: AssetContent::Bytes(Vec::new()), mode }];
    let variable = |name: &str| vec![(name.to_owned(), String::new())];
    let refused = |recipe: &Recipe<'_>, reason: &str| {
        let error = format!("{:#}", build(kit::tag(), recipe, &blobs).unwrap_err());
        assert!(error.contains(reason), "{error}");
    };
    refused(&Recipe { service: "../tiny", ..plain.clone() }, "cannot name a service");
    refused(&Recipe { user: (0, 65532), ..plain.clone() }, "run as root");
    refused(&Recipe { env: &variable("A=B"), ..plain.clone() }, "cannot be a variable");
    refused(&Recipe { env: &variable("SOURCE_FINGERPRINT"), ..plain.clone() }, "set twice");
    for (path, mode, reason) in [
        ("rules.toml", 0o644, "begin it with `/`"),
        ("/etc/../rules.toml", 0o644, "`..`"),
        ("/etc/passwd", 0o644, "already"),
        ("/usr/bin", 0o644, "already"),
        ("/usr/bin/tiny", 0o644, "already"),
        ("/usr/bin/tiny/x", 0o644, "cannot be below `/usr/bin/tiny`"),
        ("/tmp/x", 0o644, "cannot be below `/tmp`"),
        ("/etc/x", 0o4755, "permission bits"),
        (&format!("/{}", "long".repeat(30)), 0o644, "shorter path"),
    ] {
        refused(&Recipe { files: &file(path, mode), ..plain.clone() }, reason);
    }
    let twice = [file("/etc/x", 0o644), file("/etc/x", 0o644)].concat();
    refused(&Recipe { files: &twice, ..plain.clone() }, "twice");
    let both = [file("/etc/x", 0o644), file("/etc/x/y", 0o644)].concat();
    refused(&Recipe { files: &both, ..plain.clone() }, "a file `/etc/x`");
    let missing = AssetContent::Host(dir.join("missing"));
    let missing = [AssetFile { path: "/etc/x".to_owned(), content: missing, mode: 0o644 }];
    refused(&Recipe { files: &missing, ..plain }, "missing");
}

#[test]
fn an_image_may_hold_more_files_than_a_process_may_open() {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let open = open.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX);
    // Where a process may open any number there is nothing to test.
    let count = open.min(50_000) + 1;
    let dir = TempDir::new();
    fs::write(dir.join("page"), "hello").unwrap();
    let file = |number| AssetFile {
        path: format!("/srv/{number}"),
        content: AssetContent::Host(dir.join("page")),
        mode: 0o644,
    };
    let files: Vec<_> = (0..count).map(file).collect();
    let program = kit::program(&dir.join("program"), kit::tiny());
    let blobs = BlobStore::create(&dir.join("blobs")).unwrap();
    let image = build(kit::tag(), &Recipe { files: &files, ..Recipe::new(&program) }, &blobs).unwrap();
    assert!(image.layers()[1].size > 1024 * count as u64);
}
