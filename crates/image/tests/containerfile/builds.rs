//! What is built again, and what is the same.

use std::fs::{self, File};
use std::time::{Duration, UNIX_EPOCH};

use image::{BuiltImage, Digest, Instructions, LocalStore, load};
use supervise::{Cancel, Cmd};

use crate::kit::{BASE, Scene, run};

fn changed(scene: &Scene, image: &BuiltImage) -> Vec<String> {
    scene.build().fingerprint_now(image.source(), &Cancel::new()).unwrap().changed
}

#[test]
fn the_same_source_is_the_same_image_under_another_name() {
    let Some(scene) = Scene::new() else { return };
    let one = scene.built();
    // Everything that is not content is another.
    for file in ["Containerfile", "server.py"] {
        let path = scene.path("services/app").join(file);
        File::options().append(true).open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    }
    let two = scene.built();
    assert_ne!(one.reference(), two.reference());
    assert_eq!(one.config_digest(), two.config_digest());
    assert_eq!(one.manifest_digest(), two.manifest_digest());
    assert_eq!(Digest::of(one.config_bytes()), one.config_digest());
    assert_eq!(changed(&scene, &one), [""; 0]);
    // Without the engine's cache of steps too.
    run(scene.podman().args(["image", "prune", "--all", "--force", "--filter", "dangling=true"]));
    let three = scene.built();
    assert_eq!(one.config_digest(), three.config_digest());

    assert_eq!(scene.file(&one, "greeting").unwrap(), "hello\n");
    // Which file runs is not claimed; what there is, is known.
    assert_eq!((one.executable_path(), one.executable_digest()), (None, None));
    assert_eq!(one.file_digest("/usr/local/bin/program").unwrap(), Some(Digest::of("\x7fELF, or so")));
    assert_eq!(one.file_digest("/usr/local/bin/other").unwrap(), None);
    assert_eq!(one.executable_fingerprint().unwrap(), None);
    let config: serde_json::Value = serde_json::from_slice(one.config_bytes()).unwrap();
    let (labels, fingerprint) = (&config["config"]["Labels"], one.source().fingerprint.to_string());
    assert_eq!(labels["dev.e2e.source-fingerprint"], fingerprint.as_str());
    assert_eq!((&labels["dev.e2e.service"], &labels["dev.e2e.consumer"]), (&"app".into(), &"gateway".into()));
    let env = config["config"]["Env"].as_array().unwrap();
    assert!(env.contains(&format!("SOURCE_FINGERPRINT={fingerprint}").into()), "{env:?}");

    let store = LocalStore::create(&scene.path("store")).unwrap();
    let loaded = load(one, &store).unwrap();
    assert!(loaded.held().complete.is_ok());
}

#[test]
fn an_edit_is_seen_whatever_its_time_and_nothing_of_it_stays_in_the_engine() {
    let Some(scene) = Scene::new() else { return };
    scene.write(".containerignore", "# notes\n**/*.md\n!README.md\n");
    scene.write("notes.md", "1");
    scene.write("README.md", "read me");
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let path = scene.path("services/app/server.py");
    File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
    let before = scene.built();
    assert_eq!(scene.file(&before, "app/notes.md"), None);
    assert_eq!(scene.file(&before, "app/README.md").unwrap(), "read me");
    let (named, steps) = scene.images();
    assert_eq!(named, [BASE], "the engine has no name of ours");

    // The same length and the same time.
    scene.write("server.py", "print(2)");
    File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
    assert_eq!(changed(&scene, &before), ["services/app/server.py"]);
    let after = scene.built();
    assert_eq!(scene.file(&after, "app/server.py").unwrap(), "print(2)");
    assert_ne!(before.source().fingerprint, after.source().fingerprint);
    assert_eq!(before.layers()[0], after.layers()[0]);
    assert_eq!(scene.images(), (vec![BASE.to_owned()], steps), "steps that the edit made useless are gone");
    let log = fs::read_to_string(scene.log()).unwrap();
    assert!(log.contains("Using cache") && !log.contains("level=debug"), "{log}");

    // What is ignored is no source.
    scene.write("notes.md", "2");
    assert_eq!(changed(&scene, &after), [""; 0]);
    scene.write("more/new.py", "");
    scene.write("README.md", "read me again");
    let seen = changed(&scene, &after);
    assert_eq!(seen, ["services/app/**#names", "services/app/README.md", "services/app/more/new.py"]);
    assert_eq!(scene.containers(), "");
}

