//! The terminal: data goes to stdout, everything for people to stderr.

use std::env;
use std::io::{ErrorKind, IsTerminal, Write};

use anyhow::Context;
use report::terminal::Mode;

/// Writes for people, as it is.
pub(crate) fn say(text: &str) {
    // Nobody can be told that stderr is closed.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// Writes data. A reader that has closed it wants no more.
///
/// # Errors
/// If stdout cannot be written for another reason, such as a full disk.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("write to stdout"),
        _ => Ok(()),
    }
}

/// Whether live lines can be drawn: not in CI, some of which pretend to be terminals.
pub(crate) fn mode() -> Mode {
    let plain = env::var_os("CI").is_some() || env::var("TERM").is_ok_and(|term| term == "dumb");
    if std::io::stderr().is_terminal() && !plain { Mode::Live } else { Mode::Lines }
}

/// Whether colours are wanted (<https://no-color.org>).
pub(crate) fn color() -> bool {
    std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Columns of the terminal, if it is one.
pub(crate) fn width() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    #[expect(
        unsafe_code,
        reason = "std cannot tell the size of a terminal, and a crate for it costs a second of compile time"
    )]
    // SAFETY: the call fills the structure that it is given, and fails on what is no terminal.
    let result = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
