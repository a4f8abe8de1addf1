//! Commands that give an image another name than the one that was made for it.
//!
//! The command lines of the record are read as a shell would read them, also inside `sh -c '…'` and `docker exec node ctr …`.

/// Programs of which `tag`, as a word of its own, gives an image a name.
const ENGINES: [&str; 7] = ["podman", "docker", "nerdctl", "buildah", "ctr", "crane", "oras"];

/// Why this command gives an image another name, if it does. `references` are the names that were made for the service.
pub(super) fn renames(line: &str, references: &[&str]) -> Option<String> {
    let words = split(line);
    // A script in one word: what is in it is executed too.
    let script =
        words.iter().filter(|word| word.contains(char::is_whitespace)).find_map(|word| renames(word, references));
    script.or_else(|| renames_by_words(&words, references))
}

fn renames_by_words(words: &[String], references: &[&str]) -> Option<String> {
    for (at, program) in words.iter().enumerate() {
        let program = program.rsplit('/').next().unwrap_or_default();
        let end = words[at + 1..].iter().position(|word| is_separator(word)).map_or(words.len(), |end| at + 1 + end);
        let arguments = &words[at + 1..end];
        let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
        let ours = |name: &str| references.iter().any(|reference| is_name_of(name, reference));
        if ENGINES.contains(&program) {
            if has("tag") {
                return Some(format!("is `{program} tag`"));
            }
            if has("commit") {
                return Some(format!("is `{program} commit`"));
            }
            if has("build") || has("bud") {
                let mut names = values(arguments, &["-t", "--tag"]);
                if let Some(name) = names.find(|name| !ours(name)) {
                    return Some(format!("builds under the name `{name}`, which no tag was made for"));
                }
            }
            let named = values(arguments, &["--index-name", "--base-name"]).find(|name| !ours(name));
            if let (Some(name), "ctr" | "docker" | "podman" | "nerdctl") = (named, program) {
                return Some(format!("imports under the name `{name}`, which no tag was made for"));
            }
        }
        match program {
            "kind" if has("docker-image") => {
                return Some("is `kind load docker-image`, which loads by name".to_owned());
            }
            "skopeo" if has("copy") => {
                // The last word that is no option is the destination.
                let to = arguments.iter().rfind(|argument| !argument.starts_with('-')).filter(|to| !ours(to));
                if let Some(to) = to {
                    return Some(format!("copies to the name `{to}`, which no tag was made for"));
                }
            }
            "crane" | "regctl" if has("copy") || has("cp") => return Some(format!("is `{program} copy`")),
            _ => {}
        }
    }
    None
}

/// Whether a name, also as the end of a transport's address (`oci-archive:file:name`), is this reference.
fn is_name_of(name: &str, reference: &str) -> bool {
    let rest = name.strip_suffix(reference);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with([':', '/', '@', ',']))
}

/// The values of options, in the forms `-t v`, `--tag v` and `--tag=v`.
fn values<'a>(arguments: &'a [String], options: &'a [&str]) -> impl Iterator<Item = &'a str> {
    arguments.iter().enumerate().filter_map(move |(at, argument)| {
        options.iter().find_map(|option| {
            let rest = argument.strip_prefix(option)?;
            if rest.is_empty() { arguments.get(at + 1).map(String::as_str) } else { rest.strip_prefix('=') }
        })
    })
}

fn is_separator(word: &str) -> bool {
    matches!(word, ";" | "&&" | "||" | "|" | "&")
}

/// The words of a command line (POSIX shell, quoting: section 2.2), with separators of commands as words of their own.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    match c {
                        '\\' => word.extend(chars.next()),
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ';' | '&' | '|' => {
                words.extend(word.take());
                let mut separator = String::from(c);
                separator.extend(chars.next_if_eq(&c));
                words.push(separator);
            }
            '\n' => {
                words.extend(word.take());
                words.push(";".to_owned());
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "localhost/datastorage:gateway-0199";

    #[test]
    fn every_way_to_rename_is_seen() {
        for line in [
            "podman tag localhost/datastorage:gateway-0199 localhost/datastorage:latest",
            "/usr/bin/docker image tag 0123abcd localhost/datastorage:x",
            "DOCKER_HOST='unix:///x y' docker --context kind tag a b",
            "sudo podman --root /x tag a b",
            "docker exec e2e-control-plane ctr -n k8s.io images tag a b",
            "podman exec node ctr --namespace=k8s.io image tag --force a b",
            "sh -c 'podman load -i x && podman tag a b'",
            "bash -ec \"echo; sh -c 'nerdctl tag a b'\"",
            "skopeo copy docker-archive:x.tar containers-storage:localhost/datastorage:latest",
            "skopeo copy --all oci:x docker://registry/localhost/datastorage:gateway-01990",
            "kind load docker-image localhost/datastorage:gateway-0199 --name e2e",
            "podman build -t localhost/datastorage:latest .",
            "podman build -t localhost/datastorage:gateway-0199 --tag=localhost/datastorage:other .",
            "docker exec node ctr -n k8s.io images import --base-name localhost/other -",
            "docker commit abc localhost/datastorage:gateway-0199",
            "crane copy a b",
        ] {
            assert!(renames(line, &[OURS]).is_some(), "{line}");
        }
    }

    #[test]
    fn what_renames_nothing_is_no_false_alarm() {
        for line in [
            "podman build -t localhost/datastorage:gateway-0199 --timestamp 0 .",
            "podman save --format oci-archive localhost/datastorage:gateway-0199",
            "skopeo copy oci:x docker-daemon:localhost/datastorage:gateway-0199",
            "docker exec node ctr -n k8s.io images import --digests --snapshotter overlayfs -",
            "docker exec node ctr -n k8s.io images ls -q",
            "E2E_RUN=0199 cargo build -p datastorage -p tag",
            "git tag v1",
            "/target/e2e/build/suite --exact podman_tag_is_refused",
            "/target/suite --exact tag::docker",
            "echo docker; git tag x",
        ] {
            assert_eq!(renames(line, &[OURS]), None, "{line}");
        }
    }

    #[test]
    fn words_are_those_of_a_shell() {
        assert_eq!(split(r#"A='b c' "d\"e" f\ g 'h'\''i' '' "#), ["A=b c", "d\"e", "f g", "h'i", ""]);
        assert_eq!(split("a&&b;c|d"), ["a", "&&", "b", ";", "c", "|", "d"]);
    }
}
