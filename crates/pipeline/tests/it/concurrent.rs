//! Two runs of the same service from the same checkout at the same instant.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Barrier;
use std::thread;

use pipeline::event::{Event, Record};

use crate::child::Child;
use crate::kit::{Scene, app};

/// Every name that a run gave to something.
fn names(records: &[Record]) -> BTreeSet<String> {
    let mut names = BTreeSet::from([records[0].run.clone()]);
    for record in records {
        match &record.event {
            Event::TagMade { reference, .. } => drop(names.insert(reference.clone())),
            Event::Loaded { holder, .. } => drop(names.insert(holder.clone())),
            Event::Deployed { instance, .. } => drop(names.insert(instance.clone())),
            Event::Endpoint { url, .. } => drop(names.insert(url.clone())),
            Event::Removed { what, .. } if what.starts_with("directory") => drop(names.insert(what.clone())),
            _ => {}
        }
    }
    names
}

#[test]
fn two_runs_at_the_same_instant_share_no_name() {
    let scene = Scene::new();
    let barrier = Barrier::new(3);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                let ran = scene.run(vec![app("same", "ok")]);
                assert_eq!(ran.outcome.exit_code, 0, "{}", ran.text());
                ran.nothing_left();
            });
        }
        scope.spawn(|| {
            barrier.wait();
            let child = Child { scene: &scene, service: "same", package: "app", suite: "suite-green", kill_at: "" };
            child.run().unwrap_or_else(|error| panic!("{error}\n{}", error.tail.join("\n")));
        });
    });
    let runs: Vec<_> = scene
        .home
        .ids()
        .iter()
        .map(|id| {
            let text = fs::read_to_string(scene.home.runs().join(id).join("events.jsonl")).unwrap();
            let records: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            names(&records)
        })
        .collect();
    assert_eq!(runs.len(), 3);
    assert!(runs.iter().all(|names| names.len() >= 6), "{runs:?}");
    for (index, one) in runs.iter().enumerate() {
        for other in &runs[..index] {
            assert!(one.is_disjoint(other), "{:?}", one.intersection(other).collect::<Vec<_>>());
        }
    }
    let latest = fs::canonicalize(scene.home.latest()).unwrap();
    assert!(scene.home.ids().iter().any(|id| latest.ends_with(id)), "the link points to one of them");
}
