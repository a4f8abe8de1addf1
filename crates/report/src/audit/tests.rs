use event::{Event, Link, LinkVerdict, Moment, Phase, StepOutcome, Verdict};
use image::Digest;

use super::{Audit, Finding, audit};
use crate::fixture::{RUN, Script, digest, reference};

const TWO: [&str; 2] = ["gateway", "signalprocessing"];

fn of(script: &Script) -> Audit {
    audit(&script.records(), Some(&[]))
}

fn checks(audit: &Audit, service: &str, finding: Finding) -> Vec<String> {
    let service = audit.services.iter().find(|of| of.service == service).unwrap();
    service.lines.iter().filter(|line| line.verdict == finding).map(|line| line.check.clone()).collect()
}

/// The lines that fail for `gateway` after a fault was put into a run of two services, in which the other stays clean.
fn fails(spoil: impl Fn(&mut Script)) -> Vec<String> {
    let mut script = Script::passing(&TWO);
    spoil(&mut script);
    let audit = of(&script);
    assert_eq!(checks(&audit, "signalprocessing", Finding::Failed), [""; 0], "the other service kept every rule");
    assert!(!audit.passed());
    checks(&audit, "gateway", Finding::Failed)
}

fn command(script: &mut Script, step: Option<u64>, line: String) {
    let command = 77_777;
    let ready = |event: &Event| matches!(event, Event::Ready { .. });
    script.insert_before(ready, Event::CommandStarted { command, step, line, pid: 1 });
    let status = "exit status: 0".to_owned();
    script.insert_before(ready, Event::CommandEnded { command, status, ok: true, leaked: false });
}

fn tag(image: &str, number: u32) -> Event {
    let reference = format!("localhost/{image}:gateway-{}{number:04}", RUN.replace('-', ""));
    Event::TagMade { service: "gateway".into(), image: image.into(), reference }
}

fn is_mine(event: &Event) -> bool {
    matches!(event, Event::Proof { service, workload, link, .. }
        if service == "gateway" && workload == "datastorage" && *link == Link::ContainerToProcess)
}

#[test]
fn a_clean_run_passes_every_line() {
    let audit = of(&Script::passing(&crate::fixture::SERVICES));
    assert!(audit.passed(), "{}", audit.text());
    // Nine rules, and six links for each of two workloads.
    assert_eq!(audit.count(Finding::Passed), 4 * (9 + 2 * 6));
    assert!(audit.services.iter().flat_map(|service| &service.lines).all(|line| !line.evidence.is_empty()));
}

#[test]
fn a_retag_is_found_whoever_ran_it() {
    let retag = |to: &str| format!("podman tag {} {to}", reference("datastorage", "gateway"));
    let of_step = fails(|script| command(script, Some(6), retag("localhost/datastorage:latest")));
    assert_eq!(of_step, ["no_retag"]);
    let of_no_step = {
        let mut script = Script::passing(&TWO);
        command(&mut script, None, "docker exec node ctr -n k8s.io images tag a b".to_owned());
        of(&script)
    };
    // Nobody can tell whom it concerns: everyone.
    assert_eq!(checks(&of_no_step, "gateway", Finding::Failed), ["no_retag"]);
    assert_eq!(checks(&of_no_step, "signalprocessing", Finding::Failed), ["no_retag"]);
    // A step of another service that names this one's image: both broke the rule.
    let mut script = Script::passing(&TWO);
    command(&mut script, Some(106), retag("localhost/datastorage:mine"));
    assert_eq!(checks(&of(&script), "gateway", Finding::Failed), ["no_retag"]);
}

#[test]
fn a_tag_made_late_or_twice_is_found() {
    let second = fails(|script| {
        script.insert_before(|event| matches!(event, Event::StepEnded { step: 0 | 1, .. }), tag("datastorage", 2))
    });
    assert_eq!(second, ["no_late_tag"]);
    let at_deploy =
        fails(|script| script.insert_before(|event| matches!(event, Event::Ready { .. }), tag("datastorage", 2)));
    assert_eq!(at_deploy, ["tag_before_build", "no_late_tag"]);
    let during_build = fails(|script| {
        let of = |event: &Event| matches!(event, Event::TagMade { service, image, .. } if service == "gateway" && image == "gateway");
        script.remove(of);
        script.insert_before(|event| matches!(event, Event::Fingerprinted { .. }), tag("gateway", 1));
    });
    assert_eq!(during_build, ["tag_before_build"]);
    let after_another_was_built = fails(|script| {
        let of = |event: &Event| matches!(event, Event::TagMade { service, image, .. } if service == "gateway" && image == "gateway");
        script.remove(of);
        script.insert_before(
            |event| matches!(event, Event::Built { image, .. } if image == "gateway"),
            tag("gateway", 1),
        );
    });
    assert_eq!(after_another_was_built, ["tag_before_build", "no_late_tag"]);
    let stranger = fails(|script| {
        script.insert_before(|event| matches!(event, Event::StepStarted { step: 900, .. }), tag("redis", 1))
    });
    assert_eq!(stranger, ["no_late_tag"]);
}

