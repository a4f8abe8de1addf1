//! Tells what a file is, by the digests under which a run records what it tested.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

use crate::Digest;

/// The digests of a file: of the manifest and the config for each image of an archive (OCI or docker), else of the file.
///
/// # Errors
/// If the file cannot be read.
pub fn digests_of(path: &Path) -> anyhow::Result<Vec<(&'static str, Digest)>> {
    let mut found = archive(path).with_context(|| format!("read `{}`", path.display()))?;
    if found.is_empty() {
        found.push(("file", Digest::of_file(path)?));
    }
    Ok(found)
}

fn archive(path: &Path) -> anyhow::Result<Vec<(&'static str, Digest)>> {
    /// No index or list of an archive comes near this size.
    const LARGEST: u64 = 1024 * 1024;
    let mut found = Vec::new();
    let mut archive = tar::Archive::new(File::open(path)?);
    // What is no archive has no first entry.
    for entry in archive.entries()?.map_while(Result::ok) {
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if name != "index.json" && name != "manifest.json" {
            continue;
        }
        let mut text = Vec::new();
        entry.take(LARGEST).read_to_end(&mut text)?;
        let value: serde_json::Value = serde_json::from_slice(&text).with_context(|| format!("read its `{name}`"))?;
        for manifest in value["manifests"].as_array().into_iter().flatten() {
            found.extend(
                manifest["digest"].as_str().and_then(|digest| digest.parse().ok()).map(|digest| ("manifest", digest)),
            );
        }
        for image in value.as_array().into_iter().flatten() {
            // `blobs/sha256/<hex>` in an OCI layout, `<hex>.json` in a docker archive.
            let hex = image["Config"].as_str().and_then(|config| config.rsplit('/').next()).unwrap_or_default();
            let digest = format!("sha256:{}", hex.trim_end_matches(".json")).parse();
            found.extend(digest.ok().map(|digest| ("config", digest)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_known_by_its_images_and_any_other_file_by_its_bytes() {
        let dir = std::env::temp_dir().join(format!("identify-{}", crate::RunId::new()));
        std::fs::create_dir_all(&dir).unwrap();
        let (config, manifest) = (Digest::of("config"), Digest::of("manifest"));
        let mut tar = tar::Builder::new(File::create(dir.join("a.tar")).unwrap());
        let mut add = |name: &str, text: String| {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        };
        add("index.json", format!(r#"{{"manifests":[{{"digest":"{manifest}"}}]}}"#));
        add("manifest.json", format!(r#"[{{"Config":"blobs/sha256/{}"}}]"#, config.hex()));
        tar.finish().unwrap();
        assert_eq!(digests_of(&dir.join("a.tar")).unwrap(), [("manifest", manifest), ("config", config)]);
        std::fs::write(dir.join("b"), "abc").unwrap();
        assert_eq!(digests_of(&dir.join("b")).unwrap(), [("file", Digest::of("abc"))]);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