#[test]
fn arguments_bases_and_instructions_are_part_of_the_source() {
    let Some(scene) = Scene::new() else { return };
    let before = scene.built();
    let mut build = scene.build();
    build.arguments.push(("GREETING".to_owned(), "good day".to_owned()));
    let now = build.fingerprint_now(before.source(), &Cancel::new()).unwrap();
    assert_eq!(now.changed, ["parameter argument.GREETING"]);
    let polite = scene.run(&build, &Cancel::new()).unwrap();
    assert_eq!(polite.source().fingerprint, now.fingerprint);
    assert_eq!(scene.file(&polite, "greeting").unwrap(), "good day\n");

    scene.base("two");
    assert_eq!(changed(&scene, &before), [format!("image:{BASE}")]);
    assert_eq!(scene.file(&scene.built(), "content").unwrap(), "two");

    // Another base by an argument.
    run(scene.podman().args(["tag", BASE, "localhost/other:1"]));
    build.arguments = vec![("BASE".to_owned(), "localhost/other:1".to_owned())];
    let inputs = scene.run(&build, &Cancel::new()).unwrap().source().inputs.clone();
    assert!(inputs.iter().any(|(name, _)| name == "image:localhost/other:1"), "{inputs:?}");

    fs::rename(scene.path("services/app/Containerfile"), scene.path("services/app/Dockerfile")).unwrap();
    let moved = changed(&scene, &before);
    assert!(moved.contains(&"parameter containerfile".to_owned()), "{moved:?}");
    assert!(scene.built().source().inputs.iter().any(|(name, _)| name == "services/app/Dockerfile#instructions"));
}

#[test]
fn an_image_of_others_is_built_as_it_is_under_a_tag_of_the_run() {
    let Some(scene) = Scene::new() else { return };
    let mut build = scene.build();
    let image = |user| Instructions::Image { reference: BASE.to_owned(), user };
    build.instructions = image(Some(999));
    let steps = scene.images().1;
    let built = scene.run(&build, &Cancel::new()).unwrap();
    let config: serde_json::Value = serde_json::from_slice(built.config_bytes()).unwrap();
    assert_eq!(config["config"]["User"], "999:999");
    assert_eq!(built.file_digest("/usr/local/bin/program").unwrap(), Some(Digest::of("\x7fELF, or so")));
    let fingerprint = built.source().fingerprint;
    assert_eq!(config["config"]["Labels"]["dev.e2e.source-fingerprint"], fingerprint.to_string());
    let names: Vec<_> = built.source().inputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [format!("image:{BASE}")], "the image is all that it is made from");
    assert_eq!(scene.images(), (vec![BASE.to_owned()], steps), "nothing of it stays in the engine");
    assert_eq!(scene.run(&build, &Cancel::new()).unwrap().manifest_digest(), built.manifest_digest());

    // Another image under the same name is another source.
    scene.base("two");
    let now = build.fingerprint_now(built.source(), &Cancel::new()).unwrap();
    assert_eq!(now.changed, [format!("image:{BASE}")]);
    build.instructions = image(Some(998));
    assert!(
        build.fingerprint_now(built.source(), &Cancel::new()).unwrap().changed.contains(&"parameter user".to_owned())
    );
    // This one would run as root.
    build.instructions = image(None);
    let error = scene.run(&build, &Cancel::new()).unwrap_err().to_string();
    assert!(
        error.contains("would run as `root`") && error.ends_with("a user that the image knows, by its number"),
        "{error}"
    );
    build.instructions = Instructions::Image { reference: "localhost/nowhere:1".to_owned(), user: None };
    let error = scene.run(&build, &Cancel::new()).unwrap_err().to_string();
    assert!(error.starts_with("`app` builds on `localhost/nowhere:1`, which podman does not have"), "{error}");
}

#[test]
fn builds_of_one_service_at_the_same_time_all_succeed() {
    let Some(scene) = Scene::new() else { return };
    let digests = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..3)
            .map(|number| {
                let scene = &scene;
                scope.spawn(move || {
                    let tag = image::ImageTag::new(&image::RunId::new(), "app", "gateway").unwrap();
                    let (scratch, log) = (scene.path(&format!("s{number}")), scene.path(&format!("{number}.log")));
                    let built = scene.build().run(tag, &scene.blobs, &scratch, &log, &Cancel::new());
                    built.unwrap_or_else(|error| panic!("{error}: {error:?}")).config_digest()
                })
            })
            .collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    assert_eq!(scene.images().0, [BASE]);
    let scratch = run(Cmd::new("ls").arg(scene.path("")));
    assert!(!scratch.lines().any(|name| name.len() == 2 && name.starts_with('s')), "{scratch}");
}