#[test]
fn an_image_given_to_two_services_is_found() {
    let mut script = Script::passing(&TWO);
    script.change(|event| match event {
        Event::Loaded { service, image, reference: of, .. }
        | Event::Deployed { service, workload: image, reference: of, .. }
            if service == "signalprocessing" && image == "datastorage" =>
        {
            *of = reference("datastorage", "gateway");
        }
        _ => {}
    });
    let audit = of(&script);
    assert_eq!(checks(&audit, "gateway", Finding::Failed), ["not_shared"]);
    assert_eq!(checks(&audit, "signalprocessing", Finding::Failed), ["load_used_tag", "deploy_used_tag", "not_shared"]);
}

#[test]
fn another_name_or_content_at_any_step_is_found() {
    let other = || "localhost/datastorage:latest".to_owned();
    let built = fails(|script| {
        script.change(|event| match event {
            Event::Built { service, image, reference, .. } if service == "gateway" && image == "datastorage" => {
                *reference = other()
            }
            _ => {}
        });
    });
    assert_eq!(built, ["build_used_tag", "load_used_tag"]);
    let loaded = fails(|script| {
        script.change(|event| match event {
            Event::Loaded { service, image, reference, .. } if service == "gateway" && image == "datastorage" => {
                *reference = other()
            }
            _ => {}
        });
    });
    assert_eq!(loaded, ["load_used_tag", "deploy_used_tag"]);
    let deployed = fails(|script| {
        script.change(|event| match event {
            Event::Deployed { service, workload, reference, .. } if service == "gateway" && workload == "gateway" => {
                *reference = other();
            }
            _ => {}
        });
    });
    assert_eq!(deployed, ["deploy_used_tag"]);
    let content = fails(|script| {
        script.change(|event| match event {
            Event::Loaded { service, image, config_digest, .. } if service == "gateway" && image == "gateway" => {
                *config_digest = Digest::of("stale");
            }
            _ => {}
        });
    });
    assert_eq!(content, ["load_used_tag"]);
}

#[test]
fn a_step_left_out_or_done_twice_is_found() {
    let twice = fails(|script| {
        let again = script.built("gateway", "gateway");
        script.insert_before(|event| matches!(event, Event::Loaded { .. }), again);
    });
    assert_eq!(twice, ["build_used_tag"]);
    let unloaded = fails(|script| {
        script.remove(
            |event| matches!(event, Event::Loaded { service, image, .. } if service == "gateway" && image == "gateway"),
        );
    });
    assert_eq!(unloaded, ["load_used_tag", "deploy_used_tag"]);
    let untagged = fails(|script| {
        script.remove(|event| matches!(event, Event::TagMade { service, image, .. } if service == "gateway" && image == "gateway"));
    });
    for check in ["tag_before_build", "build_used_tag", "load_used_tag", "deploy_used_tag", "no_late_tag", "never_seen"]
    {
        assert!(untagged.contains(&check.to_owned()), "{check}: {untagged:?}");
    }
}

#[test]
fn a_tag_that_was_seen_before_is_found() {
    let records = Script::passing(&["gateway"]).records();
    let earlier = [reference("datastorage", "gateway")];
    assert_eq!(checks(&audit(&records, Some(&earlier)), "gateway", Finding::Failed), ["never_seen"]);
    let blind = audit(&records, None);
    assert_eq!(checks(&blind, "gateway", Finding::Unchecked), ["never_seen"]);
    let mut script = Script::passing(&["gateway"]);
    let text = |text: &mut String| *text = text.replace(&RUN.replace('-', ""), "0199c3f2a7b4");
    script.change(|event| match event {
        Event::TagMade { reference, .. }
        | Event::Built { reference, .. }
        | Event::Loaded { reference, .. }
        | Event::Deployed { reference, .. } => text(reference),
        _ => {}
    });
    assert_eq!(checks(&of(&script), "gateway", Finding::Failed), ["never_seen"]);
}

