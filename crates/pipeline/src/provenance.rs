//! The record of where an image came from: an in-toto Statement v1 with a SLSA provenance v1 predicate.
//!
//! Specifications: <https://in-toto.io/Statement/v1>, <https://slsa.dev/spec/v1.0/provenance>. The records are not signed:
//! they say what this machine did, to people and programs that trust it.

use std::path::{Path, PathBuf};

use image::{BuiltImage, Digest};
use serde_json::{Value, json};

use crate::platform::Site;
use crate::rundir::{private_dir, write_atomically};

/// Identifies how this project builds an image from a cargo package, for `buildDefinition.buildType`.
pub const BUILD_TYPE: &str = "https://e2e.dev/cargo-oci-image/v1";
/// Identifies how an engine builds an image from a Containerfile, for `buildDefinition.buildType`.
pub const CONTAINERFILE_BUILD_TYPE: &str = "https://e2e.dev/containerfile-image/v1";
/// Identifies the builder, for `runDetails.builder.id`.
pub const BUILDER_ID: &str = "https://e2e.dev/cargo-xtask/v1";

/// Writes the record of an image into the run's directory, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write(site: &Site, image: &BuiltImage, started: &str, finished: &str) -> anyhow::Result<PathBuf> {
    let dir = site.run.path().join("provenance");
    private_dir(&dir)?;
    let path = dir.join(format!("{}-{}.json", image.consumer(), image.image()));
    let statement = statement(image, &site.run_id.to_string(), started, finished);
    write_atomically(&path, 0o644, &serde_json::to_vec_pretty(&statement)?)?;
    Ok(path)
}

fn statement(image: &BuiltImage, run: &str, started: &str, finished: &str) -> Value {
    let source = image.source();
    let subject = |name: &str, digest: Digest| json!({ "name": name, "digest": { "sha256": digest.hex() } });
    let mut materials = vec![json!({
        "name": "source",
        "uri": "git+file:.",
        "digest": match &source.revision {
            Some(revision) => json!({ "gitCommit": revision, "sha256": source.fingerprint.hex() }),
            None => json!({ "sha256": source.fingerprint.hex() }),
        },
        "annotations": { "dirty": source.dirty },
    })];
    materials.extend(source.inputs.iter().map(|(name, digest)| subject(name, *digest)));
    let parameters: serde_json::Map<_, _> =
        source.parameters.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    let mut subjects = vec![
        subject(image.reference(), image.manifest_digest()),
        subject(&format!("{}#config", image.reference()), image.config_digest()),
    ];
    if let (Some(path), Some(digest)) = (image.executable_path(), image.executable_digest()) {
        subjects.push(subject(path, digest));
    }
    let mut external = json!({ "image": image.image(), "consumer": image.consumer() });
    // What the user chose: the package, the Containerfile with its arguments, or the image of others.
    let chosen = |name: &str| {
        matches!(name, "package" | "containerfile" | "context" | "base" | "user") || name.starts_with("argument.")
    };
    for (name, value) in parameters.iter().filter(|(name, _)| chosen(name)) {
        external[name] = value.clone();
    }
    let build_type = if external["package"].is_null() { CONTAINERFILE_BUILD_TYPE } else { BUILD_TYPE };
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": build_type,
                "externalParameters": external,
                "internalParameters": parameters,
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": { "id": BUILDER_ID, "version": { "xtask": env!("CARGO_PKG_VERSION") } },
                "metadata": { "invocationId": run, "startedOn": started, "finishedOn": finished },
                "byproducts": image.layers().iter().map(|layer| subject("layer", layer.digest)).collect::<Vec<_>>(),
            },
        },
    })
}

/// Subjects of a provenance record: name and digest.
///
/// # Errors
/// If the file is not such a record.
pub fn subjects(path: &Path) -> anyhow::Result<Vec<(String, Digest)>> {
    use anyhow::Context;
    let what = || format!("read the provenance record `{}`", path.display());
    let record: Value = serde_json::from_slice(&std::fs::read(path).with_context(what)?).with_context(what)?;
    let mut subjects = Vec::new();
    for subject in record["subject"].as_array().with_context(what)? {
        let hex = subject["digest"]["sha256"].as_str().with_context(what)?;
        subjects.push((subject["name"].as_str().with_context(what)?.to_owned(), format!("sha256:{hex}").parse()?));
    }
    Ok(subjects)
}
