//! Two runs of the same service at the same time, from one checkout.

use std::collections::BTreeSet;
use std::thread;

use serde_json::Value;

use crate::kit::{Real, ask, eventually};
use crate::ran::Ran;

#[test]
fn two_runs_of_one_service_share_nothing() {
    let real = Real::take();
    let before = real.runs();
    let (answers, runs) = thread::scope(|scope| {
        let both = [(); 2].map(|()| {
            let command = real.tool(&["e2e", "gateway", "--format", "json"]);
            scope.spawn(|| ask(command))
        });
        let runs = eventually("both have begun", || {
            let new: Vec<_> = real.runs().into_iter().filter(|run| !before.contains(run)).map(Ran::new).collect();
            (new.len() == 2 && new.iter().all(|run| run.text().contains('\n'))).then_some(new)
        });
        // Who cleans up meanwhile takes nothing from them.
        let clean = real.ask(&["clean"]).expect(0);
        for run in &runs {
            clean.says(&[&format!("run {}: not touched: it is in progress", run.id())]);
            real.ask(&["clean", run.id()]).expect(3).says(&["is in progress"]);
        }
        (both.map(|thread| thread.join().expect("it was asked").expect(0)), runs)
    });
    let ids: BTreeSet<_> = answers.iter().map(|answer| answer.json()["run"].to_string()).collect();
    assert_eq!(ids.len(), 2);
    let all = |kind: &str, member: &str| -> Vec<String> {
        runs.iter().flat_map(|run| run.events(kind)).map(|event: Value| event[member].to_string()).collect()
    };
    for (kind, member) in [("tag_made", "reference"), ("deployed", "instance"), ("endpoint", "url")] {
        let (list, distinct) = (all(kind, member), all(kind, member).into_iter().collect::<BTreeSet<_>>());
        assert_eq!((list.len(), distinct.len()), (4, 4), "{member}: {list:?}");
    }
    for run in &runs {
        assert_eq!(run.report()["verdict"], "passed");
        run.nothing_left();
    }
    let time = |run: &Ran, kind: &str| run.events(kind)[0]["utc"].as_str().unwrap().to_owned();
    let (one, two) = (&runs[0], &runs[1]);
    let overlap =
        time(one, "run_started") < time(two, "run_ended") && time(two, "run_started") < time(one, "run_ended");
    assert!(overlap, "they were not at the same time");
}
