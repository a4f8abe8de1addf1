//! The static side of the audit: sources that could bypass the pattern.
//!
//! A tag comes from phase 0 and from nowhere else, so no source may write one down, tag an image again, or let a cluster fetch
//! another one.

use super::Text;

/// Commands that give an image another name, and what could fetch another image.
const FORBIDDEN: [(&[&str], &str); 8] = [
    (&["podman", "tag"], "an image keeps the name of phase 0"),
    (&["docker", "tag"], "an image keeps the name of phase 0"),
    (&["buildah", "tag"], "an image keeps the name of phase 0"),
    (&["ctr", "images", "tag"], "an image keeps the name of phase 0"),
    (&["nerdctl", "tag"], "an image keeps the name of phase 0"),
    (&["skopeo", "copy"], "an image is loaded by its own name, not copied to another"),
    (&["imagePullPolicy", "Always"], "a node must not fetch what was not loaded"),
    (&["imagePullPolicy", "IfNotPresent"], "a node must not fetch what was not loaded"),
];

/// Tests provoke these faults, readers look for them, and prose explains them.
fn is_exempt(path: &str) -> bool {
    path.contains("/tests/")
        || path.contains("/tests.rs")
        || path.ends_with(".md")
        || path.starts_with("xtask/src/tidy/")
        || path.starts_with("crates/report/")
}

pub(super) fn check(text: &Text) -> Vec<String> {
    if is_exempt(&text.path) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    // Unit tests stand at the end of a file.
    let code = text.content.split("#[cfg(test)]").next().unwrap_or_default();
    for (number, line) in code.lines().enumerate() {
        let at = format!("{}:{}", text.path, number + 1);
        if line.trim_start().starts_with("//") || line.trim_start().starts_with('#') && !text.path.ends_with(".rs") {
            continue;
        }
        let words: Vec<&str> =
            line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        for (sequence, why) in FORBIDDEN {
            if words.windows(sequence.len()).any(|window| window == sequence) {
                faults.push(format!("{at}: `{}`: {why}", sequence.join(" ")));
            }
        }
        // A path of Rust has two colons.
        if line.replace("::", " ").contains(":latest") {
            faults.push(format!(
                "{at}: `:latest`: it names whatever was there last; only a tag of phase 0 or a digest names an image"
            ));
        }
        if let Some(tag) = literal_reference(line) {
            faults.push(format!(
                "{at}: `{tag}`: a literal image reference; take it from `ImageTag`, `BuiltImage` or `LoadedImage`"
            ));
        }
    }
    faults
}

/// An image reference with a tag, written down: `localhost/name:tag`, `registry.example/name:tag`. A format with `{` is not one.
fn literal_reference(line: &str) -> Option<&str> {
    line.split(|c: char| c.is_whitespace() || "\"'`,()[]<>=".contains(c)).find(|word| {
        let Some((host, rest)) = word.split_once('/') else { return false };
        let is_host = host == "localhost" || host.ends_with(".io") || host.ends_with(".com") || host.ends_with(".dev");
        let Some((name, tag)) = rest.rsplit_once(':') else { return false };
        is_host
            && !name.is_empty()
            && !tag.is_empty()
            && !rest.contains('{')
            && !tag.contains('/')
            && !word.contains("//")
            && !word.contains("sha256")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(content: &str) -> Vec<String> {
        check(&Text { path: "crates/e2e-x/src/lib.rs".to_owned(), content: content.to_owned() })
    }

    #[test]
    fn every_bypass_is_found() {
        for bypass in [
            r#"cmd("podman", ["tag", a, b])"#,
            "docker tag a b",
            r#"["ctr", "-n", "k8s.io"].then("ctr images tag a b")"#,
            r#"let image = "localhost/datastorage:dev";"#,
            "image: ghcr.io/owner/datastorage:v1",
            "image: datastorage:latest",
            "imagePullPolicy: IfNotPresent",
            r#""imagePullPolicy": "Always""#,
        ] {
            assert_eq!(find(bypass).len(), 1, "{bypass}: {:?}", find(bypass));
        }
    }

    #[test]
    fn what_is_right_is_not_found() {
        for right in [
            r#"format!("localhost/{image}:{consumer}-{suffix}")"#,
            r#""imagePullPolicy": "Never""#,
            "http://localhost/path:1",
            "// never docker tag",
            "name@sha256:abc",
            "runs::latest(&copy)",
        ] {
            assert!(find(right).is_empty(), "{right}: {:?}", find(right));
        }
    }
}
