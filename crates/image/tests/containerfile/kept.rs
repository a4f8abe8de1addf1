//! What stays between builds: the layers that podman wrote, so that only those that changed are written again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use image::{BuiltImage, Digest};

use crate::kit::Scene;

/// The blobs that are kept, and the file that each of them is.
fn kept(scene: &Scene) -> BTreeSet<(String, u64)> {
    let files = fs::read_dir(scene.path("state/app.image/blobs/sha256")).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().ino())).collect()
}

fn hex(image: &BuiltImage) -> BTreeSet<String> {
    image.layers().iter().map(|layer| layer.digest).chain([image.config_digest()]).map(|digest| digest.hex()).collect()
}

#[test]
fn an_unchanged_layer_is_not_written_again_and_a_damaged_one_is() {
    let Some(scene) = Scene::new() else { return };
    let before = scene.built();
    let first = kept(&scene);
    scene.write("server.py", "print(2)");
    let after = scene.built();
    let second = kept(&scene);
    let names: BTreeSet<_> = second.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, hex(&after), "the last image, and nothing of the one before");
    let same: Vec<_> = before.layers().iter().filter(|layer| after.layers().contains(layer)).collect();
    assert!(!same.is_empty());
    for layer in &same {
        assert!(
            first.intersection(&second).any(|(name, _)| *name == layer.digest.hex()),
            "{layer:?} was written again"
        );
    }

    // Same name, same length, other content: podman would go by name and length.
    let path = scene.path("state/app.image/blobs/sha256").join(same[0].digest.hex());
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    // What a podman that was killed leaves.
    let half = scene.path("state/app.image/oci-put-blob123");
    fs::write(&half, "half a layer").unwrap();
    scene.write("server.py", "print(3)");
    let mended = scene.built();
    assert_eq!(mended.layers()[0], after.layers()[0]);
    assert_eq!(Digest::of_file(&path).unwrap(), same[0].digest);
    assert!(!half.exists());
    mended.write_archive(std::io::sink()).unwrap();
}

#[test]
fn what_the_engine_is_given_is_the_context_as_it_is_now() {
    let Some(scene) = Scene::new() else { return };
    let app = scene.path("services/app");
    let outside = scene.path("outside");
    fs::create_dir_all(&outside).unwrap();
    scene.write("same", "same");
    scene.write("gone/file", "1");
    scene.write("file-then-folder", "1");
    symlink(&outside, app.join("link-then-folder")).unwrap();
    symlink("same", app.join("link")).unwrap();
    let _before = scene.built();
    let staged = scene.path("state/app.context");
    let inode = |name: &str| fs::metadata(staged.join(name)).unwrap().ino();
    let same = inode("same");

    fs::remove_dir_all(app.join("gone")).unwrap();
    fs::remove_file(app.join("file-then-folder")).unwrap();
    scene.write("file-then-folder/inside", "2");
    fs::remove_file(app.join("link-then-folder")).unwrap();
    // Brought back from a folder that is left out: it must not be made where the link led.
    scene.write("link-then-folder/deep/inside", "2");
    scene.write(".containerignore", "link-then-folder\n!link-then-folder/deep\n");
    fs::remove_file(app.join("link")).unwrap();
    symlink("server.py", app.join("link")).unwrap();
    // Someone wrote to the copy: the same length.
    fs::write(staged.join("server.py"), "print(9)").unwrap();
    let after = scene.built();
    assert_eq!(inode("same"), same, "written again");
    let has = |name: &str| scene.file(&after, &format!("app/{name}"));
    assert_eq!(has("server.py").unwrap(), "print(1)");
    assert_eq!(has("file-then-folder/inside").unwrap(), "2");
    assert_eq!(has("link-then-folder/deep/inside").unwrap(), "2");
    assert_eq!(has("gone/file"), None);
    assert_eq!(fs::read_link(staged.join("link")).unwrap().to_str(), Some("server.py"));
    assert!(!staged.join("gone").exists());
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}
