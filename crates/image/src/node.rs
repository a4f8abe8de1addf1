//! The images of a cluster whose nodes are containers: each node's containerd, fed by a stream.
//!
//! A node is asked first which blobs it has, and gets the others only; all nodes at the same time, without a file in
//! between. What a node then says that it holds is read from its content store, every blob hashed anew there. `kind load`
//! does neither: it sends everything each time, and believes names.
//!
//! Only `ctr` without flags that changed their meaning between containerd versions is used, and only what POSIX has of the
//! shell, so that it does not matter who made the node's image.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use supervise::{Cancel, Cmd, CmdError, CmdErrorKind, Output};

use crate::oci::Manifest;
use crate::{BuiltImage, Digest, Held, Holder, Transfer};

/// How long a node may take to answer a question.
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// How long a node may take to take an image in.
const SEND_LIMIT: Duration = Duration::from_secs(10 * 60);

/// How many bytes a node must lack for it to be asked once more before they are sent: an answer takes about as long as this much
/// takes to send.
const ASK_AGAIN: u64 = 16 * 1024 * 1024;

/// Lists the blobs of a node, and the snapshotter that its kubelet uses: `ctr` would unpack for its own default.
const LIST: &str = r#"set -e
ctr -n k8s.io content ls -q
s=$(containerd config dump 2>/dev/null | sed -n "s/^ *snapshotter = ['\"]\([^'\"][^'\"]*\)['\"]$/\1/p")
echo snapshotter $s"#;

/// Takes in the image on stdin. $1: snapshotter, which may be empty; then what [`NAMES`] takes.
const IMPORT: &str = r#"set -e
ctr -n k8s.io images import ${1:+--snapshotter "$1"} - >&2
shift
"#;

/// Prints the names that the image of reference $1 has, and whether their blobs are there.
const NAMES: &str = r#"names=$(ctr -n k8s.io images check "name~=^${1%:*}[:@]" | sed 1d)
printf '%s\n' "$names"
"#;

/// After [`NAMES`]: prints the manifest under the reference $1, and the digest of the content of each blob that it names.
const CONTENT: &str = r#"digest=$(printf '%s\n' "$names" | while read -r name type digest rest; do [ "$name" != "$1" ] || echo "$digest"; done)
[ -n "$digest" ] || exit 0
manifest=$(ctr -n k8s.io content get "$digest")
printf 'manifest\n%s\nblobs\n' "$manifest"
for blob in $digest $(printf %s "$manifest" | grep -o 'sha256:[0-9a-f]\{64\}'); do
  echo "$blob $(ctr -n k8s.io content get "$blob" | sha256sum)"
done"#;

impl BuiltImage {
    /// The name that means exactly these bytes: `NAME@sha256:<manifest>`. Nodes know the image by it as well as by its tag.
    pub fn pinned(&self) -> String {
        let name = self.reference().rsplit_once(':').map_or(self.reference(), |(name, _)| name);
        format!("{name}@{}", self.manifest_digest())
    }
}

/// The content stores of the nodes of one cluster.
#[derive(Debug)]
pub struct NodeStore {
    nodes: Vec<Node>,
    cancel: Cancel,
}

#[derive(Debug)]
struct Node {
    name: String,
    /// Runs the command that its arguments name there, with its own stdin.
    enter: Cmd,
    /// What it had when it was last asked. If it has lost some of it since, it says so when an image wants it.
    known: Mutex<Option<Known>>,
    /// What it said of an image after it had taken it in, by reference, for whoever asks next.
    said: Mutex<HashMap<String, Held>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    blobs: HashSet<Digest>,
    /// How its kubelet has images unpacked; `ctr` would take its own default.
    snapshotter: String,
}

impl NodeStore {
    /// The nodes of these names. The command of each runs on the node what its further arguments name, with its own stdin:
    /// `podman exec -i NODE`, `ssh NODE`. `cancel` ends whatever is under way.
    pub fn new(nodes: Vec<(String, Cmd)>, cancel: Cancel) -> NodeStore {
        let node = |(name, enter)| Node { name, enter, known: Mutex::default(), said: Mutex::default() };
        NodeStore { nodes: nodes.into_iter().map(node).collect(), cancel }
    }

    fn shell(
        &self,
        node: &Node,
        script: &str,
        arguments: &[&str],
        stdin: Option<PipeReader>,
    ) -> Result<Output, CmdError> {
        let command = node.enter.clone().args(["sh", "-c", script, "sh"]).args(arguments).capture_stdout();
        let command = match stdin {
            Some(stdin) => command.stdin_file(File::from(OwnedFd::from(stdin))).deadline(SEND_LIMIT),
            None => command.deadline(ASK_LIMIT),
        };
        command.run(&self.cancel)
    }

