//! What a node answers, read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, bail};

use crate::oci::Manifest;
use crate::{Digest, Held};

/// Where containerd has its blobs, below its root: part of its documented layout since 1.0.
const BLOBS_DIR: &str = "io.containerd.content.v1.content/blobs/sha256";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) blobs: HashSet<Digest>,
    /// How its kubelet has images unpacked; `ctr` would take its own default.
    pub(super) snapshotter: String,
    /// The directory of its blobs.
    pub(super) content: String,
    /// Its images, by name.
    pub(super) images: BTreeMap<String, Digest>,
    /// The names of the images that its containers were made from.
    pub(super) used: HashSet<String>,
    /// The flag by which `ctr` writes blobs itself, or nothing.
    pub(super) local: &'static str,
}

/// Digests of blobs, by what they should be.
pub(super) type Sums = HashMap<Digest, Digest>;

impl Known {
    /// Reads what [`LIST`] prints.
    pub(super) fn parse(text: &str) -> Known {
        let all = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '));
        let find = |name| all(name).next();
        let image = |line: &str| {
            let (name, digest) = line.split_once(' ')?;
            Some((name.to_owned(), digest.parse().ok()?))
        };
        let content = find("root").map(|root| Path::new(root).join(BLOBS_DIR).display().to_string());
        Known {
            blobs: text.lines().filter_map(|line| line.parse().ok()).collect(),
            // The first in the dump is that of the images (all versions name their tables so that it comes first).
            snapshotter: find("snapshotter").unwrap_or_default().to_owned(),
            content: content.unwrap_or_default(),
            images: all("image").filter_map(image).collect(),
            used: all("used").map(str::to_owned).collect(),
            local: if text.lines().any(|line| line == "local") { "--local" } else { "" },
        }
    }
}

/// The manifest under a reference, and whether all of it is there, under this name and the one with the digest.
fn parse_names(text: &str, reference: &str) -> Option<(Digest, Result<(), String>)> {
    // REF TYPE DIGEST complete (2/2) 25.3 MiB/25.3 MiB true
    let find = |name: &str| {
        text.lines().map(str::split_whitespace).find_map(|mut words| {
            (words.next() == Some(name)).then(|| words.skip(1).map(str::to_owned).collect::<Vec<_>>())
        })
    };
    let check = |name: &str, words: &[String]| match words {
        [_, state, ..] if state == "complete" => Ok(()),
        [_, state, count, ..] => Err(format!("blobs of `{name}` are missing: {state} {count}")),
        _ => Err(format!("it does not say whether `{name}` is complete")),
    };
    let tag = find(reference)?;
    let digest = tag.first()?.parse::<Digest>().ok()?;
    let pinned = format!("{}@{digest}", reference.rsplit_once(':').map_or(reference, |(name, _)| name));
    let other = match find(&pinned) {
        None => Err(format!("the name stands for {digest} now, which was not loaded here")),
        // A name with a digest can be given to anything, and pods are started by it.
        Some(words) if words.first() != tag.first() => {
            Err(format!("`{pinned}` stands for {} now", words.first().map_or("nothing", String::as_str)))
        }
        Some(words) => check(&pinned, &words),
    };
    Some((digest, check(reference, &tag).and(other)))
}

/// What [`HELD`] printed.
pub(super) struct Said {
    config: Digest,
    manifest: Digest,
    complete: Result<(), String>,
    /// Every blob of the image.
    pub(super) blobs: Vec<Digest>,
    pub(super) sums: Sums,
}

impl Said {
    pub(super) fn parse(text: &str, reference: &str) -> anyhow::Result<Said> {
        let (names, content) = text.split_once("\nmanifest\n").unwrap_or((text, ""));
        let Some((manifest, complete)) = parse_names(names, reference) else {
            bail!("there is no image `{reference}`")
        };
        let (document, sums) = content.rsplit_once("\nblobs\n").context("it does not print its manifest")?;
        let document: Manifest = serde_json::from_str(document).context("read its manifest")?;
        let config = document.config.digest;
        let layers = document.layers.iter().map(|layer| layer.digest);
        Ok(Said {
            config,
            manifest,
            complete,
            blobs: layers.chain([config, manifest]).collect(),
            sums: sums_in(names).chain(sums_in(sums)).collect(),
        })
    }

    pub(super) fn held(self) -> Held {
        let damaged = self.blobs.iter().find_map(|blob| match self.sums.get(blob) {
            Some(sum) if sum == blob => None,
            Some(sum) => Some(format!("the content of its blob {blob} is {sum}")),
            None => Some(format!("its blob {blob} cannot be read")),
        });
        Held {
            config_digest: self.config,
            manifest_digest: Some(self.manifest),
            complete: self.complete.and(damaged.map_or(Ok(()), Err)),
        }
    }
}

/// The digests among these lines.
pub(super) fn sums_in(text: &str) -> impl Iterator<Item = (Digest, Digest)> {
    text.lines().filter_map(|line| {
        let (blob, sum) = line.strip_prefix("blob ")?.split_once(' ')?;
        Some((blob.parse().ok()?, sum.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_has_is_read_from_its_lists() {
        let (blob, other) = (Digest::of("a"), Digest::of("b"));
        let text = format!(
            "{blob}\nroot /var/lib/c\n{other}\nsnapshotter overlayfs\nsnapshotter x\nlocal\nimage localhost/x:1 {blob}\nused localhost/x:1\n"
        );
        let known = Known {
            blobs: HashSet::from([blob, other]),
            snapshotter: "overlayfs".to_owned(),
            content: "/var/lib/c/io.containerd.content.v1.content/blobs/sha256".to_owned(),
            images: BTreeMap::from([("localhost/x:1".to_owned(), blob)]),
            used: HashSet::from(["localhost/x:1".to_owned()]),
            local: "--local",
        };
        assert_eq!(Known::parse(&text), known);
        assert_eq!(Known::parse(""), Known::default());
    }

    #[test]
    fn the_answer_of_a_real_node_is_understood() {
        // Recorded from containerd 2.1.9 in a node of kind.
        let said = include_str!("held.txt");
        let reference = "localhost/gateway:gateway-01a20d63084b7573ab17af659842cd660001";
        let held = |text: &str| Said::parse(text, reference).unwrap().held();
        let complete = |text: &str| held(text).complete.unwrap_err();
        assert_eq!(held(said).complete, Ok(()));
        assert!(held(said).config_digest.to_string().starts_with("sha256:9ae13810"), "{:?}", held(said));
        assert!(complete(&said.replacen("complete (3/3)", "incomplete (2/3)", 1)).contains("incomplete (2/3)"));
        let pinned = said.lines().find(|line| line.contains("gateway@")).unwrap();
        let forced = pinned.replace(" sha256:76a7", " sha256:00a7");
        assert!(complete(&said.replace(pinned, &forced)).contains("stands for sha256:00a7"));
        // Without the name with the digest a pod that asks for exactly these bytes finds nothing.
        let without =
            |what: &str| said.lines().filter(|line| !line.contains(what)).map(|line| format!("{line}\n")).collect();
        let unpinned: String = without("gateway@sha256");
        assert!(complete(&unpinned).contains("stands for sha256:76a7"));
        assert!(complete(&said.replace(" sha256:62c56753", " sha256:00c56753")).contains("62c56753"));
        let unread: String = without("blob sha256:62c56753");
        assert!(complete(&unread).contains("cannot be read"));
        let error = Said::parse(said, "localhost/gateway:other").err().unwrap();
        assert!(error.to_string().contains("no image"));
    }
}
