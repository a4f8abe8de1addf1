//! The images of a cluster whose nodes are containers: each node's containerd, fed by a stream.
//!
//! A node is asked first which blobs it has, and gets the others only; all nodes at the same time, without a file in
//! between. What a node then says that it holds is read from its content store, every blob hashed anew there. `kind load`
//! does neither: it sends everything each time, and believes names.

mod answers;
mod outdated;
mod scripts;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use supervise::{Cancel, Cmd, CmdError, CmdErrorKind, Output};

use crate::{BuiltImage, Digest, Engine, Held, Holder, Transfer};
use answers::{Known, Said, Sums, sums_in};
use outdated::outdated;
use scripts::{HELD, IMPORT, LIST, START};

/// How long a node may take to answer a question.
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// How long a node may take to take an image in.
const SEND_LIMIT: Duration = Duration::from_secs(10 * 60);

/// How many bytes a node must lack for it to be asked once more before they are sent: less is sent in about the time of an
/// answer.
const ASK_AGAIN: u64 = 32 * 1024 * 1024;

impl BuiltImage {
    /// The name that means exactly these bytes: `NAME@sha256:<manifest>`. Nodes know the image by it as well as by its tag.
    pub fn pinned(&self) -> String {
        let name = self.reference().rsplit_once(':').map_or(self.reference(), |(name, _)| name);
        format!("{name}@{}", self.manifest_digest())
    }
}

/// A node, as it can be reached from here.
#[derive(Clone, Debug)]
pub struct NodeAccess {
    /// What it is called in messages.
    pub name: String,
    /// Runs on the node what its further arguments name, with its own stdin: `podman exec -i NODE`, `ssh NODE`.
    pub enter: Cmd,
    /// Its root directory, if this process can read it, as root can in `/proc/PID/root`: blobs are then hashed from here, at
    /// four times the speed of the node's own `sha256sum`. What cannot be read there is asked of the node.
    pub root: Option<PathBuf>,
}

/// Runs a command in the namespaces of a process (util-linux).
const NSENTER: &str = "/usr/bin/nsenter";

/// Runs `$@` if this is the node $0: the number of its process may have gone to another one by now.
const IF_HERE: &str = r#"[ "$(cat /proc/sys/kernel/hostname)" = "$0" ] || { echo "the node $0 has stopped" >&2; exit 125; }
exec "$@""#;

impl NodeAccess {
    /// The way to a node that is a container of an engine: through the engine, or, as root on the machine of its first process,
    /// straight in its namespaces. `podman exec` takes 0.16 s, and five seconds more about once in a hundred times (podman 4.3,
    /// whoever calls it); `nsenter` takes 0.01 s. `command` makes the command of a program.
    pub fn of_container(name: &str, pid: Option<u32>, engine: Engine, command: impl Fn(&str) -> Cmd) -> NodeAccess {
        let pid = pid.filter(|_| supervise::is_root());
        let enter = match pid {
            Some(pid) if Path::new(NSENTER).exists() => {
                let command = command(NSENTER).args(["--target", &pid.to_string(), "--all"]);
                // The PATH that kind's node images have, and nothing of this machine's environment.
                let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
                command.args(["env", "-i", path, "sh", "-c", IF_HERE, name])
            }
            _ => command(engine.name()).args(["exec", "-i", name]),
        };
        NodeAccess { name: name.to_owned(), enter, root: pid.map(|pid| format!("/proc/{pid}/root").into()) }
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
    access: NodeAccess,
    /// What it had when it was last asked. If it has lost some of it since, it says so when an image wants it.
    known: Mutex<Option<Known>>,
    /// What it said of an image after it had taken it in, by reference, for whoever asks next.
    said: Mutex<HashMap<String, Held>>,
}

impl NodeStore {
    /// The nodes. `cancel` ends whatever is under way.
    pub fn new(nodes: Vec<NodeAccess>, cancel: Cancel) -> NodeStore {
        let node = |access| Node { access, known: Mutex::default(), said: Mutex::default() };
        NodeStore { nodes: nodes.into_iter().map(node).collect(), cancel }
    }

