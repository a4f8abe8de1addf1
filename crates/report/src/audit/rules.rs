//! The rules of the pattern, but for the proof.

use super::facts::{Facts, Named};
use super::retag;
use super::{Judge, Line};
use crate::text::one_line;

pub(super) fn tag_before_build(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    needed(facts, &mut judge, &facts.tags, "no tag was made for");
    for tag in &facts.tags {
        let built = facts.built.iter().find(|built| built.image == tag.image).map(|built| built.seq);
        match facts.build_began.into_iter().chain(built).min() {
            Some(build) if tag.seq < build => {
                judge.saw([tag.seq, build]);
                judge.evidence.push(format!("{} at #{}, the build began at #{build}", tag.reference, tag.seq));
            }
            Some(build) => {
                judge.saw([tag.seq, build]);
                judge
                    .faults
                    .push(format!("{} was made at #{}, after the build began at #{build}", tag.reference, tag.seq));
            }
            None => judge.faults.push("nothing was built".to_owned()),
        }
    }
    judge.faults.dedup();
    judge.line("tag_before_build", "tag made before the build")
}

pub(super) fn build_used_tag(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    needed(facts, &mut judge, &facts.built, "nothing was built for");
    for (at, built) in facts.built.iter().enumerate() {
        same_name(facts, &mut judge, built, "built");
        if facts.built[..at].iter().any(|other| other.reference == built.reference) {
            judge.faults.push(format!("{} was built a second time at #{}", built.reference, built.seq));
        }
    }
    judge.line("build_used_tag", "the build used that tag")
}

pub(super) fn load_used_tag(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    needed(facts, &mut judge, &facts.loaded, "nothing was loaded for");
    for loaded in &facts.loaded {
        same_name(facts, &mut judge, loaded, "loaded");
        after(&mut judge, loaded, &facts.built, "loaded", "built");
        let built = facts.built.iter().find(|built| built.reference == loaded.reference);
        if let (Some(built), Some(found)) = (built.and_then(|built| built.config), loaded.config)
            && built != found
        {
            judge.faults.push(format!("{}: {built} was built and {found} was loaded", loaded.reference));
        }
    }
    judge.line("load_used_tag", "the load used that tag")
}

pub(super) fn deploy_used_tag(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    needed(facts, &mut judge, &facts.deployed, "nothing was deployed for");
    for deployed in &facts.deployed {
        same_name(facts, &mut judge, deployed, "deployed");
        after(&mut judge, deployed, &facts.loaded, "deployed", "loaded");
    }
    judge.line("deploy_used_tag", "the deployment used that tag")
}

pub(super) fn no_retag(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    let references = facts.references();
    for command in &facts.commands {
        if let Some(why) = retag::renames(command.line, &references) {
            judge.saw([command.seq]);
            judge.faults.push(format!("#{} {why}: `{}`", command.seq, one_line(command.line)));
        }
    }
    judge.evidence.push(format!("{} looked at, none gives an image another name", commands(facts.commands.len())));
    if !judge.faults.is_empty() {
        judge.evidence.clear();
    }
    judge.line("no_retag", "no re-tag")
}

pub(super) fn no_late_tag(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    needed(facts, &mut judge, &facts.tags, "no tag was made for");
    let used = facts.built.iter().chain(&facts.loaded).chain(&facts.deployed).map(|named| named.seq).min();
    for (at, tag) in facts.tags.iter().enumerate() {
        judge.saw([tag.seq]);
        if let Some(used) = used.filter(|used| tag.seq > *used) {
            judge
                .faults
                .push(format!("{} was made at #{}, after images were in use at #{used}", tag.reference, tag.seq));
        }
        if let Some(first) = facts.tags[..at].iter().find(|first| first.image == tag.image) {
            judge.faults.push(format!("a second tag for `{}` at #{}, after #{}", tag.image, tag.seq, first.seq));
        }
        if !facts.images.is_empty() && !facts.images.contains(&tag.image) {
            judge
                .faults
                .push(format!("#{} is a tag for `{}`, which is no workload of the service", tag.seq, tag.image));
        }
    }
    if let (Some(last), true) = (facts.tags.last(), judge.faults.is_empty()) {
        let number = crate::text::count(facts.tags.len(), "tag");
        judge.evidence.push(format!("{number}, one per image, the last at #{}", last.seq));
    }
    judge.line("no_late_tag", "no tag made at deploy time")
}

