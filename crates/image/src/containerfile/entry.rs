//! Which file of an image its process will run, as far as the image tells: the proof compares it with what the kernel runs.
//!
//! The layers are looked at as one tree, with whiteouts and links (OCI image specification, "Layer Filesystem Changeset"). Where
//! a program is started whose job is to start another one, nothing is claimed: a shell script may end in `exec "$@"`.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use anyhow::Context;
use tar::EntryType;

use crate::oci;
use crate::{BlobStore, Descriptor, Digest};

/// Programs that go on as another program.
const STARTERS: [&str; 19] = [
    "sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox", "gosu", "su-exec", "su", "sudo", "runuser",
    "setpriv", "chroot", "nice", "nohup", "stdbuf", "ionice",
];
/// Links that are followed on the way to a file, as Linux does (path_resolution(7)).
const MOST_LINKS: u32 = 40;
/// Scripts that name a script as their interpreter.
const MOST_SCRIPTS: u32 = 4;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone)]
enum Node {
    Folder,
    File { layer: usize, offset: u64, size: u64 },
    Link(String),
    Other,
}

/// The files of an image, by path without the first slash.
#[derive(Default)]
struct Tree(BTreeMap<String, Node>);

/// How the image is run.
pub(super) struct Start<'a> {
    pub(super) command: Vec<String>,
    pub(super) path: Option<&'a str>,
    pub(super) working_dir: &'a str,
}

/// Path and digest of the file that runs.
///
/// # Errors
/// Why it cannot be told, in words.
pub(super) fn executable(start: &Start, layers: &[Descriptor], blobs: &BlobStore) -> Result<(String, Digest), String> {
    let program = start.command.first().ok_or("the image has neither an entrypoint nor a command")?;
    if layers.iter().any(|layer| layer.media_type != oci::LAYER) {
        return Err("the engine gave the layers compressed".to_owned());
    }
    let tree = Tree::of(layers, blobs).map_err(|error| format!("the layers cannot be read: {error:#}"))?;
    let (mut program, mut script) = (program.clone(), None);
    for _ in 0..MOST_SCRIPTS {
        let (path, file) = tree.find(&program, start)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        if STARTERS.contains(&name) {
            let what = script.unwrap_or_else(|| format!("`{program}`"));
            return Err(format!("{what} may go on as another program, and which one only it knows"));
        }
        let read = read(file, layers, blobs).map_err(|error| format!("`{path}` cannot be read: {error:#}"))?;
        let Some(line) = read.interpreter else { return Ok((path, read.digest)) };
        let mut words = line.split_whitespace();
        let interpreter = words.next().ok_or_else(|| format!("`{path}` names no interpreter"))?.to_owned();
        if tree.resolve(&interpreter).is_none() {
            return Err(format!("`{interpreter}`, the interpreter of `{path}`, is not a file of the image"));
        }
        // `#!/usr/bin/env python3` runs what PATH has under that name.
        let named = if interpreter.ends_with("/env") { words.next().map(str::to_owned) } else { Some(interpreter) };
        script = Some(format!("the script `{path}`"));
        match named {
            Some(next) if !next.starts_with('-') && !next.contains('=') => program = next,
            _ => return Err(format!("the interpreter in `#!{line}` of `{path}` cannot be told")),
        }
    }
    Err(format!("`{program}` leads from script to script"))
}

struct Found {
    digest: Digest,
    /// What follows `#!` (execve(2)).
    interpreter: Option<String>,
}

fn read((layer, offset, size): (usize, u64, u64), layers: &[Descriptor], blobs: &BlobStore) -> anyhow::Result<Found> {
    let blob = blobs.reader(&layers[layer].digest)?;
    let mut first = vec![0; usize::try_from(size.min(256))?];
    blob.read_exact_at(&mut first, offset)?;
    let line = first.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next());
    let interpreter = line.map(|line| String::from_utf8_lossy(line).trim().to_owned());
    let mut reader = At { file: blob, at: offset, end: offset + size };
    Ok(Found { digest: Digest::of_reader(&mut reader)?, interpreter })
}