    /// Does something with every node, at the same time.
    fn each<T: Send>(&self, work: impl Fn(&Node) -> anyhow::Result<T> + Sync) -> anyhow::Result<Vec<T>> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = self.nodes.iter().map(|node| scope.spawn(move || work(node))).collect();
            let results = self.nodes.iter().zip(threads).map(|(node, thread)| {
                let result = thread.join().map_err(|_| anyhow!("the thread for it panicked")).flatten();
                // Who reports the error has named them all.
                if self.nodes.len() == 1 { result } else { result.with_context(|| format!("node `{}`", node.name)) }
            });
            results.collect()
        })
    }

    fn known(&self, node: &Node) -> anyhow::Result<Known> {
        // Held while it is asked: whoever loads the next image waits for the same answer.
        let mut known = lock(&node.known);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let listed = self.shell(node, LIST, &[], None).map_err(explain).context("ask which blobs it has")?;
        Ok(known.insert(Known::parse(&String::from_utf8_lossy(&listed.stdout))).clone())
    }

    fn send(&self, node: &Node, image: &BuiltImage) -> anyhow::Result<Transfer> {
        let mut known = self.known(node)?;
        let all = image.all_blobs();
        if all.iter().filter(|blob| !known.blobs.contains(&blob.digest)).map(|blob| blob.size).sum::<u64>() > ASK_AGAIN
        {
            // Others may have sent the same layers since: pipelines that share a cluster, and build on the same images.
            *lock(&node.known) = None;
            known = self.known(node)?;
        }
        let Known { blobs, snapshotter } = known;
        let (transfer, held) = match self.import(node, image, &snapshotter, &blobs) {
            // Blobs that it had are gone (its garbage collector): everything goes over.
            Err(error) if !blobs.is_empty() && lacks_blob(&error) => {
                *lock(&node.known) = None;
                self.import(node, image, &snapshotter, &HashSet::new())?
            }
            Ok((Transfer { blobs_skipped: 1.., .. }, Held { complete: Err(_), .. })) => {
                *lock(&node.known) = None;
                self.import(node, image, &snapshotter, &HashSet::new())?
            }
            imported => imported?,
        };
        if let (Ok(()), Some(known)) = (&held.complete, &mut *lock(&node.known)) {
            known.blobs.extend(all.iter().map(|blob| blob.digest));
        }
        lock(&node.said).insert(image.reference().to_owned(), held);
        Ok(transfer)
    }

    /// Sends the image without some blobs, and lets the node say what it then has.
    fn import(
        &self,
        node: &Node,
        image: &BuiltImage,
        snapshotter: &str,
        skip: &HashSet<Digest>,
    ) -> anyhow::Result<(Transfer, Held)> {
        let (reader, writer) = io::pipe().context("make a pipe")?;
        let script = format!("{IMPORT}{NAMES}{CONTENT}");
        thread::scope(|scope| {
            let writing = scope.spawn(move || image.write_stream(writer, skip));
            let ran = self.shell(node, &script, &[snapshotter, image.reference()], Some(reader));
            let wrote = writing.join().map_err(|_| anyhow!("the thread that sends the image panicked")).flatten();
            // A node that gives up closes the pipe: then its own words are the cause, and else what could not be read here.
            let output = match (ran, &wrote) {
                (Ok(output), _) => output,
                (Err(error), Err(wrote)) if !is_broken_pipe(wrote) => bail!("{wrote:#} ({error})"),
                (Err(error), _) => return Err(explain(error)),
            };
            Ok((wrote?, parse_held(&String::from_utf8_lossy(&output.stdout), image.reference())?))
        })
    }
}

impl Holder for NodeStore {
    fn describe(&self) -> String {
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        format!("node{} `{}`", if names.len() == 1 { "" } else { "s" }, names.join("`, `"))
    }

    fn receive(&self, image: &BuiltImage) -> anyhow::Result<Transfer> {
        let transfers = self.each(|node| self.send(node, image))?;
        Ok(transfers.iter().fold(Transfer::default(), |sum, one| Transfer {
            bytes_sent: sum.bytes_sent + one.bytes_sent,
            blobs_sent: sum.blobs_sent + one.blobs_sent,
            blobs_skipped: sum.blobs_skipped + one.blobs_skipped,
        }))
    }

    fn held(&self, reference: &str) -> anyhow::Result<Held> {
        let script = format!("{NAMES}{CONTENT}");
        let mut all = self.each(|node| {
            // What it said in the command that took the image in was read from its store as well, and just now.
            if let Some(held) = lock(&node.said).remove(reference) {
                return Ok(held);
            }
            let output = self.shell(node, &script, &[reference], None).map_err(explain)?;
            parse_held(&String::from_utf8_lossy(&output.stdout), reference)
        })?;
        let first = all.first().cloned().context("the cluster has no nodes")?;
        // One node that differs is the answer: it is where the pod may run.
        let differing = all.iter().position(|held| held.complete.is_err() || *held != first);
        let mut held = differing.map_or(first, |index| all.swap_remove(index));
        if let (Err(why), Some(index), true) = (&mut held.complete, differing, self.nodes.len() > 1) {
            *why = format!("node `{}`: {why}", self.nodes[index].name);
        }
        Ok(held)
    }
}

