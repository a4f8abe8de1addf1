//! The images that a Containerfile builds on: what its `FROM`, `COPY --from` and `RUN --mount=…,from=` name.
//!
//! Reference: <https://docs.docker.com/reference/dockerfile/>. Only as much is understood as it takes to find these names; what
//! an engine would refuse is left to the engine.

use std::collections::BTreeMap;

/// The references, each once, in the order of the file. Names of stages and `scratch` are none.
pub(super) fn bases(text: &str, arguments: &[(String, String)]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut stages: Vec<String> = Vec::new();
    let mut variables = BTreeMap::new();
    for line in instructions(text) {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        let mut names: Vec<String> = Vec::new();
        match instruction.as_str() {
            "ARG" if stages.is_empty() => {
                for word in words {
                    let (name, default) = word.split_once('=').unwrap_or((word, ""));
                    let given = arguments.iter().rev().find(|(argument, _)| argument == name);
                    let value = given.map_or_else(|| expand(unquote(default), &variables), |(_, value)| value.clone());
                    variables.insert(name.to_owned(), value);
                }
            }
            "FROM" => {
                let mut words = words.skip_while(|word| word.starts_with("--"));
                names.extend(words.next().map(|name| expand(unquote(name), &variables)));
                let stage = words.next().filter(|word| word.eq_ignore_ascii_case("as")).and_then(|_| words.next());
                names.retain(|name| !stages.contains(&name.to_lowercase()));
                stages.push(stage.unwrap_or_default().to_lowercase());
            }
            "COPY" | "ADD" => {
                let from =
                    words.take_while(|word| word.starts_with("--")).filter_map(|word| word.strip_prefix("--from="));
                names.extend(from.map(|name| expand(name, &variables)));
            }
            "RUN" => {
                let mounts = words.take_while(|word| word.starts_with("--"));
                let mounts = mounts.filter_map(|word| word.strip_prefix("--mount="));
                let from = mounts.flat_map(|mount| mount.split(',')).filter_map(|option| option.strip_prefix("from="));
                names.extend(from.map(|name| expand(name, &variables)));
            }
            _ => {}
        }
        if instruction != "FROM" {
            // A stage goes by its number too.
            names.retain(|name| name.parse::<usize>().is_err() && !stages.contains(&name.to_lowercase()));
        }
        for name in names {
            if !name.is_empty() && name != "scratch" && !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// The instructions, each on one line: continuations joined, comments and here-documents left out.
fn instructions(text: &str) -> Vec<String> {
    let mut instructions = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    let escape = if directive(text, "escape").is_some_and(|value| value == "`") { '`' } else { '\\' };
    let mut instruction = String::new();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with('#') || (line.trim().is_empty() && !instruction.is_empty()) {
            continue;
        }
        let line = line.trim_end();
        if let Some(part) = line.strip_suffix(escape) {
            instruction.push_str(part);
            continue;
        }
        instruction.push_str(line);
        for end in here_documents(&instruction) {
            // With `<<-` the end may be indented by tabs.
            lines.by_ref().find(|line| line.trim_start_matches('\t') == end);
        }
        instructions.push(std::mem::take(&mut instruction));
    }
    instructions.push(instruction);
    instructions
}

/// The value of a directive, which stands in a comment before everything else.
fn directive<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let comments = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    comments
        .filter_map(|comment| comment.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

/// The words that end the here-documents of an instruction.
fn here_documents(instruction: &str) -> Vec<String> {
    let first = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(first.as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let words = instruction.split_whitespace().filter_map(|word| word.split_once("<<").map(|(_, end)| end));
    let ends = words.map(|end| end.trim_start_matches('-').trim_matches(['"', '\'']).to_owned());
    ends.filter(|end| end.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')).collect()
}

fn unquote(word: &str) -> &str {
    word.trim_matches(['"', '\''])
}

/// `$NAME`, `${NAME}`, `${NAME:-otherwise}` and `${NAME:+instead}`.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, word, then) = match after.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some((inside, then)) => {
                let (name, word) = inside.split_once(':').map_or((inside, None), |(name, word)| (name, Some(word)));
                (name, word, then)
            }
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                (&after[..end], None, &after[end..])
            }
        };
        let value = variables.get(name).filter(|value| !value.is_empty());
        expanded.push_str(match (value, word.and_then(|word| word.split_at_checked(1))) {
            (Some(_), Some(("+", instead))) => instead,
            (Some(value), _) => value,
            (None, Some(("-", otherwise))) => otherwise,
            (None, _) => "",
        });
        rest = then;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_found_and_nothing_else() {
        let text = r#"# syntax=docker/dockerfile:1
ARG BASE=localhost/python
ARG TAG="3"
FROM --platform=linux/amd64 ${BASE}:$TAG AS build
RUN --mount=type=bind,from=localhost/tools,target=/t --network=none echo \
    # a comment in between

    FROM localhost/not-an-image
RUN <<EOF
FROM localhost/nor-this
EOF
FROM Build AS second
FROM scratch
COPY --chown=1:1 --from=build /a /a
COPY --from=1 /a /b
COPY --from=localhost/assets:2 /a /b
ADD a --from=localhost/no /b
COPY <<"E1" /x
FROM localhost/none
E1
from ${OTHER:-localhost/other}${SUFFIX:+-x}
"#;
        let found = bases(text, &[]);
        assert_eq!(found, ["localhost/python:3", "localhost/tools", "localhost/assets:2", "localhost/other"]);
        let given = [("TAG".to_owned(), "4".to_owned()), ("OTHER".to_owned(), "ignored: not declared".to_owned())];
        assert_eq!(bases(text, &given)[0], "localhost/python:4");
        let windows = "# escape=`\nFROM localhost/`\na\n";
        assert_eq!(bases(windows, &[]), ["localhost/a"]);
    }
}
