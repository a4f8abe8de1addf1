//! The child's pipes: read as bytes, cut into lines, kept, logged; and stdin fed.
//!
//! What must hold: the child never blocks on a full pipe because of us; one bad byte or one endless line ends nothing
//! (which is why `BufRead::lines` is not used); a reader ends when it is told to, even if a process that left the group
//! holds the other end for ever. That is what poll(2) on a second, empty pipe is for; a plain blocking read could only
//! have been abandoned together with its thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::lock;
use crate::monitor::{Monitor, Pump};

/// Lines are cut after this many bytes.
pub(crate) const LINE_LIMIT: usize = 8 * 1024;
/// This many last lines are kept.
pub(crate) const TAIL_LINES: usize = 40;
/// This much captured stdout is kept, in bytes.
pub(crate) const CAPTURE_LIMIT: usize = 64 * 1024 * 1024;
/// How much is still read once a reader is told to end: what an ordinary pipe can hold at most
/// (/proc/sys/fs/pipe-max-size), so that nothing written before is lost and a process that writes on does not keep us.
const LAST_BYTES: usize = 1024 * 1024;
/// POSIX PIPE_BUF on Linux: when poll(2) reports a pipe as writable, a write of this size does not block.
const PIPE_BUF: usize = 4096;

pub(crate) type LineFn = Arc<dyn Fn(&str) + Send + Sync>;

/// The last lines, shared with who asks for them while the child runs.
#[derive(Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    pub(crate) fn lines(&self) -> Vec<String> {
        lock(&self.0).iter().cloned().collect()
    }

    fn push(&self, line: String) {
        let mut lines = lock(&self.0);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// The last lines of a log file, at most 40 and of its last 64 KiB; none if it cannot be read.
#[must_use]
pub fn tail_of(path: &Path) -> Vec<String> {
    const WINDOW: u64 = 64 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
        let mut bytes = Vec::new();
        file.take(WINDOW).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec()
}

/// Where the bytes of the merged output go.
pub(crate) struct Lines {
    pub(crate) log: Option<File>,
    pub(crate) tail: Tail,
    pub(crate) on_line: Option<LineFn>,
    pub(crate) splitter: Splitter,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (tail, on_line) = (&self.tail, &self.on_line);
        self.splitter.feed(bytes, &mut |line| deliver(tail, on_line.as_ref(), line));
        match &mut self.log {
            Some(log) => log.write_all(bytes),
            None => Ok(()),
        }
    }

    fn finish(&mut self) {
        let (tail, on_line) = (&self.tail, &self.on_line);
        self.splitter.finish(&mut |line| deliver(tail, on_line.as_ref(), line));
    }
}

fn deliver(tail: &Tail, on_line: Option<&LineFn>, line: String) {
    if let Some(on_line) = on_line {
        on_line(&line);
    }
    tail.push(line);
}

/// Cuts bytes into lines of at most [`LINE_LIMIT`] bytes; the rest of a longer line is counted, not kept.
#[derive(Default)]
pub(crate) struct Splitter {
    line: Vec<u8>,
    cut: usize,
}

impl Splitter {
    fn feed(&mut self, bytes: &[u8], give: &mut dyn FnMut(String)) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = (LINE_LIMIT - self.line.len()).min(text.len());
            self.line.extend_from_slice(&text[..room]);
            self.cut += text.len() - room;
            if ended {
                self.give(give);
            }
        }
    }

    fn finish(&mut self, give: &mut dyn FnMut(String)) {
        if !self.line.is_empty() {
            self.give(give);
        }
    }

    fn give(&mut self, give: &mut dyn FnMut(String)) {
        let mut line = self.line.as_slice();
        if self.cut > 0 {
            // The limit may have split a character; its first half is not shown as a bad byte.
            let first = line.iter().rposition(|b| b & 0b1100_0000 != 0b1000_0000).unwrap_or(0);
            if line.len() - first < 4 && std::str::from_utf8(&line[first..]).is_err_and(|e| e.error_len().is_none()) {
                self.cut += line.len() - first;
                line = &line[..first];
            }
        }
        let mut text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        if self.cut > 0 {
            text.push_str(&format!("… ({} bytes cut)", self.cut));
        }
        self.line.clear();
        self.cut = 0;
        give(text);
    }
}

/// Body of the thread that reads the merged output.
pub(crate) fn read_lines(pipe: PipeReader, wake: PipeReader, monitor: &Monitor, mut lines: Lines) {
    let _closes = Closes(monitor, Pump::Lines);
    let result = read(pipe, wake, monitor, Pump::Lines, |bytes| {
        if let Err(error) = lines.take(bytes) {
            // A full disk must not block or kill the child: it is told at the end, and the lines go on without the log.
            lines.log = None;
            monitor.state().output_error.get_or_insert(io::Error::new(error.kind(), format!("write log: {error}")));
        }
        true
    });
    lines.finish();
    if let Err(error) = result {
        monitor.state().output_error.get_or_insert(io::Error::new(error.kind(), format!("read output: {error}")));
    }
}

