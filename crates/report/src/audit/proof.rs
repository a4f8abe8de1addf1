//! The links of the proof, per workload, before and after the tests.
//!
//! That a check says "holds" is not enough: both of its values must be there and be the same, it must lie on the right side of
//! the tests, and its values must be those of what was built.

use event::{Link, LinkVerdict, Moment};

use super::facts::{Facts, Proof};
use super::{Judge, Line};
use crate::text::one_line;

/// What can change while tests run is looked at again after them; the rest is about files that were read before.
const AFTER_TESTS: [Link; 3] = [Link::PlaceToContainer, Link::ContainerToProcess, Link::ProcessToEndpoint];

pub(super) fn lines(facts: &Facts<'_>) -> Vec<Line> {
    let mut workloads = facts.images.clone();
    workloads.extend(facts.proofs.iter().map(|proof| proof.workload).filter(|name| !facts.images.contains(name)));
    workloads.dedup();
    let each = |workload: &&str| Link::ALL.map(|link| line(facts, workload, link));
    workloads.iter().flat_map(each).collect()
}

fn line(facts: &Facts<'_>, workload: &str, link: Link) -> Line {
    let mut judge = Judge::default();
    let of = |moment| {
        let proofs = facts.proofs.iter();
        proofs.filter(move |proof| proof.workload == workload && proof.link == link && proof.moment == moment)
    };
    for (moment, words) in [(Moment::BeforeTests, "before the tests"), (Moment::AfterTests, "after the tests")] {
        let wanted = match moment {
            Moment::BeforeTests => true,
            Moment::AfterTests => facts.tests.is_some() && AFTER_TESTS.contains(&link),
        };
        if wanted && of(moment).next().is_none() {
            judge.faults.push(format!("it was not looked at {words}"));
        }
        for proof in of(moment) {
            look(facts, &mut judge, proof, words);
        }
    }
    judge.line(format!("proof:{workload}:{}", name(link)), format!("proof of {workload}: {}", link.describe()))
}

fn look(facts: &Facts<'_>, judge: &mut Judge, proof: &Proof<'_>, words: &str) {
    let seq = proof.seq;
    judge.saw([seq]);
    let (expected, found) = (one_line(proof.expected), one_line(proof.found));
    match proof.verdict {
        LinkVerdict::Unchecked => judge.unchecked.push(format!("#{seq} unchecked {words}: {found}")),
        LinkVerdict::Broken => judge.faults.push(format!("#{seq} broken {words}: expected {expected}, found {found}")),
        LinkVerdict::Holds if expected != found || expected.is_empty() => {
            judge.faults.push(format!("#{seq} is said to hold, but expected {expected} and found {found}"));
        }
        LinkVerdict::Holds => {
            judge.evidence.push(format!("#{seq} holds {words}: {found}"));
            contradiction(facts, judge, proof);
        }
    }
    match (proof.moment, facts.tests) {
        (Moment::BeforeTests, Some((first, _))) if seq > first => {
            judge.faults.push(format!("#{seq} counts as before the tests, but the first test ended at #{first}"));
        }
        (Moment::AfterTests, Some((_, last))) if seq < last => {
            judge.faults.push(format!("#{seq} counts as after the tests, but the last test ended at #{last}"));
        }
        _ => {}
    }
    let deployed =
        facts.deployed.iter().filter(|deployed| deployed.image == proof.workload).map(|deployed| deployed.seq);
    match deployed.max() {
        Some(deployed) if deployed < seq => {}
        Some(deployed) => {
            judge.faults.push(format!("#{seq} lies before `{}` was deployed at #{deployed}", proof.workload))
        }
        // Broken while it was packed, loaded or unpacked: that nothing was deployed then is as it should be.
        None if proof.verdict == LinkVerdict::Broken => {}
        None => judge.faults.push(format!("`{}` was not deployed", proof.workload)),
    }
}

/// What was looked at must be what the record says was built.
fn contradiction(facts: &Facts<'_>, judge: &mut Judge, proof: &Proof<'_>) {
    let Some(built) = facts.details.get(proof.workload) else {
        judge.faults.push(format!("`{}` was not built", proof.workload));
        return;
    };
    let config = facts.built.iter().find(|named| named.image == proof.workload).and_then(|named| named.config);
    let (digest, what) = match proof.link {
        Link::SourceToImage | Link::ImageToExecutable | Link::ProcessToEndpoint => {
            (Some(built.fingerprint), "fingerprint")
        }
        Link::ImageToPlace => (config, "config digest"),
        Link::ContainerToProcess => (built.executable, "executable digest"),
        // How a place names what it started is its own affair.
        Link::PlaceToContainer => (None, ""),
    };
    if let Some(digest) = digest.filter(|digest| !proof.found.contains(&digest.hex())) {
        let (seq, found) = (proof.seq, one_line(proof.found));
        judge.faults.push(format!("#{seq} found {found}, but the {what} of what was built is {digest}"));
    }
    let mut hashed = facts.fingerprints.iter().filter(|(_, image, _)| *image == proof.workload).peekable();
    if proof.link == Link::SourceToImage && hashed.peek().is_some() {
        let same: Vec<_> =
            hashed.filter(|(_, _, fingerprint)| *fingerprint == built.fingerprint).map(|(seq, ..)| *seq).collect();
        if same.is_empty() {
            judge.faults.push(format!("no source with the fingerprint {} was hashed in this run", built.fingerprint));
        }
        judge.saw(same);
    }
}

/// The name of a link in the record.
fn name(link: Link) -> &'static str {
    match link {
        Link::SourceToImage => "source_to_image",
        Link::ImageToExecutable => "image_to_executable",
        Link::ImageToPlace => "image_to_place",
        Link::PlaceToContainer => "place_to_container",
        Link::ContainerToProcess => "container_to_process",
        Link::ProcessToEndpoint => "process_to_endpoint",
    }
}
