//! Blobs on disk, named by their digest: the `blobs/sha256` directory of an OCI image layout.
//!
//! A blob appears under its name only when it is whole, so that readers need no lock and a program that is killed leaves no
//! half blob behind. Writing one that is already there replaces it with the same bytes, which also mends a damaged one.

mod sink;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};

use crate::{Digest, Hasher};
use sink::Sink;

/// Size of the buffers through which blobs go.
pub(crate) const BUFFER: usize = 128 * 1024;

/// A directory of blobs. Clones are the same directory; any number of threads and processes may use it at the same time.
#[derive(Clone, Debug)]
pub struct BlobStore(Arc<Path>);

/// A blob that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// sha256 of the content.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

impl BlobStore {
    /// Opens the store in a directory, which is made (mode 0700) if it does not exist.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn create(dir: &Path) -> anyhow::Result<BlobStore> {
        for dir in [dir.join("blobs/sha256"), dir.join("tmp")] {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(&dir);
            made.with_context(|| format!("make the directory `{}` for the blobs of images", dir.display()))?;
        }
        Ok(BlobStore(dir.into()))
    }

    /// The directory that the store is in.
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Where a blob is, whether it exists or not.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(blob_path(digest))
    }

    /// Stores these bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> anyhow::Result<Blob> {
        Ok(self.put_with(|writer| Ok(writer.write_all(bytes)?))?.0)
    }

    /// Stores the content of a file.
    ///
    /// # Errors
    /// If it cannot be read, or the blob cannot be written.
    pub fn put_file(&self, path: &Path) -> anyhow::Result<Blob> {
        let mut file = File::open(path).with_context(|| format!("read `{}`", path.display()))?;
        Ok(self.put_with(|writer| Ok(io::copy(&mut file, writer)?))?.0)
    }

    /// Stores what `write` writes.
    ///
    /// # Errors
    /// What `write` returns; nothing is stored then. If the blob cannot be written.
    pub fn put_with<T>(&self, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>) -> anyhow::Result<(Blob, T)> {
        let (temporary, blob, value) = self.write(write)?;
        temporary.keep(&self.path(&blob.digest))?;
        Ok((blob, value))
    }

    /// Copies a blob of another store, and checks it before it is kept.
    ///
    /// # Errors
    /// If the blob is missing there or is not what its name says, or cannot be written here.
    pub(crate) fn put_from(&self, other: &BlobStore, blob: Blob) -> anyhow::Result<()> {
        let mut file = other.reader(&blob.digest)?;
        let (temporary, copied, _) = self.write(|writer| Ok(io::copy(&mut file, writer)?))?;
        ensure!(
            copied == blob,
            "the blob {} in `{}` is damaged: its content is {}",
            blob.digest,
            other.0.display(),
            copied.digest
        );
        temporary.keep(&self.path(&blob.digest))
    }

    /// Has a blob of another store as well: the same file if that can be, or else a copy. Its content is looked at only then:
    /// who reads a blob checks it.
    ///
    /// # Errors
    /// If it is not there, or cannot be had here.
    pub(crate) fn link_from(&self, other: &BlobStore, digest: &Digest) -> anyhow::Result<()> {
        let (from, to) = (other.path(digest), self.path(digest));
        match fs::hard_link(&from, &to) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(_) => {
                let size = fs::metadata(&from).with_context(|| format!("read the blob {digest}"))?.len();
                self.put_from(other, Blob { digest: *digest, size })
            }
        }
    }

    /// Removes the blobs that are not wanted.
    ///
    /// # Errors
    /// If the directory cannot be read or a blob not be removed.
    pub(crate) fn retain(&self, wanted: impl Fn(&Digest) -> bool) -> anyhow::Result<()> {
        let dir = self.0.join("blobs/sha256");
        let what = || format!("tidy `{}`", dir.display());
        for entry in fs::read_dir(&dir).with_context(what)? {
            let path = entry.with_context(what)?.path();
            let digest = path.file_name().and_then(|name| format!("sha256:{}", name.to_str()?).parse().ok());
            if !digest.is_some_and(|digest| wanted(&digest)) {
                fs::remove_file(&path).with_context(what)?;
            }
        }
        Ok(())
    }

    fn write<T>(
        &self,
        write: impl FnOnce(&mut dyn Write) -> anyhow::Result<T>,
    ) -> anyhow::Result<(Temporary, Blob, T)> {
        let temporary = Temporary::create(&self.0)?;
        let mut sink = Sink::new(&temporary.file);
        let value = write(&mut sink)?;
        let blob = sink.end().with_context(|| temporary.what())?;
        Ok((temporary, blob, value))
    }

    /// Opens a blob. Its content is as trustworthy as the disk: [`BlobStore::copy_to`] checks it.
    ///
    /// # Errors
    /// If it is not there.
    pub fn reader(&self, digest: &Digest) -> anyhow::Result<File> {
        let path = self.path(digest);
        File::open(&path).with_context(|| format!("the blob {digest} is not in `{}`", self.0.display()))
    }

    /// What is there instead of a blob: other content, or nothing and why. None if it is what its name says, and if that cannot be
    /// told: who may not read a blob, or cannot, has seen no damage.
    pub(crate) fn instead(&self, digest: &Digest) -> Option<Result<Digest, String>> {
        match File::open(self.path(digest)).and_then(Digest::of_reader) {
            Ok(found) => (found != *digest).then_some(Ok(found)),
            Err(error) => (error.kind() == io::ErrorKind::NotFound).then(|| Err(error.to_string())),
        }
    }

    /// Copies a blob and checks it on the way. What was written before an error is not the blob.
    ///
    /// # Errors
    /// If the blob is missing or is not what its name says, or if the writer fails.
    pub fn copy_to(&self, blob: Blob, writer: &mut dyn Write) -> anyhow::Result<()> {
        let file = self.reader(&blob.digest)?;
        let on_disk = file.metadata().with_context(|| format!("read the blob {}", blob.digest))?.len();
        // Told before a byte is sent: the receiver was promised this length.
        ensure!(
            on_disk == blob.size,
            "the blob {} is damaged: it has {on_disk} bytes and should have {}",
            blob.digest,
            blob.size
        );
        let mut tee = Tee::new(file.take(blob.size));
        copy(&mut tee, writer, &mut vec![0; BUFFER]).with_context(|| format!("copy the blob {}", blob.digest))?;
        let (found, _) = tee.finish();
        ensure!(found == blob.digest, "the blob {} is damaged: its content is {found}", blob.digest);
        Ok(())
    }

    /// Reads a blob into memory and checks it; for manifests and configs, which are small.
    ///
    /// # Errors
    /// As [`BlobStore::copy_to`].
    pub(crate) fn read(&self, blob: Blob) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy_to(blob, &mut bytes)?;
        Ok(bytes)
    }

    /// Checks that a blob is there and is what its name says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, blob: Blob) -> anyhow::Result<()> {
        self.copy_to(blob, &mut io::sink())
    }
}