/// Body of the thread that keeps captured stdout.
pub(crate) fn read_all(pipe: PipeReader, wake: PipeReader, monitor: &Monitor, kept: &Mutex<Vec<u8>>) {
    let _closes = Closes(monitor, Pump::Stdout);
    let result = read(pipe, wake, monitor, Pump::Stdout, |bytes| {
        let mut kept = lock(kept);
        let fits = kept.len() + bytes.len() <= CAPTURE_LIMIT;
        if fits {
            kept.extend_from_slice(bytes);
        } else {
            monitor.too_large();
        }
        fits
    });
    if let Err(error) = result {
        monitor.state().output_error.get_or_insert(io::Error::new(error.kind(), format!("read stdout: {error}")));
    }
}

pub(crate) type StdinFn = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// Body of the thread that feeds stdin. A child that stops reading is no error here: its exit status is the verdict.
pub(crate) fn write_stdin(pipe: PipeWriter, wake: PipeReader, monitor: &Monitor, writer: StdinFn) {
    let _closes = Closes(monitor, Pump::Stdin);
    let mut stdin = Stdin { pipe, wake, broken: false };
    let result = writer(&mut stdin);
    if let Err(error) = result
        && !stdin.broken
    {
        monitor.state().cause.get_or_insert(io::Error::new(error.kind(), format!("write stdin: {error}")));
    }
}

struct Closes<'a>(&'a Monitor, Pump);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

fn read(
    mut pipe: PipeReader,
    wake: PipeReader,
    monitor: &Monitor,
    pump: Pump,
    mut take: impl FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut last_bytes = LAST_BYTES;
    loop {
        monitor.waits(pump, true);
        let (ready, woken) = poll(pipe.as_fd(), libc::POLLIN, wake.as_fd())?;
        monitor.waits(pump, false);
        if !ready {
            monitor.state().held = true;
            return Ok(());
        }
        let count = match pipe.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if count == 0 || !take(&buffer[..count]) {
            return Ok(());
        }
        if woken {
            last_bytes = last_bytes.saturating_sub(count);
            if last_bytes == 0 {
                monitor.state().held = true;
                return Ok(());
            }
        }
    }
}

/// The child's stdin as its writer sees it; a write fails with `BrokenPipe` when the child ended or was ended.
struct Stdin {
    pipe: PipeWriter,
    wake: PipeReader,
    /// The reader is gone: whatever the writer makes of that, it is not the command's error.
    broken: bool,
}

impl Write for Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (_, woken) = poll(self.pipe.as_fd(), libc::POLLOUT, self.wake.as_fd())?;
        if woken {
            self.broken = true;
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let result = self.pipe.write(&bytes[..bytes.len().min(PIPE_BUF)]);
        self.broken |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Blocks until `fd` is ready for `events` (or closed at the other end), or `wake` is closed at its other end.
#[expect(unsafe_code, reason = "poll(2) has no safe form in std")]
fn poll(fd: BorrowedFd<'_>, events: libc::c_short, wake: BorrowedFd<'_>) -> io::Result<(bool, bool)> {
    let mut fds = [
        libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 },
        libc::pollfd { fd: wake.as_raw_fd(), events: libc::POLLIN, revents: 0 },
    ];
    loop {
        // SAFETY: the pointer and the count describe `fds`, which lives across the call; both descriptors are borrowed.
        let result = unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) };
        if result >= 0 {
            return Ok((fds[0].revents != 0, fds[1].revents != 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for piece in pieces {
            splitter.feed(piece, &mut |line| lines.push(line));
        }
        splitter.finish(&mut |line| lines.push(line));
        lines
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let text = b"one\r\n\ntwo \xff\nthree";
        let expected = ["one", "", "two \u{fffd}", "three"];
        assert_eq!(split(&[text]), expected);
        assert_eq!(split(&text.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_long_line_is_cut_and_says_by_how_much() {
        let lines = split(&[&[b'a'; LINE_LIMIT], b"bb", b"b\nnext\n"]);
        assert_eq!(lines, [format!("{}… (3 bytes cut)", "a".repeat(LINE_LIMIT)), "next".to_owned()]);
    }

    #[test]
    fn a_cut_never_shows_half_a_character() {
        let lines = split(&["é".repeat(LINE_LIMIT).as_bytes(), b"\n"]);
        assert!(!lines[0].contains('\u{fffd}'), "an even limit cuts between characters");
        let lines = split(&[b"x", "é".repeat(LINE_LIMIT).as_bytes(), b"\n"]);
        assert!(!lines[0].contains('\u{fffd}'), "{}", &lines[0][lines[0].len() - 40..]);
        assert!(lines[0].ends_with(&format!("é… ({} bytes cut)", LINE_LIMIT + 2)));
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole() {
        assert_eq!(split(&[&[b'a'; LINE_LIMIT], b"\n"]), ["a".repeat(LINE_LIMIT)]);
    }
}
