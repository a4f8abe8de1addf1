//! `report.json`: the result of a run for other programs. Fields are only ever added.

use event::Verdict;
use image::Digest;
use serde::Serialize;

use crate::model::{self, Summary};
use crate::query::Counts;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    run: &'a str,
    platform: &'a str,
    verdict: Verdict,
    exit_code: u8,
    pipelines: Vec<Pipeline<'a>>,
    events_head: Option<Digest>,
}

#[derive(Serialize)]
struct Pipeline<'a> {
    service: &'a str,
    verdict: Verdict,
    cause: Option<&'a str>,
    images: Vec<Image<'a>>,
    phases: Vec<Phase>,
    tests: Tests<'a>,
    critical_path: Vec<Step<'a>>,
}

/// The digests are null for an image that was not built.
#[derive(Serialize)]
struct Image<'a> {
    name: &'a str,
    reference: &'a str,
    config_digest: Option<&'a str>,
    manifest_digest: Option<&'a str>,
    source_fingerprint: Option<&'a str>,
    executable_digest: Option<&'a str>,
}

#[derive(Serialize)]
struct Phase {
    phase: u8,
    name: &'static str,
    start_ms: u64,
    end_ms: u64,
}

#[derive(Serialize)]
struct Tests<'a> {
    #[serde(flatten)]
    counts: Counts,
    cases: Vec<Case<'a>>,
}

#[derive(Serialize)]
struct Case<'a> {
    name: &'a str,
    verdict: Verdict,
    ms: u64,
}

#[derive(Serialize)]
struct Step<'a> {
    phase: u8,
    name: &'a str,
    start_ms: u64,
    end_ms: u64,
}

/// The text of `report.json`. `events_head` is the digest of the last line of the record, by which the record can be told
/// from one that was written anew.
pub fn report(summary: &Summary, events_head: Option<Digest>) -> String {
    let report = Report {
        version: 1,
        run: &summary.run,
        platform: &summary.platform,
        verdict: summary.verdict,
        exit_code: summary.exit_code,
        pipelines: summary.pipelines.iter().map(|of| pipeline(summary, of)).collect(),
        events_head,
    };
    let mut text = serde_json::to_string_pretty(&report).expect("strings and numbers are always JSON");
    text.push('\n');
    text
}

fn pipeline<'a>(summary: &'a Summary, of: &'a model::Pipeline) -> Pipeline<'a> {
    let phases = summary.phases(&of.service).into_iter();
    Pipeline {
        service: &of.service,
        verdict: of.verdict,
        cause: of.why(),
        images: of.images.iter().map(image).collect(),
        phases: phases
            .map(|span| Phase {
                phase: span.phase.number(),
                name: span.phase.name(),
                start_ms: span.start_us / 1000,
                end_ms: span.end_us / 1000,
            })
            .collect(),
        tests: Tests {
            counts: of.counts(),
            cases: of
                .tests
                .iter()
                .map(|test| Case { name: &test.name, verdict: test.verdict, ms: test.took_us / 1000 })
                .collect(),
        },
        critical_path: summary.critical_path(&of.service).into_iter().map(step).collect(),
    }
}

fn image(image: &model::Image) -> Image<'_> {
    let built = image.built.as_ref();
    Image {
        name: &image.name,
        reference: &image.reference,
        config_digest: built.map(|built| built.config_digest.as_str()),
        manifest_digest: built.map(|built| built.manifest_digest.as_str()),
        source_fingerprint: built.map(|built| built.source_fingerprint.as_str()),
        executable_digest: built.and_then(|built| built.executable_digest.as_deref()),
    }
}

fn step(step: &model::Step) -> Step<'_> {
    Step {
        phase: step.phase.number(),
        name: &step.name,
        start_ms: step.start_us / 1000,
        end_ms: step.end_us.unwrap_or(step.start_us) / 1000,
    }
}
