//! What earlier runs left on a node that is used again: names of their images, which keep content that nobody wants any more.
//!
//! They are removed by the load of a later image for the same consumer, and not by the run that made them: so the last ones
//! stay, with the layers that the next load need not send. The node's garbage collector does the rest. An image that a container
//! was made from stays in any case (a run that was kept); and so do the last few, which may belong to runs that are under way
//! and have not started their containers yet.

use std::collections::{BTreeMap, HashSet};

use crate::{BuiltImage, Digest};

/// How many earlier images of the same name for the same consumer stay.
pub(super) const KEPT: usize = 3;

/// The names that may go once `image` is there. `names`: all names of the node and what they stand for; `used`: the names that
/// containers were made from.
pub(super) fn outdated(image: &BuiltImage, names: &BTreeMap<String, Digest>, used: &HashSet<String>) -> Vec<String> {
    outdated_by(image.reference(), image.consumer(), image.manifest_digest(), names, used)
}

fn outdated_by(
    reference: &str,
    consumer: &str,
    manifest: Digest,
    names: &BTreeMap<String, Digest>,
    used: &HashSet<String>,
) -> Vec<String> {
    let Some((name, _)) = reference.split_once(':') else { return Vec::new() };
    // Runs are told by hexadecimal digits, in the order of their time (UUID v7).
    let is_earlier = |tag: &str| {
        let run =
            tag.strip_prefix(name).and_then(|tag| tag.strip_prefix(':')?.strip_prefix(consumer)?.strip_prefix('-'));
        run.is_some_and(|run| run.bytes().all(|byte| byte.is_ascii_hexdigit())) && tag < reference
    };
    let earlier: Vec<_> = names.iter().filter(|(tag, _)| is_earlier(tag)).collect();
    let in_use: HashSet<_> = used.iter().filter_map(|name| names.get(name)).collect();
    let old = earlier.iter().rev().skip(KEPT).filter(|(_, digest)| !in_use.contains(digest));
    let mut gone: BTreeMap<&String, Digest> = old.map(|(tag, digest)| (*tag, **digest)).collect();
    // What has no tag any more loses its other names as well: the one with the digest, and the kubelet's.
    let tagged: HashSet<_> =
        names.iter().filter(|(name, _)| is_tag(name) && !gone.contains_key(name)).map(|(_, digest)| *digest).collect();
    let untagged: HashSet<_> =
        gone.values().copied().filter(|digest| !tagged.contains(digest) && *digest != manifest).collect();
    gone.extend(names.iter().filter(|(_, digest)| untagged.contains(digest)).map(|(name, digest)| (name, *digest)));
    gone.into_keys().cloned().collect()
}

/// Neither `NAME@sha256:…` nor `sha256:…`.
fn is_tag(name: &str) -> bool {
    !name.contains("sha256:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_images_of_the_same_consumer_go_and_only_if_nothing_runs_from_them() {
        let digests = ["a", "b", "c", "d", "e", "f"].map(Digest::of);
        let mut names = BTreeMap::new();
        for (number, digest) in digests.iter().enumerate() {
            names.insert(format!("localhost/x:gateway-0{number}"), *digest);
            names.insert(format!("localhost/x@{digest}"), *digest);
            names.insert(Digest::of(format!("config {number}")).to_string(), *digest);
        }
        for other in [
            "localhost/x:gateway-2-00",
            "localhost/y:gateway-00",
            "docker.io/library/x:gateway-00",
            "localhost/x:gateway-zz",
        ] {
            names.insert(other.to_owned(), digests[1]);
        }
        let gone = |used: &[&str]| {
            let used = used.iter().map(|name| (*name).to_owned()).collect();
            outdated_by("localhost/x:gateway-06", "gateway", Digest::of("new"), &names, &used)
        };
        // `b` has names that are not ours: of that only the old tag goes.
        let mut expected = vec![
            "localhost/x:gateway-00".to_owned(),
            "localhost/x:gateway-01".to_owned(),
            "localhost/x:gateway-02".to_owned(),
        ];
        for (number, digest) in [(0, digests[0]), (2, digests[2])] {
            expected.push(format!("localhost/x@{digest}"));
            expected.push(Digest::of(format!("config {number}")).to_string());
        }
        expected.sort();
        assert_eq!(gone(&[]), expected);
        let used = gone(&[&format!("localhost/x@{}", digests[0])]);
        assert!(!used.iter().any(|name| name.ends_with("-00") || name.contains(&digests[0].to_string())), "{used:?}");
        assert_eq!(
            outdated_by("localhost/x:gateway-03", "gateway", Digest::of("new"), &names, &HashSet::new()),
            [""; 0]
        );
        // The same image again: its old tags go, and it stays.
        let same = digests.map(|_| digests[0]);
        let mut names: BTreeMap<_, _> =
            same.iter().enumerate().map(|(n, digest)| (format!("localhost/x:gateway-0{n}"), *digest)).collect();
        names.insert(format!("localhost/x@{}", same[0]), same[0]);
        let gone = outdated_by("localhost/x:gateway-06", "gateway", same[0], &names, &HashSet::new());
        assert_eq!(gone, ["localhost/x:gateway-00", "localhost/x:gateway-01", "localhost/x:gateway-02"]);
    }
}