/// What a node said, which is on the last line with engines and `ctr` alike. The script that it ran is of no use to anybody.
fn explain(error: CmdError) -> anyhow::Error {
    let said = error.tail.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
    match (&error.kind, said) {
        (CmdErrorKind::Exit(status), Some(said)) => anyhow!("it says `{said}` ({status})"),
        (CmdErrorKind::Exit(status), None) => {
            anyhow!("it ended the command without a word ({status}); has it stopped?")
        }
        _ => anyhow::Error::new(error),
    }
}

/// `ctr: content digest sha256:…: not found`, in the versions from 1.6 to 2.1.
fn lacks_blob(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    text.contains("not found") && text.contains("sha256:")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().filter_map(cause).any(|kind| kind == io::ErrorKind::BrokenPipe)
}

impl Known {
    fn parse(text: &str) -> Known {
        // The first snapshotter in the dump is that of the images (all versions name their tables so that it comes first).
        let snapshotter = text.lines().find_map(|line| line.strip_prefix("snapshotter "));
        let snapshotter = snapshotter.and_then(|names| names.split_whitespace().next()).unwrap_or_default();
        Known {
            blobs: text.lines().filter_map(|line| line.parse().ok()).collect(),
            snapshotter: snapshotter.to_owned(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left there is at most an answer too few.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        // A name with a digest can be given to anything; pods are started by it.
        Some(words) if words.first() != tag.first() => {
            Err(format!("`{pinned}` stands for {} now", words.first().map_or("nothing", String::as_str)))
        }
        Some(words) => check(&pinned, &words),
    };
    Some((digest, check(reference, &tag).and(other)))
}

/// Reads what [`NAMES`] and [`CONTENT`] print.
fn parse_held(text: &str, reference: &str) -> anyhow::Result<Held> {
    let (names, content) = text.split_once("manifest\n").unwrap_or((text, ""));
    let Some((manifest_digest, mut complete)) = parse_names(names, reference) else {
        bail!("there is no image `{reference}`")
    };
    let (manifest, blobs) = content.rsplit_once("\nblobs\n").context("it does not print its manifest")?;
    let manifest: Manifest = serde_json::from_str(manifest).context("read its manifest")?;
    for line in blobs.lines() {
        let (digest, sum) = line.split_once(' ').unwrap_or((line, ""));
        let sum = sum.split(' ').next().unwrap_or_default();
        if digest.strip_prefix("sha256:") != Some(sum) {
            complete = complete.and(Err(format!("the content of its blob {digest} is sha256:{sum}")));
        }
    }
    Ok(Held { config_digest: manifest.config.digest, manifest_digest: Some(manifest_digest), complete })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_has_is_read_from_its_lists() {
        let (blob, other) = (Digest::of("a"), Digest::of("b"));
        let known = Known::parse(&format!("{blob}\n{other}\nsnapshotter overlayfs other\n"));
        assert_eq!(known, Known { blobs: HashSet::from([blob, other]), snapshotter: "overlayfs".to_owned() });
        assert_eq!(Known::parse("snapshotter \n"), Known { blobs: HashSet::new(), snapshotter: String::new() });
    }

    #[test]
    fn the_answer_of_a_real_node_is_understood() {
        // Recorded from containerd 2.1.9 in a node of kind.
        let held = include_str!("node/held.txt");
        let reference = held.split(' ').next().unwrap();
        let found = parse_held(held, reference).unwrap();
        assert_eq!(found.complete, Ok(()));
        assert!(found.config_digest.to_string().starts_with("sha256:9ae13810"), "{}", found.config_digest);
        let complete = |text: &str| parse_held(text, reference).unwrap().complete.unwrap_err();
        assert!(complete(&held.replacen("complete (3/3)", "incomplete (2/3)", 1)).contains("incomplete (2/3)"));
        let digest = held.lines().find(|line| line.contains('@')).unwrap().split_whitespace().nth(2).unwrap();
        let other = Digest::of("other").to_string();
        let forced = held.lines().map(|line| {
            if line.contains('@') && line.starts_with("localhost/") {
                line.replace(&format!(" {digest} "), &format!(" {other} "))
            } else {
                line.to_owned()
            }
        });
        let forced = forced.collect::<Vec<_>>().join("\n");
        assert!(complete(&forced).ends_with(&format!("stands for {other} now")), "{}", complete(&forced));
        // Without the name with the digest a pod that asks for exactly these bytes finds nothing.
        let unpinned: String =
            held.lines().filter(|line| !line.contains("gateway@sha256")).map(|l| format!("{l}\n")).collect();
        assert!(complete(&unpinned).contains("stands for sha256:76a7"));
        assert!(complete(&held.replace(" 62c56753", " 00c56753")).contains("62c56753"));
        assert!(parse_held(held, "localhost/gateway:other").unwrap_err().to_string().contains("no image"));
    }
}
