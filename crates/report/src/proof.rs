//! `proof.json`: what a run proved, link by link, for programs.

use event::{Event, Link, LinkVerdict, Moment, Record};
use serde::Serialize;

use crate::model::{Image, Summary};
use image::Digest;

#[derive(Serialize)]
struct Proof<'a> {
    version: u32,
    run: &'a str,
    platform: &'a str,
    /// Whether every link of every workload of every pipeline was looked at before the tests, and none is broken.
    complete: bool,
    events_head: Option<Digest>,
    workloads: Vec<Workload<'a>>,
}

#[derive(Serialize)]
struct Workload<'a> {
    service: &'a str,
    workload: &'a str,
    reference: &'a str,
    manifest_digest: Option<&'a str>,
    config_digest: Option<&'a str>,
    executable_digest: Option<&'a str>,
    source_fingerprint: Option<&'a str>,
    links: Vec<Check<'a>>,
}

#[derive(Serialize)]
struct Check<'a> {
    link: Link,
    moment: Moment,
    verdict: LinkVerdict,
    expected: &'a str,
    found: &'a str,
    /// The event that tells of it.
    event: u64,
}

/// The text of `proof.json`.
pub fn proof(records: &[Record], summary: &Summary, events_head: Option<Digest>) -> String {
    let mut workloads = Vec::new();
    for pipeline in &summary.pipelines {
        for image in &pipeline.images {
            workloads.push(workload(records, &pipeline.service, image));
        }
    }
    let proof = Proof {
        version: 1,
        run: &summary.run,
        platform: &summary.platform,
        complete: !workloads.is_empty() && workloads.iter().all(Workload::is_complete),
        events_head,
        workloads,
    };
    let mut text = serde_json::to_string_pretty(&proof).unwrap_or_default();
    text.push('\n');
    text
}

fn workload<'a>(records: &'a [Record], service: &'a str, image: &'a Image) -> Workload<'a> {
    let built = image.built.as_ref();
    let links = records.iter().filter_map(|record| match &record.event {
        Event::Proof { service: of, workload, link, moment, verdict, expected, found }
            if of == service && *workload == image.name =>
        {
            Some(Check { link: *link, moment: *moment, verdict: *verdict, expected, found, event: record.seq })
        }
        _ => None,
    });
    Workload {
        service,
        workload: &image.name,
        reference: &image.reference,
        manifest_digest: built.map(|built| built.manifest_digest.as_str()),
        config_digest: built.map(|built| built.config_digest.as_str()),
        executable_digest: built.and_then(|built| built.executable_digest.as_deref()),
        source_fingerprint: built.map(|built| built.source_fingerprint.as_str()),
        links: links.collect(),
    }
}

impl Workload<'_> {
    fn is_complete(&self) -> bool {
        let before = |link: &Link| {
            self.links.iter().any(|check| {
                check.link == *link && check.moment == Moment::BeforeTests && check.verdict == LinkVerdict::Holds
            })
        };
        Link::ALL.iter().all(before) && self.links.iter().all(|check| check.verdict == LinkVerdict::Holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Script;

    fn proof_of(script: &Script) -> serde_json::Value {
        let records = script.records();
        serde_json::from_str(&proof(&records, &Summary::of(&records), None)).unwrap()
    }

    #[test]
    fn a_proof_is_complete_only_if_every_link_was_seen_to_hold() {
        let script = Script::passing(&["gateway", "signalprocessing"]);
        let whole = proof_of(&script);
        assert_eq!(whole["complete"], true, "{whole:#}");
        assert_eq!(whole["workloads"].as_array().unwrap().len(), 4);
        let mut unseen = script.clone();
        let at = unseen.0.iter().position(|(_, event)| matches!(event, Event::Proof { .. })).unwrap();
        unseen.0.remove(at);
        assert_eq!(proof_of(&unseen)["complete"], false);
        let mut broken = script.clone();
        for (_, event) in &mut broken.0 {
            if let Event::Proof { verdict, moment: Moment::AfterTests, .. } = event {
                *verdict = LinkVerdict::Broken;
            }
        }
        assert_eq!(proof_of(&broken)["complete"], false);
    }
}