    /// Asks all nodes what they have, so that a load need not wait for that.
    ///
    /// # Errors
    /// If a node does not answer; a load will then say so as well.
    pub fn ask(&self) -> anyhow::Result<()> {
        self.each(|node| self.known(node)).map(drop)
    }

    fn shell(
        &self,
        node: &Node,
        script: &str,
        arguments: &[&str],
        stdin: Option<PipeReader>,
    ) -> Result<String, CmdError> {
        let command = node.access.enter.clone().args(["sh", "-c", script, "sh"]).args(arguments.iter().copied());
        let command = match stdin {
            Some(stdin) => command.stdin_file(File::from(OwnedFd::from(stdin))).deadline(SEND_LIMIT),
            None => command.deadline(ASK_LIMIT),
        };
        let Output { stdout, .. } = command.capture_stdout().run(&self.cancel)?;
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Does something with every node, at the same time.
    fn each<T: Send>(&self, work: impl Fn(&Node) -> anyhow::Result<T> + Sync) -> anyhow::Result<Vec<T>> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = self.nodes.iter().map(|node| scope.spawn(move || work(node))).collect();
            let results = self.nodes.iter().zip(threads).map(|(node, thread)| {
                let result = thread.join().map_err(|_| anyhow!("the thread for it panicked")).flatten();
                // Who reports the error has named them all.
                if self.nodes.len() == 1 {
                    result
                } else {
                    result.with_context(|| format!("node `{}`", node.access.name))
                }
            });
            results.collect()
        })
    }

    /// What a node has, and whether it was asked just now.
    fn known(&self, node: &Node) -> anyhow::Result<(Known, bool)> {
        // Held while it is asked: whoever loads the next image waits for the same answer.
        let mut known = lock(&node.known);
        if let Some(known) = &*known {
            return Ok((known.clone(), false));
        }
        let listed = self.shell(node, LIST, &[], None).map_err(explain).context("ask which blobs it has")?;
        Ok((known.insert(Known::parse(&listed)).clone(), true))
    }

    fn send(&self, node: &Node, image: &BuiltImage) -> anyhow::Result<Transfer> {
        let (mut known, is_new) = self.known(node)?;
        let all = image.all_blobs();
        let lacks = all.iter().filter(|blob| !known.blobs.contains(&blob.digest)).map(|blob| blob.size);
        if !is_new && lacks.sum::<u64>() > ASK_AGAIN {
            // Others may have sent the same layers since: pipelines that share a cluster, and build on the same images.
            *lock(&node.known) = None;
            known = self.known(node)?.0;
        }
        let first = self.import(node, image, &known, &known.blobs);
        let lost = match &first {
            // Blobs that it had are gone (its garbage collector).
            Err(error) => !known.blobs.is_empty() && lacks_blob(error),
            Ok((transfer, held)) => transfer.blobs_skipped > 0 && held.complete.is_err(),
        };
        let (transfer, held) = if lost {
            *lock(&node.known) = None;
            self.import(node, image, &known, &HashSet::new())?
        } else {
            first?
        };
        if let (Ok(()), Some(known)) = (&held.complete, &mut *lock(&node.known)) {
            known.blobs.extend(all.iter().map(|blob| blob.digest));
        }
        lock(&node.said).insert(image.reference().to_owned(), held);
        Ok(transfer)
    }

    /// Sends the image without some blobs, and lets the node say what it then has. The blobs that are not sent are hashed while
    /// the others go over.
    fn import(
        &self,
        node: &Node,
        image: &BuiltImage,
        known: &Known,
        skip: &HashSet<Digest>,
    ) -> anyhow::Result<(Transfer, Held)> {
        let (reader, writer) = io::pipe().context("make a pipe")?;
        let skipped: HashSet<_> =
            image.all_blobs().iter().map(|blob| blob.digest).filter(|digest| skip.contains(digest)).collect();
        let names: Vec<_> = skipped.iter().map(Digest::to_string).collect();
        let pinned = image.pinned();
        let hash = node.hashes(known);
        let outdated = outdated(image, &known.images, &known.used).join(" ");
        let mut arguments =
            vec![&*known.content, hash, image.reference(), &pinned, &known.snapshotter, known.local, &outdated];
        arguments.extend(names.iter().map(String::as_str));
        let script = format!("{START}{IMPORT}{HELD}");
        thread::scope(|scope| {
            let writing = scope.spawn(move || image.write_stream(writer, skip));
            let hashing = scope.spawn(|| node.hash(known, &skipped));
            let ran = self.shell(node, &script, &arguments, Some(reader));
            let wrote = writing.join().map_err(|_| anyhow!("the thread that sends the image panicked")).flatten();
            let sums = hashing.join().map_err(|_| anyhow!("the thread that hashes the blobs panicked"))?;
            // A node that gives up closes the pipe: then its own words are the cause, and else what could not be read here.
            let said = match (ran, &wrote) {
                (Ok(said), _) => said,
                (Err(error), Err(wrote)) if !is_broken_pipe(wrote) => bail!("{wrote:#} ({error})"),
                (Err(error), _) => return Err(explain(error)),
            };
            Ok((wrote?, self.judge(node, known, image.reference(), &said, sums)?))
        })
    }

    /// What a node holds, from what [`HELD`] printed and the sums that are known already.
    fn judge(&self, node: &Node, known: &Known, reference: &str, said: &str, sums: Sums) -> anyhow::Result<Held> {
        let mut said = Said::parse(said, reference)?;
        said.sums.extend(sums);
        let missing = |sums: &Sums| said.blobs.iter().copied().filter(|blob| !sums.contains_key(blob)).collect();
        let left: HashSet<_> = missing(&said.sums);
        said.sums.extend(node.hash(known, &left));
        let left: HashSet<_> = missing(&said.sums);
        if !left.is_empty() {
            let mut arguments = vec![known.content.clone(), "hash".to_owned(), String::new(), String::new()];
            arguments.extend(left.iter().map(Digest::to_string));
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let hashed = self.shell(node, &format!("{START}blobs \"$@\""), &arguments, None).map_err(explain)?;
            said.sums.extend(sums_in(&hashed));
        }
        Ok(said.held())
    }
}

