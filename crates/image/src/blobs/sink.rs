//! Writing a blob: what comes is hashed in another thread as soon as it is much, since hashing takes about as long as reading and
//! writing together.

use std::fs::File;
use std::io::{self, Write};
use std::mem;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};

use super::{BUFFER, Blob};
use crate::{Digest, Hasher};

/// How many buffers go back and forth between writing and hashing.
const BUFFERS: usize = 8;

/// Writes what comes into a file, and hashes it.
pub(super) struct Sink<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    hashing: Option<Hashing>,
    size: u64,
}

struct Hashing {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Digest>,
}

impl Hashing {
    fn start() -> Hashing {
        let (full, to_hash) = mpsc::sync_channel::<Vec<u8>>(BUFFERS);
        let (hashed, empty) = mpsc::sync_channel(BUFFERS);
        for _ in 1..BUFFERS {
            // There is room for all.
            drop(hashed.send(Vec::with_capacity(BUFFER)));
        }
        let thread = thread::spawn(move || {
            let mut hasher = Hasher::default();
            for mut buffer in to_hash {
                drop(hasher.write_all(&buffer));
                buffer.clear();
                // Nobody wants it any more when the end has come.
                drop(hashed.send(buffer));
            }
            hasher.finish()
        });
        Hashing { full, empty, thread }
    }
}

impl<'a> Sink<'a> {
    pub(super) fn new(file: &'a File) -> Sink<'a> {
        Sink { file, buffer: Vec::with_capacity(BUFFER), hashing: None, size: 0 }
    }

    /// Writes the buffer, which is full.
    fn pass_on(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        let hashing = self.hashing.get_or_insert_with(Hashing::start);
        let empty = hashing.empty.recv().map_err(|_| gone())?;
        hashing.full.send(mem::replace(&mut self.buffer, empty)).map_err(|_| gone())
    }

    pub(super) fn end(mut self) -> io::Result<Blob> {
        self.file.write_all(&self.buffer)?;
        let Some(Hashing { full, thread, .. }) = self.hashing.take() else {
            return Ok(Blob { digest: Digest::of(&self.buffer), size: self.size });
        };
        full.send(self.buffer).map_err(|_| gone())?;
        drop(full);
        Ok(Blob { digest: thread.join().map_err(|_| gone())?, size: self.size })
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.size += taken as u64;
        if self.buffer.len() == BUFFER {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that hashes is gone")
}