pub(super) fn not_shared(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    needed(facts, &mut judge, &facts.tags, "no tag was made for");
    let used = facts.tags.iter().chain(&facts.built).chain(&facts.loaded).chain(&facts.deployed);
    let mut used: Vec<_> = used.map(|named| named.reference).collect();
    used.sort_unstable();
    used.dedup();
    for reference in used {
        let mut others = facts.elsewhere.iter().filter(|(_, _, other)| *other == reference);
        match others.next() {
            Some((seq, service, _)) => {
                judge.saw([*seq]);
                judge.faults.push(format!("{reference} is also used by `{service}`, at #{seq}"));
            }
            None => judge.evidence.push(format!("{reference} is named by no other service")),
        }
    }
    judge.line("not_shared", "image not shared with another service")
}

pub(super) fn never_seen(facts: &Facts<'_>, earlier: Option<&[String]>) -> Line {
    let mut judge = Judge::default();
    needed(facts, &mut judge, &facts.tags, "no tag was made for");
    // The reference carries the id of its run, so that it is new by construction.
    let id = facts.run.replace('-', "");
    for tag in &facts.tags {
        judge.saw([tag.seq]);
        if earlier.is_some_and(|earlier| earlier.iter().any(|other| other == tag.reference)) {
            judge.faults.push(format!("{} was already made by an earlier run", tag.reference));
        }
        if !tag.reference.contains(&id) {
            judge.faults.push(format!("{} does not carry the id of this run", tag.reference));
        }
    }
    match earlier {
        Some(earlier) => {
            judge.evidence.push(format!("compared with {} of earlier runs", crate::text::count(earlier.len(), "tag")))
        }
        None => judge.unchecked.push("the records of earlier runs were not looked at".to_owned()),
    }
    judge.line("never_seen", "tag never seen before")
}

pub(super) fn nothing_left(facts: &Facts<'_>) -> Line {
    let mut judge = Judge::default();
    for (seq, what, error) in &facts.removed {
        judge.saw([*seq]);
        match error {
            Some(error) => judge.faults.push(format!("#{seq} {}: {}", one_line(what), one_line(error))),
            None => judge.evidence.push(format!("#{seq} {} removed", one_line(what))),
        }
    }
    for command in facts.commands.iter().filter(|command| !command.ended) {
        judge.saw([command.seq]);
        judge.faults.push(format!("the end of command #{} was not seen: `{}`", command.seq, one_line(command.line)));
    }
    match facts.end {
        Some((seq, true)) => judge.saw([seq]),
        Some((seq, false)) => {
            judge.saw([seq]);
            let remedy = format!("`cargo xtask clean {}` removes it", facts.run);
            judge.faults.push(format!("#{seq} not everything that the ledger lists is gone: {remedy}"));
        }
        None => judge.faults.push("the end of the run is not in the record".to_owned()),
    }
    if facts.removed.is_empty() {
        judge.faults.push("no removal is in the record".to_owned());
    }
    judge.line("nothing_left", "nothing left behind")
}

/// Each image of the service must be in the list.
fn needed(facts: &Facts<'_>, judge: &mut Judge, list: &[Named<'_>], missing: &str) {
    let lacking = facts.images.iter().filter(|image| !list.iter().any(|named| named.image == **image));
    judge.faults.extend(lacking.map(|image| format!("{missing} `{image}`")));
    if facts.images.is_empty() {
        judge.faults.push("the record names no workload of the service".to_owned());
    }
}

/// What was used must have the name that was made for it in phase 0.
fn same_name(facts: &Facts<'_>, judge: &mut Judge, named: &Named<'_>, did: &str) {
    judge.saw([named.seq]);
    let (seq, image, reference) = (named.seq, named.image, named.reference);
    match facts.tag(image) {
        Some(tag) if tag.reference == reference && tag.seq < seq => {
            judge.saw([tag.seq]);
            let config = named.config.map(|digest| format!(", config {digest}")).unwrap_or_default();
            judge.evidence.push(format!("{reference} {did} at #{seq}{config}"));
        }
        Some(tag) if tag.reference == reference => {
            judge.faults.push(format!("{reference} was {did} at #{seq}, before its tag was made at #{}", tag.seq));
        }
        Some(tag) => {
            judge.faults.push(format!("`{image}` was {did} at #{seq} as {reference}; its tag is {}", tag.reference))
        }
        None => judge.faults.push(format!("`{image}` was {did} at #{seq} as {reference}, for which no tag was made")),
    }
}

/// What was used must have come out of the step before.
fn after(judge: &mut Judge, named: &Named<'_>, before: &[Named<'_>], did: &str, first: &str) {
    if !before.iter().any(|other| other.reference == named.reference && other.seq < named.seq) {
        judge
            .faults
            .push(format!("{} was {did} at #{} without having been {first} before", named.reference, named.seq));
    }
}

fn commands(number: usize) -> String {
    crate::text::count(number, "command")
}