const LINK: &str = "proof:datastorage:container_to_process";

#[test]
fn a_link_that_is_missing_broken_or_forged_is_found() {
    assert_eq!(fails(|script| script.remove(is_mine)), [LINK]);
    let set = |to: LinkVerdict, values: Option<(Digest, Digest)>| {
        fails(move |script| {
            script.change(|event| {
                let mine = is_mine(event);
                if let (true, Event::Proof { verdict, expected, found, .. }) = (mine, event) {
                    *verdict = to;
                    if let Some(values) = values {
                        (*expected, *found) = (values.0.to_string(), values.1.to_string());
                    }
                }
            });
        })
    };
    let (right, stale) = (digest("executable", "datastorage"), Digest::of("stale"));
    assert_eq!(set(LinkVerdict::Broken, Some((right, stale))), [LINK]);
    // A check that says "holds" although the values differ, and one that compared something else than what was built.
    assert_eq!(set(LinkVerdict::Holds, Some((right, stale))), [LINK]);
    assert_eq!(set(LinkVerdict::Holds, Some((stale, right))), [LINK]);
    assert_eq!(set(LinkVerdict::Holds, Some((stale, stale))), [LINK]);
    let unhashed = fails(|script| {
        script.change(|event| match event {
            Event::Fingerprinted { image, fingerprint, .. } if image == "gateway" => *fingerprint = Digest::of("other"),
            _ => {}
        });
    });
    assert_eq!(unhashed, ["proof:gateway:source_to_image"]);
}

#[test]
fn an_unchecked_link_is_not_passed() {
    let mut script = Script::passing(&["gateway"]);
    script.change(|event| {
        let mine = is_mine(event);
        if let (true, Event::Proof { verdict, found, .. }) = (mine, event) {
            (*verdict, *found) = (LinkVerdict::Unchecked, "no access to the node".to_owned());
        }
    });
    let audit = of(&script);
    assert_eq!(checks(&audit, "gateway", Finding::Unchecked), [LINK]);
    assert!(audit.passed(), "it is shown, and fails nothing");
    assert!(audit.text().contains("unchecked before the tests: no access to the node"), "{}", audit.text());
}

#[test]
fn a_link_looked_at_at_the_wrong_time_is_found() {
    let no_second_look = fails(|script| {
        script.remove(|event| is_mine(event) && matches!(event, Event::Proof { moment: Moment::AfterTests, .. }));
    });
    assert_eq!(no_second_look, [LINK]);
    // Both looks are there, but one of them lies between the tests.
    let between_tests = |of: Moment| {
        fails(move |script| {
            let is_it = |event: &Event| is_mine(event) && matches!(event, Event::Proof { moment, .. } if *moment == of);
            let (_, proof) = script.0.iter().find(|(_, event)| is_it(event)).unwrap().clone();
            script.remove(is_it);
            let fifth = |event: &Event| matches!(event, Event::Test { service, name, .. } if service == "gateway" && name == "audit::event_4_is_stored");
            script.insert_before(fifth, proof);
        })
    };
    assert_eq!(between_tests(Moment::BeforeTests), [LINK]);
    assert_eq!(between_tests(Moment::AfterTests), [LINK]);
    let restarted = fails(|script| {
        let (service, workload) = ("gateway".to_owned(), "gateway".to_owned());
        let event =
            Event::Deployed { service, workload, reference: reference("gateway", "gateway"), instance: "pid 2".into() };
        script.insert_before(|event| matches!(event, Event::Test { service, .. } if service == "gateway"), event);
    });
    assert_eq!(restarted.len(), 6, "every link that was looked at before the restart: {restarted:?}");
}