/// `io::copy` through this buffer: its own of 8 KiB takes half as long again. Gives the number of bytes.
pub(crate) fn copy(reader: &mut dyn Read, writer: &mut dyn Write, buffer: &mut [u8]) -> io::Result<u64> {
    let mut count = 0;
    loop {
        let read = reader.read(buffer)?;
        if read == 0 {
            return Ok(count);
        }
        writer.write_all(&buffer[..read])?;
        count += read as u64;
    }
}

/// The path of a blob in an OCI image layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Writes a file whole or not at all, in a store's directory.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write_atomically(dir: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = Temporary::create(dir)?;
    (&temporary.file).write_all(bytes).with_context(|| temporary.what())?;
    temporary.keep(&dir.join(name))
}

/// A file that is removed unless it is kept.
struct Temporary {
    path: Option<PathBuf>,
    file: File,
}

impl Temporary {
    fn create(store: &Path) -> anyhow::Result<Temporary> {
        let path = store.join("tmp").join(uuid::Uuid::new_v4().simple().to_string());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("make the temporary file `{}`", path.display()))?;
        Ok(Temporary { path: Some(path), file })
    }

    fn what(&self) -> String {
        format!("write `{}`", self.path.as_deref().unwrap_or(Path::new("")).display())
    }

    fn keep(mut self, name: &Path) -> anyhow::Result<()> {
        if let Some(path) = self.path.take() {
            let renamed = fs::rename(&path, name);
            if renamed.is_err() {
                self.path = Some(path);
            }
            renamed.with_context(|| format!("put a file in its place, `{}`", name.display()))?;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The cause is being reported already, and whoever owns the store removes it whole.
            drop(fs::remove_file(path));
        }
    }
}

/// Hashes and counts what is read through it.
pub(crate) struct Tee<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> Tee<R> {
    pub(crate) fn new(inner: R) -> Tee<R> {
        Tee { inner, hasher: Hasher::default(), count: 0 }
    }

    /// Digest and number of the bytes that were read.
    pub(crate) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.write_all(&buffer[..read])?;
        self.count += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::RunId;

    fn store() -> BlobStore {
        BlobStore::create(&std::env::temp_dir().join(format!("blobs-{}", RunId::new()))).unwrap()
    }

    fn files(store: &BlobStore, dir: &str) -> usize {
        fs::read_dir(store.dir().join(dir)).unwrap().count()
    }

    #[test]
    fn a_blob_is_there_once_and_for_this_user_only() {
        let store = store();
        let original = store.dir().join("original");
        fs::write(&original, "content").unwrap();
        let blobs = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| store.put(b"content").unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let blob = store.put_file(&original).unwrap();
        assert!(blobs.iter().all(|other| *other == blob));
        assert_eq!(blob, Blob { digest: Digest::of("content"), size: 7 });
        assert_eq!(io::read_to_string(store.reader(&blob.digest).unwrap()).unwrap(), "content");
        assert_eq!((files(&store, "blobs/sha256"), files(&store, "tmp")), (1, 0));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.dir()), mode(&store.path(&blob.digest))), (0o700, 0o600));
        fs::remove_dir_all(store.dir()).unwrap();
    }

    #[test]
    fn what_fails_half_way_leaves_nothing() {
        let store = store();
        let result = store.put_with(|writer| -> anyhow::Result<()> {
            writer.write_all(&[7; 1024 * 1024])?;
            anyhow::bail!("the source is gone")
        });
        assert_eq!(result.unwrap_err().to_string(), "the source is gone");
        assert_eq!((files(&store, "blobs/sha256"), files(&store, "tmp")), (0, 0));
        fs::remove_dir_all(store.dir()).unwrap();
    }
}
