//! A real cluster: what it says of a workload that cannot run is told with its cause, and what is swapped in it is found.
//!
//! One cluster, made by `kind` for this test and removed at its end however that comes, and in it a namespace for each case.
//! The cases are pipelines of few runs, some at once: what is done to one must not be found at another. Each is judged by the
//! record of its run, and all that is wrong is told at the end, not the first thing only.
//!
//! Times are measured by a witness that has watches of its own: from when the cluster first says what is wrong to the end of
//! the step that waited.

mod case;
mod cluster;
#[path = "../it/kit.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod kit;
#[path = "../it/ran.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod ran;
mod room;
#[path = "../it/stage.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod stage;
mod stale;
mod states;
mod tamper;

use std::thread;
use std::time::Duration;

use supervise::Cancel;

use case::{Case, Findings};
use cluster::Made;
use kit::{Scene, becomes};
use room::Room;

/// How many pipelines are in the cluster at once.
const AT_ONCE: usize = 4;
/// The deadline that is to be seen passing: a pod is long there by then.
const DEADLINE: Duration = Duration::from_secs(20);
/// Far from what any wait takes that ends by itself.
const WITHIN: Duration = Duration::from_secs(180);

/// Name, where, for how long a workload may be waited for, and what.
type Group = (&'static str, Scene, Duration, Vec<Case>);

#[test]
fn what_a_real_cluster_suffers_is_told_and_nothing_stale_passes() {
    let cancel = Cancel::new();
    // Who interrupts the test interrupts its runs: then everything is removed here as well.
    supervise::install_signals(&cancel).unwrap();
    let made = match Made::new(&cancel) {
        Ok(made) => made,
        Err(why) => return skip(&why),
    };
    let room = Room::new(AT_ONCE);
    let alone = Scene::alone();
    let edit = stale::edit(&alone.workspace);
    let groups = [
        ("the deadline", Scene::new(), DEADLINE, vec![states::deadline()]),
        ("the edited source", alone, WITHIN, vec![edit]),
        ("the states", Scene::new(), WITHIN, states::cases()),
        ("the staleness", Scene::new(), WITHIN, stale::cases()),
        // What the whole cluster suffers from: after the others.
        ("the kubelet", Scene::new(), WITHIN, vec![states::kubelet()]),
    ];
    let run = |(what, scene, within, cases): Group| {
        let mut findings = Findings::default();
        let ran = findings.of(what, || case::run(&made.cluster, &scene, &room, within, &cancel, cases));
        if let Some((found, ran)) = ran {
            findings.add(found);
            findings.of(what, || ran.nothing_left());
        }
        findings
    };
    let mut findings = Findings::default();
    thread::scope(|scope| {
        let [deadline, edited, states, stale, kubelet] = groups;
        let together = [deadline, edited, states, stale].map(|group| scope.spawn(|| run(group)));
        for thread in together {
            findings.add(thread.join().unwrap());
        }
        findings.add(run(kubelet));
    });
    if !becomes(|| made.cluster.namespaces().is_empty()) {
        findings.faults.push(format!("the runs are over and these are left: {:?}", made.cluster.namespaces()));
    }
    // Nothing can be removed from a cluster that has stopped; it goes with it.
    let last = Scene::new();
    let node = findings
        .of("the node", || case::run(&made.cluster, &last, &room, WITHIN, &cancel, vec![states::node()]))
        .map(|(found, _)| found);
    findings.add(node.unwrap_or_default());
    show(&findings);
    assert!(findings.faults.is_empty(), "{}", findings.faults.join("\n"));
}

#[expect(clippy::print_stdout, reason = "the figures are for whoever runs the test")]
fn show(findings: &Findings) {
    println!("| state | message | seconds |\n|---|---|---|");
    for (state, message, seconds) in &findings.told {
        println!("| {state} | {message} | {seconds:.1} |");
    }
}

#[expect(clippy::print_stderr, reason = "who runs the tests should see what was not tested")]
fn skip(why: &str) {
    assert_ne!(std::env::var("E2E_TEST_KIND").as_deref(), Ok("required"), "{why}");
    eprintln!("not tested: {why}");
}