#[test]
fn what_is_left_behind_is_found() {
    let is_removed =
        |event: &Event| matches!(event, Event::Removed { service: Some(service), .. } if service == "gateway");
    let not_removed = fails(|script| {
        script.change(|event| {
            let mine = is_removed(event);
            if let (true, Event::Removed { error, .. }) = (mine, event) {
                *error = Some("device or resource busy".to_owned());
            }
        });
    });
    assert_eq!(not_removed, ["nothing_left"]);
    let still_running = fails(|script| script.remove(|event| matches!(event, Event::CommandEnded { command: 50, .. })));
    assert_eq!(still_running, ["nothing_left"]);
    let mut kept = Script::passing(&["gateway"]);
    kept.change(|event| {
        if let Event::RunEnded { clean, .. } = event {
            *clean = false;
        }
    });
    assert_eq!(checks(&of(&kept), "gateway", Finding::Failed), ["nothing_left"]);
}

#[test]
fn a_run_that_stopped_early_does_not_pass() {
    let mut script = Script::default();
    script.start(&["gateway"]);
    script.tags(0, "gateway");
    script.begin(3, 900, None, Phase::Build, "build");
    script.end(4, 900, StepOutcome::Failed, Some("it does not compile"), 0);
    script.push(5, Event::RunEnded { verdict: Verdict::Error, exit_code: 3, clean: true, peak_memory: None });
    let audit = of(&script);
    let failed = checks(&audit, "gateway", Finding::Failed);
    assert!(!audit.passed());
    // Eleven of the twelve links and the steps that were not reached; what was done is not blamed.
    assert!(!failed.contains(&"tag_before_build".to_owned()), "{failed:?}");
    for check in ["build_used_tag", "load_used_tag", "deploy_used_tag", LINK] {
        assert!(failed.contains(&check.to_owned()), "{check}: {failed:?}");
    }
    assert!(!super::audit(&[], None).passed(), "an empty record shows nothing");
}

/// What was replaced before it was packed, a damaged blob, a file that was planted: the run stops before anything is deployed.
#[test]
fn a_link_that_breaks_before_the_start_is_shown_at_its_line() {
    let (built, stale) = (digest("executable", "gateway").to_string(), Digest::of("stale").to_string());
    for link in [Link::ImageToExecutable, Link::ImageToPlace, Link::PlaceToContainer] {
        let mut script = Script::default();
        script.start(&["gateway"]);
        script.tags(0, "gateway");
        script.begin(3, 900, Some("gateway"), Phase::Build, "assemble gateway");
        let broken = Event::Proof {
            service: "gateway".into(),
            workload: "gateway".into(),
            link,
            moment: Moment::BeforeTests,
            verdict: LinkVerdict::Broken,
            expected: built.clone(),
            found: stale.clone(),
        };
        script.push(4, broken);
        script.end(4, 900, StepOutcome::Failed, Some("the proof is broken"), 0);
        script.push(5, Event::RunEnded { verdict: Verdict::Error, exit_code: 3, clean: true, peak_memory: None });
        let audit = of(&script);
        let title = format!("proof of gateway: {}", link.describe());
        let line = audit.services[0].lines.iter().find(|line| line.title == title).unwrap();
        let seq = line.events[0];
        // That, and nothing that only follows from it.
        let told = format!("#{seq} broken before the tests: expected {built}, found {stale}");
        assert_eq!((line.verdict, &line.evidence[..]), (Finding::Failed, &[told][..]));
        assert_eq!(checks(&audit, "gateway", Finding::Unchecked), [""; 0]);
    }
}

#[test]
fn the_forms_carry_the_same_lines() {
    let mut script = Script::passing(&["gateway"]);
    command(&mut script, Some(6), "podman tag 'a|b' <c>".to_owned());
    let audit = of(&script);
    let text = audit.text();
    assert!(text.contains("\n  FAILED     no re-tag "), "{text}");
    assert!(text.ends_with("audit FAILED: 21 lines of 1 service, 1 failed, 0 unchecked\n"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&audit.json()).unwrap();
    assert_eq!((&json["version"], &json["passed"], &json["run"]), (&1.into(), &false.into(), &RUN.into()));
    let line = &json["services"][0]["lines"][4];
    assert_eq!((&line["check"], &line["verdict"]), (&"no_retag".into(), &"failed".into()));
    assert!(line["events"][0].is_u64() && line["evidence"][0].as_str().unwrap().contains("podman tag"), "{line}");
    let markdown = audit.markdown();
    let row = markdown.lines().find(|line| line.contains("**FAILED**")).unwrap();
    assert_eq!(row.matches(" | ").count(), 3, "a pipe in a command ends no cell: {row}");
    assert!(row.contains("&lt;c&gt;") && markdown.contains("<details open>"), "{row}");
}
