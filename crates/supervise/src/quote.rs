//! Words for a POSIX shell, exact to the byte: what is printed can be pasted and does the same.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// `text` as one word. Plain words stay as they are, others are put in single quotes. Bytes that a terminal would
/// act upon or that are not UTF-8 are written as `"$(printf '\ooo')"`, which every POSIX shell reads (`$'…'` is not in
/// every one); newline and tab stay, as they are harmless and readable.
pub fn quote(text: &OsStr) -> String {
    let bytes = text.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(b)) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let (mut out, mut plain) = (String::new(), String::new());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() && !matches!(char, '\n' | '\t') {
                flush(&mut out, &mut plain);
                octal(&mut out, char.encode_utf8(&mut [0; 4]).as_bytes());
            } else if char == '\'' {
                flush(&mut out, &mut plain);
                out.push_str("\\'");
            } else {
                plain.push(char);
            }
        }
        if !chunk.invalid().is_empty() {
            flush(&mut out, &mut plain);
            octal(&mut out, chunk.invalid());
        }
    }
    flush(&mut out, &mut plain);
    if out.is_empty() { "''".to_owned() } else { out }
}

/// The program's place is special: a word with `=` there would be an assignment.
pub(crate) fn quote_program(text: &OsStr) -> String {
    let quoted = quote(text);
    if quoted.contains('=') && !quoted.contains('\'') { format!("'{quoted}'") } else { quoted }
}

fn flush(out: &mut String, plain: &mut String) {
    if !plain.is_empty() {
        out.push('\'');
        out.push_str(plain);
        out.push('\'');
        plain.clear();
    }
}

fn octal(out: &mut String, bytes: &[u8]) {
    out.push_str("\"$(printf '");
    for byte in bytes {
        out.push_str(&format!("\\{byte:03o}"));
    }
    out.push_str("')\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_readable() {
        for word in ["cargo", "--target=x86_64", "/a/b.c", "a@b:1,2%+"] {
            assert_eq!(quote(OsStr::new(word)), word);
        }
        assert_eq!(quote(OsStr::new("")), "''");
        assert_eq!(quote(OsStr::new("a b")), "'a b'");
        assert_eq!(quote(OsStr::new("it's")), r"'it'\''s'");
        assert_eq!(quote_program(OsStr::new("A=b")), "'A=b'");
        assert_eq!(quote_program(OsStr::new("it's=b")), r"'it'\''s=b'");
    }

    #[test]
    fn no_byte_that_a_terminal_acts_upon_is_printed() {
        let all: Vec<u8> = (1..=255).collect();
        let quoted = quote(OsStr::from_bytes(&all));
        assert!(quoted.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')), "{quoted}");
    }
}
