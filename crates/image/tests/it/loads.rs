//! Loading: what arrives is checked, what is held is read anew, and what runs is what was packed.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;

use image::{
    AssetContent, AssetFile, BlobStore, BuiltImage, Digest, Handover, Held, Holder, LocalStore, NotAsBuilt, Recipe,
    Transfer, build, load,
};
use supervise::Cmd;

use crate::kit::{self, TempDir};

#[test]
fn a_loaded_image_is_unpacked_and_runs() {
    let dir = TempDir::new();
    let store = LocalStore::create(&dir.join("store")).unwrap();
    let program = kit::program(&dir.join("program"), kit::tiny());
    let page = AssetContent::Bytes(b"page".to_vec());
    let files = [AssetFile { path: "/srv/page".to_owned(), content: page, mode: 0o640 }];
    let env = [("LOG".to_owned(), "a=b".to_owned())];
    let recipe = Recipe { env: &env, files: &files, ..Recipe::new(&program) };
    let built = build(kit::tag(), &recipe, &BlobStore::create(&dir.join("built")).unwrap()).unwrap();
    let loaded = load(built, &store).unwrap();
    assert_eq!(loaded.transfer().blobs_sent, 5);
    assert_eq!(loaded.held().config_digest, loaded.image().config_digest());

    let rootfs = store.unpack(&loaded, &dir.join("rootfs")).unwrap();
    assert_eq!(rootfs.entrypoint, ["/usr/bin/tiny"]);
    assert_eq!((rootfs.user, rootfs.working_dir.as_str()), ((65532, 65532), "/"));
    assert!(rootfs.env.contains(&("LOG".to_owned(), "a=b".to_owned())), "{:?}", rootfs.env);
    let executable = rootfs.root.join("usr/bin/tiny");
    assert_eq!(Digest::of_file(&executable).unwrap(), loaded.image().executable_digest().unwrap());
    // The section was added, and it still runs.
    assert_ne!(loaded.image().executable_digest().unwrap(), program.digest);
    assert_eq!(kit::run(Cmd::new(executable)).trim(), kit::GREETING);

    let mode = |path: &str| fs::metadata(rootfs.root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        (mode(""), mode("tmp"), mode("data"), mode("srv/page"), mode("usr/bin/tiny")),
        (0o755, 0o1777, 0o750, 0o640, 0o755)
    );
    let owner = |path: &str| fs::metadata(rootfs.root.join(path)).unwrap().uid();
    let me = fs::metadata(dir.path()).unwrap().uid();
    assert_eq!(owner("data"), if me == 0 { 65532 } else { me });
}

#[test]
fn what_lies_where_an_image_is_unpacked_is_told() {
    let dir = TempDir::new();
    let store = LocalStore::create(&dir.join("store")).unwrap();
    let loaded = load(kit::image(&dir), &store).unwrap();
    let root = dir.join("rootfs");
    let found = |what: &str| {
        let error = store.unpack(&loaded, &root).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&root.display().to_string()) && text.contains("must be new"), "{text}");
        let broken = error.downcast_ref::<NotAsBuilt>().unwrap();
        let values = (broken.handover, broken.expected.as_str(), broken.found.as_deref());
        assert_eq!(values, (Handover::Unpacking, "nothing", Ok(what)));
    };
    fs::write(&root, "").unwrap();
    found("a file");
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    found("an empty directory");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("a"), "").unwrap();
    found("a directory with `a`, `usr`");
    let nowhere = store.unpack(&loaded, &dir.join("gone/rootfs")).unwrap_err();
    assert!(!nowhere.is::<NotAsBuilt>(), "no directory above is a fault of another kind: {nowhere:#}");
}

#[test]
fn a_program_without_a_section_table_gets_one_and_runs() {
    let dir = TempDir::new();
    let store = LocalStore::create(&dir.join("store")).unwrap();
    let mut bytes = kit::tiny().to_vec();
    // e_shoff, and e_shnum with e_shstrndx: what `strip --strip-section-headers` leaves.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    let program = kit::program(&dir.join("program"), &bytes);
    let built = build(kit::tag(), &Recipe::new(&program), &BlobStore::create(&dir.join("built")).unwrap()).unwrap();
    assert_eq!(built.executable_fingerprint().unwrap(), Some(program.source.fingerprint));
    let rootfs = store.unpack(&load(built, &store).unwrap(), &dir.join("rootfs")).unwrap();
    let executable = rootfs.root.join("usr/bin/tiny");
    assert_eq!(kit::run(Cmd::new(&executable)).trim(), kit::GREETING);

    // What was packed is not packed again: it says already what it was built from.
    let packed = kit::program(&dir.join("packed"), &fs::read(executable).unwrap());
    let error = build(kit::tag(), &Recipe::new(&packed), &BlobStore::create(&dir.join("again")).unwrap()).unwrap_err();
    assert!(format!("{error:#}").contains("has a section `.e2e.source` already"), "{error:#}");
}

