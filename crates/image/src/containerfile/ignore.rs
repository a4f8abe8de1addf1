//! Which files of a build context count: the rules of `.dockerignore`, as Docker has them.
//!
//! Source of the rules: <https://docs.docker.com/build/concepts/context/#dockerignore-files>; where that is silent, the code
//! that docker and podman share (github.com/moby/patternmatcher). They are not those of `.gitignore`: a pattern is anchored at
//! the context, and `!` brings back what is in a folder that was left out.

use anyhow::{Context, bail};

/// The patterns of an ignore file, in order: the last that matches decides.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    negated: bool,
    pattern: Vec<Token>,
}

#[derive(Debug)]
enum Token {
    /// `**/`, or `**` in front of something: any number of folders, also none.
    Folders,
    /// `**` at the end: whatever follows.
    Rest,
    /// `*`: anything within a name.
    Star,
    /// `?`: one character of a name.
    One,
    /// `[…]`: one of these ranges, or none of them.
    Class(bool, Vec<(char, char)>),
    Char(char),
}

impl Rules {
    /// Reads an ignore file.
    ///
    /// # Errors
    /// If a line is no pattern; the error names it.
    pub(super) fn parse(text: &str) -> anyhow::Result<Rules> {
        let mut rules = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            // Only at the very beginning of a line: ` #x` is a pattern.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (negated, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
            let what = || format!("line {} of the ignore file, `{line}`, is no pattern", index + 1);
            if pattern.is_empty() {
                bail!("{}: nothing follows the `!`", what());
            }
            let pattern = tokens(&clean(pattern)).with_context(what)?;
            rules.push(Rule { negated, pattern });
        }
        Ok(Rules(rules))
    }

    /// Whether a path, relative to the context, is left out: by itself, or because a folder above it is.
    pub(super) fn exclude(&self, path: &str) -> bool {
        let above = path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &path[..at]);
        let paths: Vec<Vec<char>> = above.chain([path]).map(|path| path.chars().collect()).collect();
        let mut excluded = false;
        for rule in &self.0 {
            if excluded == rule.negated && paths.iter().any(|path| matches(&rule.pattern, path)) {
                excluded = !rule.negated;
            }
        }
        excluded
    }

    /// Whether something may be brought back from a folder that is left out.
    pub(super) fn bring_back(&self) -> bool {
        self.0.iter().any(|rule| rule.negated)
    }
}

/// What Go's `filepath.Clean` makes of it, without the slash that it may begin with.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

fn tokens(pattern: &str) -> anyhow::Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_none() { Token::Rest } else { Token::Folders }
            }
            '*' => Token::Star,
            '?' => Token::One,
            '\\' => Token::Char(chars.next().unwrap_or('\\')),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let mut low = chars.next().context("a `[` has no `]`")?;
                    if low == ']' && !ranges.is_empty() {
                        break;
                    }
                    if low == '\\' {
                        low = chars.next().context("a `[` has no `]`")?;
                    }
                    let mut high = low;
                    if chars.next_if_eq(&'-').is_some() {
                        high = chars.next().context("a `[` has no `]`")?;
                    }
                    ranges.push((low, high));
                }
                Token::Class(negated, ranges)
            }
            c => Token::Char(c),
        });
    }
    Ok(tokens)
}

fn matches(pattern: &[Token], path: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return path.is_empty() };
    match first {
        Token::Rest => true,
        Token::Folders => {
            matches(rest, path) || (0..path.len()).any(|at| path[at] == '/' && matches(rest, &path[at + 1..]))
        }
        Token::Star => {
            let name = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            (0..=name).any(|taken| matches(rest, &path[taken..]))
        }
        one => match path.split_first() {
            Some((c, path)) => takes(one, *c) && matches(rest, path),
            None => false,
        },
    }
}

fn takes(token: &Token, c: char) -> bool {
    match token {
        Token::Char(wanted) => c == *wanted,
        Token::Class(negated, ranges) => {
            c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
        }
        _ => c != '/',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Docker's documentation, and the cases of its own tests that people meet.
    #[test]
    fn a_path_is_left_out_as_docker_leaves_it_out() {
        for (text, out, kept) in [
            ("# a comment\n\n  *.md  \n!README.md", &["a.md"][..], &["README.md", "docs/a.md", "a.mdx"][..]),
            ("*/temp*", &["some/temp.txt", "some/temp", "some/temp/x"], &["temp", "a/b/temp"]),
            ("*/*/temp*", &["a/b/temporary.txt"], &["a/temp"]),
            ("temp?", &["tempa", "tempb/x"], &["temp", "tempab", "x/tempa"]),
            ("**/*.go", &["a.go", "a/b/c.go"], &["a.gox"]),
            ("**/target", &["target", "target/x", "a/b/target/y"], &["atarget", "a/targets"]),
            ("/target/", &["target", "target/debug/x"], &["a/target"]),
            ("./a/../b//c", &["b/c"], &["a", "b"]),
            ("docs/**", &["docs/a", "docs/a/b"], &["docs", "doc/a"]),
            ("**", &["a", "a/b"], &[]),
            ("*\n!a/b", &["x", "a/c", "c/b"], &["a/b", "a/b/c"]),
            ("*.md\n!README*.md\nREADME-secret.md", &["a.md", "README-secret.md"], &["README.md", "README-x.md"]),
            ("!x\nx", &["x"], &[]),
            ("a[b-d]", &["ab", "ad/x"], &["ae", "a", "a/"]),
            ("a[^b]c", &["axc"], &["abc", "a/c"]),
            (r"\*", &["*"], &["a"]),
            ("\\#x", &["#x"], &["x"]),
            ("a.c", &["a.c"], &["abc"]),
            ("\u{feff}x", &["x"], &[]),
        ] {
            let rules = Rules::parse(text).unwrap();
            for path in out {
                assert!(rules.exclude(path), "`{path}` is in although {text:?}");
            }
            for path in kept {
                assert!(!rules.exclude(path), "`{path}` is out because of {text:?}");
            }
        }
        assert!(!Rules::default().exclude("x"));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_named() {
        let error = format!("{:#}", Rules::parse("a\nb[\n").unwrap_err());
        assert!(error.contains("line 2 of the ignore file, `b[`"), "{error}");
        assert!(Rules::parse("!").is_err());
    }
}