/// A part of a file.
struct At {
    file: std::fs::File,
    at: u64,
    end: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Tree {
    fn of(layers: &[Descriptor], blobs: &BlobStore) -> anyhow::Result<Tree> {
        let mut tree = Tree::default();
        for (index, layer) in layers.iter().enumerate() {
            tree.add(index, blobs.reader(&layer.digest)?).with_context(|| format!("the layer {}", layer.digest))?;
        }
        Ok(tree)
    }

    fn add(&mut self, layer: usize, blob: std::fs::File) -> anyhow::Result<()> {
        let mut archive = tar::Archive::new(blob);
        let mut added: BTreeMap<String, Node> = BTreeMap::new();
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let path = parts(&String::from_utf8_lossy(&entry.path_bytes())).join("/");
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            // A whiteout is about the layers below, wherever in its own layer it stands.
            if name == ".wh..wh..opq" {
                self.remove_below(folder);
                continue;
            }
            if let Some(name) = name.strip_prefix(".wh.") {
                let gone = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                self.remove_below(&gone);
                self.0.remove(&gone);
                continue;
            }
            let target = || entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
            let node = match entry.header().entry_type() {
                EntryType::Directory => Node::Folder,
                EntryType::Regular | EntryType::Continuous => {
                    Node::File { layer, offset: entry.raw_file_position(), size: entry.size() }
                }
                EntryType::Symlink => Node::Link(target().unwrap_or_default()),
                EntryType::Link => {
                    let target = parts(&target().unwrap_or_default()).join("/");
                    added.get(&target).or_else(|| self.0.get(&target)).cloned().unwrap_or(Node::Other)
                }
                _ => Node::Other,
            };
            added.insert(path, node);
        }
        for (path, node) in added {
            if !matches!(node, Node::Folder) {
                self.remove_below(&path);
            }
            self.0.insert(path, node);
        }
        Ok(())
    }

    fn remove_below(&mut self, folder: &str) {
        let below = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        self.0.retain(|path, _| !path.starts_with(&below));
    }

    /// The file that a program's name leads to (execvp(3)).
    fn find(&self, program: &str, start: &Start) -> Result<(String, (usize, u64, u64)), String> {
        if program.contains('/') {
            let path =
                if program.starts_with('/') { program.to_owned() } else { format!("{}/{program}", start.working_dir) };
            return self.resolve(&path).ok_or_else(|| format!("`{path}` is not a file of the image"));
        }
        let path = start.path.unwrap_or(DEFAULT_PATH);
        let found = path.split(':').find_map(|folder| self.resolve(&format!("{folder}/{program}")));
        found.ok_or_else(|| format!("`{program}` is in no folder of the image's PATH, `{path}`"))
    }

    fn resolve(&self, path: &str) -> Option<(String, (usize, u64, u64))> {
        let mut left: Vec<String> = parts(path).into_iter().rev().map(str::to_owned).collect();
        let (mut at, mut links) = (Vec::<String>::new(), 0);
        while let Some(part) = left.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(part);
            match self.0.get(&at.join("/")) {
                Some(Node::Link(target)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    left.extend(parts(target).into_iter().rev().map(str::to_owned));
                }
                Some(Node::File { layer, offset, size }) if left.is_empty() => {
                    return Some((format!("/{}", at.join("/")), (*layer, *offset, *size)));
                }
                // A folder that only its files tell of has no entry.
                Some(Node::Folder) | None if !left.is_empty() => {}
                _ => return None,
            }
        }
        None
    }
}