#[test]
fn what_is_there_already_is_not_copied_again() {
    let dir = TempDir::new();
    let store = LocalStore::create(&dir.join("store")).unwrap();
    let first = load(kit::image(&dir), &store).unwrap();
    assert_eq!((first.transfer().blobs_sent, first.transfer().blobs_skipped), (4, 0));
    let second = load(kit::image(&dir), &store).unwrap();
    assert_eq!(second.transfer(), Transfer { bytes_sent: 0, blobs_sent: 0, blobs_skipped: 4 });
    // Each is held under its own name.
    assert_ne!(first.image().reference(), second.image().reference());
    assert_eq!(store.held(first.image().reference()).unwrap(), store.held(second.image().reference()).unwrap());
}

#[test]
fn many_threads_load_into_one_store() {
    let dir = TempDir::new();
    let store = LocalStore::create(&dir.join("store")).unwrap();
    let built = Mutex::new((0..8).map(|_| kit::image(&dir)).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let image = built.lock().unwrap().pop().unwrap();
                let loaded = load(image, &store).unwrap();
                store.unpack(&loaded, &dir.join(loaded.image().run().short().as_str())).unwrap();
            });
        }
    });
}

#[test]
fn a_damaged_or_missing_blob_is_never_loaded() {
    let dir = TempDir::new();
    let store = LocalStore::create(&dir.join("store")).unwrap();
    for damage in [flip as fn(&BlobStore, &Digest), cut, remove] {
        let image = kit::image(&dir);
        let layer = image.layers().last().unwrap().digest;
        damage(image.blobs(), &layer);
        assert!(image.write_archive(std::io::sink()).is_err());
        let reference = image.reference().to_owned();
        let there = Digest::of_file(&image.blobs().path(&layer)).map(|digest| digest.to_string());
        let error = load(image, &store).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(&layer.to_string()) && text.contains(&reference), "{text}");
        assert!(store.held(&reference).is_err(), "it must not be listed");
        let broken = error.downcast_ref::<NotAsBuilt>().unwrap();
        assert_eq!((broken.handover, &broken.expected), (Handover::Loading, &layer.to_string()));
        assert_eq!(broken.found.as_ref().ok(), there.as_ref().ok(), "{text}");
    }
}

/// A place that takes nothing.
struct Full;

impl Holder for Full {
    fn describe(&self) -> String {
        "node `full`".to_owned()
    }

    fn receive(&self, _: &BuiltImage) -> anyhow::Result<Transfer> {
        anyhow::bail!("no space left on device")
    }

    fn held(&self, _: &str) -> anyhow::Result<Held> {
        anyhow::bail!("nothing was loaded")
    }
}

#[test]
fn a_load_that_fails_is_blamed_on_the_image_only_if_it_is_damaged() {
    let dir = TempDir::new();
    let error = load(kit::image(&dir), &Full).unwrap_err();
    assert!(!error.is::<NotAsBuilt>() && format!("{error:#}").ends_with("no space left on device"), "{error:#}");
    let image = kit::image(&dir);
    let config = image.config_digest();
    flip(image.blobs(), &config);
    let error = load(image, &Full).unwrap_err();
    assert!(error.downcast_ref::<NotAsBuilt>().is_some_and(|b| b.expected == config.to_string()), "{error:#}");
}

#[test]
fn what_is_damaged_after_loading_is_seen() {
    let dir = TempDir::new();
    let store = LocalStore::create(&dir.join("store")).unwrap();
    let blobs = BlobStore::create(&dir.join("store")).unwrap();
    for (number, damage) in [flip as fn(&BlobStore, &Digest), cut, remove].into_iter().enumerate() {
        // Loading the same content again mends what the round before broke.
        let loaded = load(kit::image(&dir), &store).unwrap();
        let layer = loaded.image().layers().last().unwrap().digest;
        damage(&blobs, &layer);
        let why = store.held(loaded.image().reference()).unwrap().complete.unwrap_err();
        assert!(why.contains(&layer.to_string()), "{why}");
        let error = store.unpack(&loaded, &dir.join(&number.to_string())).unwrap_err();
        assert!(format!("{error:#}").contains(&layer.to_string()), "{error:#}");
        assert_eq!(error.downcast_ref::<NotAsBuilt>().unwrap().handover, Handover::Loading);
    }
    let loaded = load(kit::image(&dir), &store).unwrap();
    flip(&blobs, &loaded.image().config_digest());
    assert!(store.held(loaded.image().reference()).unwrap().complete.is_err());
    flip(&blobs, &loaded.image().manifest_digest());
    assert!(store.held(loaded.image().reference()).is_err());
}

