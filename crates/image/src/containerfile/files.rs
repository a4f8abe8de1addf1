//! The files of an image that an engine built: what is there at a path, when all its layers lie on each other.
//!
//! Which of its files such an image runs only the running process tells: an entrypoint may go on as any program (`exec "$@"`),
//! and many do. So nothing is claimed of the entrypoint. Where a process is seen to run from a path, the file that the image
//! holds there is what it must be.
//!
//! The format is that of the OCI image specification, "Image Layer Filesystem Changeset".

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use anyhow::{Context, ensure};
use tar::EntryType;

use crate::{BlobStore, Descriptor, Digest};

/// Hard links that lead to hard links. Engines write none.
const MOST_LINKS: u32 = 8;

/// Digest of the regular file at a path, as the kernel names it: absolute, and no part of it a link. None if there is none.
///
/// # Errors
/// If a layer is compressed or cannot be read.
pub(crate) fn digest_at(path: &str, layers: &[Descriptor], blobs: &BlobStore) -> anyhow::Result<Option<Digest>> {
    find(&normal(path), layers, blobs, 0)
}

/// What one layer says of a path.
enum Says {
    File {
        offset: u64,
        size: u64,
    },
    /// A second name of this file of the layer.
    SameAs(String),
    /// It is not there, whatever lies below.
    Gone,
    Nothing,
}

fn find(path: &str, layers: &[Descriptor], blobs: &BlobStore, links: u32) -> anyhow::Result<Option<Digest>> {
    // From the top: the first layer that says anything is right.
    for (index, layer) in layers.iter().enumerate().rev() {
        ensure!(layer.digest == layer.diff_id, "the layer {} is compressed", layer.digest);
        let what = || format!("read the layer {}", layer.digest);
        let says = says(path, blobs.reader(&layer.digest)?).with_context(what)?;
        return match says {
            Says::Nothing => continue,
            Says::Gone => Ok(None),
            Says::SameAs(target) => {
                ensure!(links < MOST_LINKS, "`/{path}` leads from hard link to hard link");
                find(&target, &layers[..=index], blobs, links + 1)
            }
            Says::File { offset, size } => {
                let mut file = Part { blob: blobs.reader(&layer.digest)?, at: offset, end: offset + size };
                Digest::of_reader(&mut file).map(Some).with_context(what)
            }
        };
    }
    Ok(None)
}

fn says(path: &str, blob: File) -> anyhow::Result<Says> {
    let mut archive = tar::Archive::new(blob);
    let (mut found, mut gone) = (None, false);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", &name));
        let kind = entry.header().entry_type();
        if last == ".wh..wh..opq" {
            // All that lower layers have in the folder.
            gone |= is_below(path, folder);
        } else if let Some(last) = last.strip_prefix(".wh.") {
            let removed = if folder.is_empty() { last.to_owned() } else { format!("{folder}/{last}") };
            gone |= path == removed || is_below(path, &removed);
        } else if name == path {
            found = Some(match kind {
                EntryType::Regular | EntryType::Continuous => {
                    Says::File { offset: entry.raw_file_position(), size: entry.size() }
                }
                EntryType::Link => {
                    let target = entry.link_name_bytes().context("a hard link leads nowhere")?;
                    Says::SameAs(normal(&String::from_utf8_lossy(&target)))
                }
                _ => Says::Gone,
            });
        } else if kind != EntryType::Directory && is_below(path, &name) {
            // What was a folder is none any more.
            gone = true;
        }
    }
    Ok(found.unwrap_or(if gone { Says::Gone } else { Says::Nothing }))
}

fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// A path as it is compared: without a slash in front, `.` and empty parts.
fn normal(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

/// A part of a blob.
struct Part {
    blob: File,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.blob.read_at(&mut buffer[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunId, oci};

    type Entry<'a> = (&'a str, EntryType, &'a str);

    /// A layer of entries: path, type, and content or target.
    fn layer(blobs: &BlobStore, entries: &[Entry]) -> Descriptor {
        let write = |writer: &mut dyn io::Write| {
            let mut tar = tar::Builder::new(writer);
            for (path, kind, content) in entries {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(*kind);
                header.set_mode(0o755);
                header.set_size(content.len() as u64);
                if matches!(kind, EntryType::Link | EntryType::Symlink) {
                    header.set_size(0);
                    tar.append_link(&mut header, path, content)?;
                } else {
                    tar.append_data(&mut header, path, content.as_bytes())?;
                }
            }
            Ok(tar.finish()?)
        };
        let (blob, ()) = blobs.put_with(|writer| write(writer)).unwrap();
        Descriptor { media_type: oci::LAYER.to_owned(), digest: blob.digest, size: blob.size, diff_id: blob.digest }
    }

    #[test]
    fn the_file_at_a_path_is_that_of_the_topmost_layer_that_has_a_say() {
        let dir = std::env::temp_dir().join(format!("files-{}", RunId::new()));
        let blobs = BlobStore::create(&dir).unwrap();
        let (file, link, hard, folder) =
            (EntryType::Regular, EntryType::Symlink, EntryType::Link, EntryType::Directory);
        let mut layers = vec![
            layer(
                &blobs,
                &[
                    ("./usr/bin/python", file, "python, old"),
                    ("usr/bin/gone", file, "gone"),
                    ("usr/bin/kept", file, "kept"),
                    ("opt/app/tool", file, "tool"),
                    ("srv/was/folder", file, "folder"),
                    ("var/a/b", file, "b"),
                ],
            ),
            layer(
                &blobs,
                &[
                    ("usr/bin", folder, ""),
                    ("usr/bin/python", file, "python, new"),
                    ("usr/bin/hard", hard, "usr/bin/python"),
                    ("usr/bin/soft", link, "python"),
                    ("usr/bin/round", hard, "usr/bin/round"),
                    ("usr/bin/.wh.gone", file, ""),
                    ("var/.wh.a", file, ""),
                    ("opt/new", file, "new"),
                    ("opt/.wh..wh..opq", file, ""),
                    ("srv/was", link, "../opt"),
                ],
            ),
        ];
        let at = |path: &str| digest_at(path, &layers, &blobs).unwrap();
        for (path, content) in [
            ("/usr/bin/python", "python, new"),
            ("/usr/bin/hard", "python, new"),
            ("/usr/bin/kept", "kept"),
            ("/opt/new", "new"),
        ] {
            assert_eq!(at(path), Some(Digest::of(content)), "{path}");
        }
        for path in
            ["/usr/bin/gone", "/usr/bin", "/usr/bin/soft", "/opt/app/tool", "/srv/was/folder", "/var/a/b", "/none"]
        {
            assert_eq!(at(path), None, "{path}");
        }
        assert!(digest_at("/usr/bin/round", &layers, &blobs).is_err());
        // Of what is compressed nothing is known, and nothing is claimed.
        layers[1].diff_id = Digest::of("unpacked");
        assert!(format!("{:#}", digest_at("/usr/bin/kept", &layers, &blobs).unwrap_err()).contains("is compressed"));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
