//! Text from a run made safe and short for where it is shown.
//!
//! What a command or a test printed is untrusted: it may carry colours, cursor movements, or bytes that XML forbids.

use std::borrow::Cow;

/// The text without escape sequences (ECMA-48) and control characters other than line feed and tab. Carriage returns become
/// line feeds, so that the states of a progress bar stay apart.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\r' if chars.peek() != Some(&'\n') => kept.push('\n'),
            '\n' | '\t' => kept.push(c),
            c if c.is_control() => {}
            c => kept.push(c),
        }
    }
    Cow::Owned(kept)
}

/// Skips what follows an escape character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        // A control sequence: parameters and intermediates, then one final byte.
        Some('[') => while chars.next_if(|c| (' '..='?').contains(c)).is_some() {},
        // A control string (a title, a link): up to its terminator, BEL or ESC \. One that never ends stops at the line's end.
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next_if(|c| *c != '\n') {
                match c {
                    '\u{7}' => return,
                    '\u{1b}' => break,
                    _ => {}
                }
            }
            chars.next_if_eq(&'\\');
            return;
        }
        Some(c) if (' '..='/').contains(&c) => while chars.next_if(|c| (' '..='/').contains(c)).is_some() {},
        _ => return,
    }
    chars.next_if(|c| ('0'..='~').contains(c));
}

/// The same on one line.
pub(crate) fn one_line(text: &str) -> String {
    plain(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The last `count` lines of a text, made plain.
pub(crate) fn last_lines(text: &str, count: usize) -> Vec<String> {
    let text = plain(text);
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

/// The lines of a failed test's output that say why: from the panic on without the backtrace, or else the last ones.
pub(crate) fn excerpt(output: &str, count: usize) -> Vec<String> {
    let lines = last_lines(output, usize::MAX);
    let Some(panic) = lines.iter().position(|line| line.contains("panicked at ")) else {
        return last_lines(output, count);
    };
    let noise =
        |line: &&String| !line.starts_with("stack backtrace:") && !line.starts_with("note: run with `RUST_BACKTRACE");
    lines[panic..].iter().take_while(noise).take(count).cloned().collect()
}

/// Escaped for text and quoted attributes of HTML and XML.
pub(crate) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            // XML 1.0 forbids them even if they are escaped (section 2.2, production `Char`).
            '\u{fffe}' | '\u{ffff}' => {}
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A time in microseconds, for people: `0ms`, `820ms`, `12.3s`, `3m07s`.
pub(crate) fn duration(us: u64) -> String {
    match us {
        0..999_500 => format!("{}ms", (us + 500) / 1000),
        999_500..59_950_000 => format!("{}.{}s", (us + 50_000) / 1_000_000, (us + 50_000) / 100_000 % 10),
        _ => {
            let seconds = (us + 500_000) / 1_000_000;
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        }
    }
}

/// How many columns of a terminal a text takes: East Asian wide characters and emoji take two, combining marks none.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Cut to at most `width` columns; what was cut ends in `…`.
pub(crate) fn clip(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += char_columns(c);
        // One column is for the ellipsis.
        if used >= width {
            break;
        }
        clipped.push(c);
    }
    if width > 0 {
        clipped.push('…');
    }
    clipped
}

/// Filled with spaces to `width` columns.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// `1 test`, `2 tests`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_control_characters_go() {
        for (raw, expected) in [
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]never ended\nnext", "\nnext"),
            ("\u{1b}(Bascii \u{9b}31mc1", "ascii 31mc1"),
            ("10%\r20%\r\ndone\u{0}\u{8}\u{7f}", "10%\n20%\ndone"),
            ("tab\tstays", "tab\tstays"),
            ("cut \u{1b}", "cut "),
            ("cut \u{1b}[3", "cut "),
        ] {
            assert_eq!(plain(raw), expected, "{raw:?}");
        }
        assert_eq!(xml("a\u{ffff}b\u{fffe}c\u{1}"), "abc");
    }

    #[test]
    fn times_are_short() {
        for (us, expected) in [
            (0, "0ms"),
            (499, "0ms"),
            (820_400, "820ms"),
            (999_499, "999ms"),
            (999_500, "1.0s"),
            (12_340_000, "12.3s"),
            (59_949_999, "59.9s"),
            (59_950_000, "1m00s"),
            (187_000_000, "3m07s"),
        ] {
            assert_eq!(duration(us), expected, "{us}");
        }
    }

    #[test]
    fn what_is_cut_fits() {
        assert_eq!(clip("short", 5), "short");
        assert_eq!(clip("longer", 5), "long…");
        assert_eq!(clip("漢字漢字", 5), "漢字…");
        assert_eq!(clip("x", 0), "");
        assert_eq!(pad("漢", 4), "漢  ");
        assert_eq!(last_lines("a\nb\nc\n\n", 2), ["b", "c"]);
    }

    #[test]
    fn the_panic_is_shown_and_not_its_backtrace() {
        let panic = "running 1 test\nthread 'a' panicked at a.rs:1:2:\nleft: 1\nright: 2\n";
        for noise in ["stack backtrace:\n 0: x\n", "note: run with `RUST_BACKTRACE=1` to display\n", ""] {
            let shown = excerpt(&format!("{panic}{noise}"), 9);
            assert_eq!(shown, ["thread 'a' panicked at a.rs:1:2:", "left: 1", "right: 2"], "{noise}");
        }
        assert_eq!(excerpt(panic, 2).len(), 2);
        assert_eq!(excerpt("killed\nafter 60 s\n", 1), ["after 60 s"]);
    }
}