/// Changes a byte in the middle.
fn flip(blobs: &BlobStore, digest: &Digest) {
    let mut bytes = fs::read(blobs.path(digest)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(blobs.path(digest), bytes).unwrap();
}

/// Takes the second half away.
fn cut(blobs: &BlobStore, digest: &Digest) {
    let bytes = fs::read(blobs.path(digest)).unwrap();
    fs::write(blobs.path(digest), &bytes[..bytes.len() / 2]).unwrap();
}

fn remove(blobs: &BlobStore, digest: &Digest) {
    fs::remove_file(blobs.path(digest)).unwrap();
}

/// A place that says it holds something.
struct Claims(Held);

impl Holder for Claims {
    fn describe(&self) -> String {
        "node `liar`".to_owned()
    }

    fn receive(&self, _: &BuiltImage) -> anyhow::Result<Transfer> {
        Ok(Transfer::default())
    }

    fn held(&self, _: &str) -> anyhow::Result<Held> {
        Ok(self.0.clone())
    }
}

#[test]
fn a_place_that_holds_something_else_is_found_out() {
    let dir = TempDir::new();
    let image = kit::image(&dir);
    let (config, manifest) = (image.config_digest(), Some(image.manifest_digest()));
    let other = Digest::of("other");
    let honest = Held { config_digest: config, manifest_digest: None, complete: Ok(()) };
    let loaded = load(image, &Claims(honest.clone())).unwrap();
    assert_eq!(loaded.holder(), "node `liar`");
    for (held, both) in [
        (Held { config_digest: other, ..honest.clone() }, [config, other]),
        (Held { manifest_digest: Some(other), ..honest.clone() }, [manifest.unwrap(), other]),
    ] {
        let error = format!("{:#}", load(kit::image(&dir), &Claims(held)).unwrap_err());
        assert!(
            both.iter().all(|digest| error.contains(&digest.to_string())) && error.contains("node `liar`"),
            "{error}"
        );
    }
    let incomplete = Held { complete: Err("a layer is gone".to_owned()), ..honest };
    let error = format!("{:#}", load(kit::image(&dir), &Claims(incomplete)).unwrap_err());
    assert!(error.contains("a layer is gone"), "{error}");
}

#[test]
fn an_image_of_another_store_is_not_unpacked() {
    let dir = TempDir::new();
    let loaded = load(kit::image(&dir), &LocalStore::create(&dir.join("one")).unwrap()).unwrap();
    let other = LocalStore::create(&dir.join("two")).unwrap();
    let error = format!("{:#}", other.unpack(&loaded, &dir.join("rootfs")).unwrap_err());
    assert!(error.contains("there is no image") && error.contains(loaded.image().reference()), "{error}");
}

#[test]
fn a_stream_leaves_out_what_the_node_has() {
    let dir = TempDir::new();
    let image = kit::image(&dir);
    let (mut whole, mut delta) = (Vec::new(), Vec::new());
    let all = image.write_stream(&mut whole, &HashSet::new()).unwrap();
    assert_eq!((all.bytes_sent, all.blobs_sent, all.blobs_skipped), (whole.len() as u64, 4, 0));
    let layer = image.layers().last().unwrap();
    let some = image.write_stream(&mut delta, &HashSet::from([layer.digest])).unwrap();
    assert_eq!((some.bytes_sent, some.blobs_sent, some.blobs_skipped), (delta.len() as u64, 3, 1));
    assert_eq!(whole.len() as u64 - delta.len() as u64, 512 + layer.size);
    let index = entry(&whole, "index.json").expect("there is an index");
    let pinned = format!("localhost/tiny@{}", image.manifest_digest());
    assert!(index.contains(image.reference()) && index.contains(&pinned), "{index}");
    assert!(entry(&whole, "manifest.json").is_none());
}

/// The text of a file in an archive.
fn entry(archive: &[u8], name: &str) -> Option<String> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries().unwrap().map(Result::unwrap).find(|entry| *entry.path_bytes() == *name.as_bytes())?;
    Some(std::io::read_to_string(entry).unwrap())
}
