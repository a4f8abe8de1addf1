//! A layer: a tree of files, written as a tar file whose bytes depend on nothing but the tree.
//!
//! POSIX ustar, paths sorted, no times, no names of users: what differs from machine to machine is left out. A path that
//! ustar cannot hold is refused, since its extensions are read differently by different tools.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use anyhow::{Context, bail, ensure};
use tar::{EntryType, Header};

use crate::blobs::{BUFFER, copy};

/// Who a file belongs to: user and group.
pub(crate) type Owner = (u32, u32);
pub(crate) const ROOT: Owner = (0, 0);

/// Files and directories by path, without the leading slash.
#[derive(Default)]
pub(crate) struct Tree<'a>(BTreeMap<String, Node<'a>>);

struct Node<'a> {
    mode: u32,
    owner: Owner,
    content: NodeContent<'a>,
}

enum NodeContent<'a> {
    Directory,
    File { size: u64, reader: Box<dyn Read + 'a> },
}

impl<'a> Tree<'a> {
    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str, mode: u32, owner: Owner) -> anyhow::Result<()> {
        self.add(path, Node { mode, owner, content: NodeContent::Directory })
    }

    /// Adds a file of this many bytes.
    pub(crate) fn file(&mut self, path: &str, mode: u32, size: u64, reader: impl Read + 'a) -> anyhow::Result<()> {
        self.add(path, Node { mode, owner: ROOT, content: NodeContent::File { size, reader: Box::new(reader) } })
    }

    pub(crate) fn bytes(&mut self, path: &str, mode: u32, bytes: &'a [u8]) -> anyhow::Result<()> {
        self.file(path, mode, bytes.len() as u64, bytes)
    }

    /// Whether something is there.
    pub(crate) fn occupies(&self, path: &str) -> bool {
        self.0.contains_key(path.trim_start_matches('/'))
    }

    fn add(&mut self, path: &str, node: Node<'a>) -> anyhow::Result<()> {
        let inside =
            path.strip_prefix('/').with_context(|| format!("`{path}` is no path of an image: begin it with `/`"))?;
        let components: Vec<_> = inside.split('/').collect();
        if components.iter().any(|component| matches!(*component, "" | "." | "..") || component.contains(['\\', '\0']))
        {
            bail!("`{path}` is no path of an image: write it without empty, `.` or `..` parts and backslashes");
        }
        let mut parent = String::new();
        for component in &components[..components.len() - 1] {
            parent.push_str(component);
            let directory = Node { mode: 0o755, owner: ROOT, content: NodeContent::Directory };
            let there = self.0.entry(parent.clone()).or_insert(directory);
            let is_directory = matches!(there.content, NodeContent::Directory);
            ensure!(is_directory, "`{path}` cannot be in an image that has a file `/{parent}`: rename one of them");
            parent.push('/');
        }
        ensure!(!self.0.contains_key(inside), "`{path}` would be in the image twice: leave one out");
        self.0.insert(inside.to_owned(), node);
        Ok(())
    }

    /// Writes the layer.
    ///
    /// # Errors
    /// If a path is too long, a file has not the size that was said, or reading or writing fails.
    pub(crate) fn write(self, writer: &mut dyn Write) -> anyhow::Result<()> {
        let mut tar = tar::Builder::new(writer);
        let mut buffer = vec![0; BUFFER];
        for (path, node) in self.0 {
            let what = || format!("pack `/{path}`");
            match node.content {
                NodeContent::Directory => {
                    let header = header(&format!("{path}/"), EntryType::Directory, 0, node.mode, node.owner)?;
                    tar.append(&header, std::io::empty()).with_context(what)?;
                }
                NodeContent::File { size, reader } => {
                    let header = header(&path, EntryType::Regular, size, node.mode, node.owner)?;
                    // The crate would copy the content in small pieces: it writes an empty entry, and what belongs in follows.
                    tar.append(&header, io::empty()).with_context(what)?;
                    // One byte more than was said is enough to see that the file grew.
                    let found = copy(&mut reader.take(size + 1), tar.get_mut(), &mut buffer).with_context(what)?;
                    ensure!(found == size, "`/{path}` was changed while it was packed: build again");
                    let padding = usize::try_from(size.next_multiple_of(512) - size)?;
                    tar.get_mut().write_all(&[0; 512][..padding]).with_context(what)?;
                }
            }
        }
        tar.finish().context("end a layer")
    }
}

/// The header of a tar entry.
///
/// # Errors
/// If ustar cannot hold the path: at most 255 bytes, with a slash so that at most 100 follow it.
pub(crate) fn header(
    path: &str,
    kind: EntryType,
    size: u64,
    mode: u32,
    (user, group): Owner,
) -> anyhow::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path).with_context(|| format!("`/{path}` does not fit into a tar header: use a shorter path"))?;
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(user.into());
    header.set_gid(group.into());
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}