impl Node {
    /// What a script is told: whether the node hashes its blobs itself.
    fn hashes(&self, known: &Known) -> &'static str {
        if self.access.root.is_some() && !known.content.is_empty() { "" } else { "hash" }
    }

    /// Hashes blobs from here, as far as they can be read.
    fn hash(&self, known: &Known, blobs: &HashSet<Digest>) -> Sums {
        let Some(root) = self.access.root.as_deref().filter(|_| self.hashes(known).is_empty()) else {
            return Sums::new();
        };
        let content = root.join(known.content.trim_start_matches('/'));
        let sum = |blob: &Digest| Some((*blob, Digest::of_file(&content.join(blob.hex())).ok()?));
        blobs.iter().filter_map(sum).collect()
    }
}

impl Holder for NodeStore {
    fn describe(&self) -> String {
        let names: Vec<_> = self.nodes.iter().map(|node| node.access.name.as_str()).collect();
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
        let script = format!("{START}{HELD}");
        let mut all = self.each(|node| {
            // What it said in the command that took the image in was read from its store as well, and just now.
            if let Some(held) = lock(&node.said).remove(reference) {
                return Ok(held);
            }
            let (known, _) = self.known(node)?;
            let arguments = [&*known.content, node.hashes(&known), reference, ""];
            let said = self.shell(node, &script, &arguments, None).map_err(explain)?;
            self.judge(node, &known, reference, &said, Sums::new())
        })?;
        let first = all.first().cloned().context("the cluster has no nodes")?;
        // One node that differs is the answer: it is where the pod may run.
        let differing = all.iter().position(|held| held.complete.is_err() || *held != first);
        let mut held = differing.map_or(first, |index| all.swap_remove(index));
        if let (Err(why), Some(index), true) = (&mut held.complete, differing, self.nodes.len() > 1) {
            *why = format!("node `{}`: {why}", self.nodes[index].access.name);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left there is at most an answer too few.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