/// The parts of a path, without empty and `.` ones.
fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunId;

    /// Layers of entries: path, type, and content or target.
    fn layers(blobs: &BlobStore, layers: &[&[(&str, EntryType, &str)]]) -> Vec<Descriptor> {
        let layer = |entries: &&[(&str, EntryType, &str)]| {
            let (blob, ()) = blobs
                .put_with(|writer| {
                    let mut tar = tar::Builder::new(writer);
                    for (path, kind, content) in *entries {
                        let mut header = tar::Header::new_gnu();
                        header.set_entry_type(*kind);
                        header.set_mode(0o755);
                        if *kind == EntryType::Regular {
                            header.set_size(content.len() as u64);
                            tar.append_data(&mut header, path, content.as_bytes())?;
                        } else {
                            header.set_size(0);
                            tar.append_link(&mut header, path, content)?;
                        }
                    }
                    Ok(tar.finish()?)
                })
                .unwrap();
            Descriptor { media_type: oci::LAYER.to_owned(), digest: blob.digest, size: blob.size, diff_id: blob.digest }
        };
        layers.iter().map(layer).collect()
    }

    #[test]
    fn the_file_that_runs_is_found_or_nothing_is_claimed() {
        let dir = std::env::temp_dir().join(format!("entry-{}", RunId::new()));
        let blobs = BlobStore::create(&dir).unwrap();
        let (file, link, hard) = (EntryType::Regular, EntryType::Symlink, EntryType::Link);
        let layers = layers(
            &blobs,
            &[
                &[
                    ("usr/bin/python3.11", file, "python, old"),
                    ("usr/bin/gone", file, "gone"),
                    ("usr/bin/dash", file, "dash"),
                    ("usr/bin/env", file, "env"),
                    ("opt/app/tool", file, "tool"),
                    ("bin", link, "usr/bin"),
                    ("loop", link, "/loop"),
                ],
                &[
                    ("usr/bin/python3.11", file, "python, new"),
                    ("usr/bin/python3", link, "python3.11"),
                    ("usr/bin/python", link, "/etc/alternatives/python"),
                    ("etc/alternatives/python", link, "../../bin/python3"),
                    ("usr/bin/hard", hard, "usr/bin/python3.11"),
                    ("usr/bin/.wh.gone", file, ""),
                    ("usr/bin/sh", link, "dash"),
                    ("app/server.py", file, "#!/usr/bin/env python3\nprint()"),
                    ("app/direct.py", file, "#! /bin/python3 -u\n"),
                    ("app/start.sh", file, "#!/bin/sh\nexec \"$@\""),
                    ("app/odd", file, "#!/usr/bin/odd\n"),
                    ("opt/new", file, "new"),
                    ("opt/.wh..wh..opq", file, ""),
                ],
            ],
        );
        let run = |command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            executable(&Start { command, path: Some("/nowhere:/bin"), working_dir: "/app" }, &layers, &blobs)
        };
        let python = Ok(("/usr/bin/python3.11".to_owned(), Digest::of("python, new")));
        for program in ["python3", "/usr/bin/python", "hard", "/app/server.py", "./server.py", "direct.py/../direct.py"]
        {
            let found = run(&[program, "x"]);
            match program {
                "hard" => assert_eq!(found, Ok(("/usr/bin/hard".to_owned(), Digest::of("python, new")))),
                "direct.py/../direct.py" => assert!(found.is_err()),
                _ => assert_eq!(found, python, "{program}"),
            }
        }
        assert_eq!(
            run(&["/opt/new"]).unwrap().1,
            Digest::of("new"),
            "what is in the layer of an opaque whiteout stays"
        );
        for (program, why) in [
            ("gone", "is in no folder of the image's PATH"),
            ("/opt/app/tool", "is not a file of the image"),
            ("/loop", "is not a file of the image"),
            ("/app/odd", "`/usr/bin/odd`, the interpreter of `/app/odd`, is not a file of the image"),
            ("/app/start.sh", "the script `/app/start.sh` may go on as another program"),
            ("sh", "`sh` may go on as another program"),
        ] {
            let error = run(&[program, "-c", "x"]).unwrap_err();
            assert!(error.contains(why), "{program}: {error}");
        }
        assert!(run(&[]).unwrap_err().contains("neither an entrypoint nor a command"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
