//! Staleness, put in at every link between the source and the running program: each kind is stopped, and the link is named.
//!
//! One run with a pipeline per kind: what is done to one must not be found at another.

mod tamper;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use pipeline::Pipeline;
use pipeline::event::{Event, Link, LinkVerdict, Moment, StepOutcome};
use supervise::Cancel;

use crate::freshness::target;
use crate::kit::{Scene, app, start, workload};
use crate::ran::Ran;
use crate::stage::{Ground, Stage, When};
use tamper::Imitation;

/// A kind of staleness.
struct Kind {
    name: &'static str,
    /// The package of the workload, and how it behaves.
    package: &'static str,
    behaviour: &'static str,
    /// When what is done.
    when: When,
    act: Box<dyn Fn(&mut Ground) + Send + Sync>,
    stopped: Stopped,
}

/// Where it is stopped.
enum Stopped {
    /// This step finds the link broken while it packs, loads or starts, with these words in its cause.
    Step(Link, &'static str, &'static str),
    /// The proof before the tests finds this link broken.
    Proof(Link),
    /// The proof after the tests does.
    After(Link),
}

fn kind(name: &'static str, when: When, stopped: Stopped, act: impl Fn(&mut Ground) + Send + Sync + 'static) -> Kind {
    Kind { name, package: "app", behaviour: "ok", when, act: Box::new(act), stopped }
}

/// A kind that lies in the service itself.
fn lie(behaviour: &'static str) -> Kind {
    let kind = kind(behaviour, When::Prepare, Stopped::Proof(Link::ProcessToEndpoint), |_| {});
    Kind { behaviour, ..kind }
}

/// A kind that edits the source of a package of its own while its image is in use.
fn edit(package: &'static str, workspace: &Path, act: impl Fn(&Path) + Send + Sync + 'static) -> Kind {
    let file = workspace.join(package).join("src/greeting.rs");
    let kind = kind(package, When::Built, Stopped::Proof(Link::SourceToImage), move |_| act(&file));
    Kind { package, ..kind }
}

/// Between the build and the moment at which the image is read back.
fn in_the_load() -> Vec<Kind> {
    let load = |words| Stopped::Step(Link::ImageToPlace, "load app", words);
    vec![
        kind("swapped-in-load", When::Received, load("something else is there under the same name"), |ground| {
            tamper::swap(ground, "dev.e2e.dirty", "maybe");
        }),
        kind("forged-label-in-load", When::Received, load("something else is there under the same name"), |ground| {
            tamper::swap(ground, "dev.e2e.source-fingerprint", &format!("sha256:{}", "1".repeat(64)));
        }),
        kind("repacked-in-load", When::Received, load("it has another manifest"), tamper::repack),
        kind("damaged-in-load", When::Received, load("is damaged"), |ground| tamper::damage(&tamper::layer(ground))),
        kind("short-in-load", When::Received, load("is damaged"), |ground| tamper::cut(&tamper::layer(ground))),
        kind("lost-in-load", When::Received, load("No such file"), |ground| {
            fs::remove_file(tamper::layer(ground)).unwrap();
        }),
        kind("unnamed-in-load", When::Received, load("there is no image"), tamper::unname),
    ]
}

/// Between the load and the start.
fn before_the_start() -> Vec<Kind> {
    let start = |words| Stopped::Step(Link::ImageToPlace, "deploy and wait", words);
    let planted = Stopped::Step(Link::PlaceToContainer, "deploy and wait", "must be new");
    vec![
        kind("swapped-before-start", When::Loaded, start("something else is there under the same name"), |ground| {
            tamper::swap(ground, "dev.e2e.dirty", "maybe");
        }),
        kind("damaged-before-start", When::Loaded, start("is damaged"), |ground| {
            tamper::damage(&tamper::layer(ground));
        }),
        kind("config-before-start", When::Loaded, start("is damaged"), |ground| {
            tamper::damage(&tamper::config(ground));
        }),
        // Somebody who unpacks his own files before we do.
        kind("unpacked-before-start", When::Start, planted, |ground| {
            fs::create_dir_all(ground.executable().parent().unwrap()).unwrap();
            fs::write(ground.executable(), "#!/bin/sh\n").unwrap();
        }),
    ]
}

/// While it runs, before the first test.
fn while_it_runs() -> Vec<Kind> {
    let proof = Stopped::Proof;
    vec![
        kind("swapped-on-place", When::Started, proof(Link::ImageToPlace), |ground| {
            tamper::swap(ground, "dev.e2e.dirty", "maybe");
        }),
        // The image of another service, complete and right, under this one's tag.
        kind("anothers-image", When::Started, proof(Link::ImageToPlace), |ground| tamper::give(ground, "aged")),
        kind("forged-label", When::Started, proof(Link::ImageToPlace), |ground| {
            tamper::swap(ground, "dev.e2e.source-fingerprint", &format!("sha256:{}", "1".repeat(64)));
        }),
        kind("damaged-on-place", When::Started, proof(Link::ImageToPlace), |ground| {
            tamper::damage(&tamper::layer(ground));
        }),
        kind("config-on-place", When::Started, proof(Link::ImageToPlace), |ground| {
            tamper::damage(&tamper::config(ground));
        }),
        kind("lost-on-place", When::Started, proof(Link::ImageToPlace), |ground| {
            fs::remove_file(tamper::layer(ground)).unwrap();
        }),
        kind("unnamed-on-place", When::Started, proof(Link::ImageToPlace), tamper::unname),
        kind("renamed-over", When::Started, proof(Link::PlaceToContainer), tamper::replace),
        kind("unlinked", When::Started, proof(Link::PlaceToContainer), |ground| {
            fs::remove_file(ground.executable()).unwrap();
        }),
        kind("restarted-from-another", When::Started, proof(Link::PlaceToContainer), tamper::restart_from_another),
        kind("restarted-from-replaced", When::Started, proof(Link::ContainerToProcess), |ground| {
            tamper::replace(ground);
            tamper::restart(ground, "usr/bin/app");
        }),
        kind("killed", When::Started, proof(Link::PlaceToContainer), tamper::kill),
        lie("lies"),
        lie("stranger"),
        lie("no-json"),
        lie("no-version"),
    ]
}

/// While the tests run.
fn under_the_tests() -> Vec<Kind> {
    let after = Stopped::After;
    vec![
        kind("renamed-under-tests", When::Tested, after(Link::PlaceToContainer), tamper::replace),
        kind("restarted-under-tests", When::Tested, after(Link::ContainerToProcess), |ground| {
            tamper::replace(ground);
            tamper::restart(ground, "usr/bin/app");
        }),
        kind("lies-under-tests", When::Tested, after(Link::ProcessToEndpoint), |ground| {
            crate::kit::get(&ground.url("/lie")).unwrap();
        }),
    ]
}

/// In the store of the builder, which all pipelines share by content: each kind has a program of its own.
fn at_the_builder() -> Vec<Kind> {
    let section = || Stopped::Proof(Link::ImageToExecutable);
    let load = Stopped::Step(Link::ImageToPlace, "load edited", "is damaged");
    let mut kinds = vec![
        kind("damaged-before-load", When::Built, load, |ground| {
            tamper::damage(&tamper::packed(&ground.built(), "edited"));
        }),
        kind("forged-section", When::Started, section(), tamper::forge_section),
        kind("lost-section", When::Started, section(), |ground| {
            fs::remove_file(tamper::layer_in(ground, &ground.built())).unwrap();
        }),
    ];
    for (kind, package) in kinds.iter_mut().zip(["edited", "aged", "removed"]) {
        kind.package = package;
    }
    kinds
}

/// An older build of a program comes back, after it was built anew and before it is packed.
fn before_the_packing(scene: &Scene) -> Kind {
    let (runs, built) = (scene.home.runs(), scene.home.build().join(target()).join("image/edited"));
    let old = fs::read(built).unwrap();
    let packing = Stopped::Step(Link::ImageToExecutable, "assemble edited", "was replaced after it was built");
    let kind = kind("old-binary", When::Packing, packing, move |_| tamper::bring_back(&runs, "edited", &old));
    Kind { package: "edited", ..kind }
}

/// The source is edited while its image is in use.
fn in_the_source(workspace: &Path) -> Vec<Kind> {
    const OTHER: &str = "pub(crate) const GREETING: &str = \"two\";\n";
    vec![
        edit("edited", workspace, |file| fs::write(file, OTHER).unwrap()),
        // As a checkout or an archive does it: to cargo this is no edit.
        edit("aged", workspace, |file| {
            let time = fs::metadata(file).unwrap().modified().unwrap() - Duration::from_secs(1_000_000);
            fs::write(file, OTHER).unwrap();
            File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
        }),
        edit("removed", workspace, |file| fs::remove_file(file).unwrap()),
    ]
}

#[test]
fn staleness_of_every_kind_is_stopped_at_its_link() {
    // A copy of the product: some kinds edit it.
    let scene = Scene::alone();
    let mut kinds: Vec<Kind> = at_the_builder();
    judge_all(&scene, kinds);
    kinds = in_the_load();
    kinds.extend(before_the_start());
    kinds.extend(while_it_runs());
    kinds.extend(under_the_tests());
    kinds.extend(in_the_source(&scene.workspace));
    let imitation = Imitation::new();
    kinds.push(kind("foreign-server", When::Started, Stopped::Proof(Link::ProcessToEndpoint), move |ground| {
        imitation.serve(tamper::fingerprint(ground));
        ground.instances[0].endpoints[0].1 = imitation.url();
    }));
    assert!(kinds.len() >= 25);
    judge_all(&scene, kinds);
    // Since its source was edited under the last run, there is an older build of it.
    judge_all(&scene, vec![before_the_packing(&scene)]);
}

/// Runs them all, and one to which nothing is done.
fn judge_all(scene: &Scene, kinds: Vec<Kind>) {
    let stage = Stage::new();
    let mut pipelines = vec![app("untouched", "ok")];
    let mut judged = Vec::new();
    for kind in kinds {
        let pipeline = Pipeline::new(kind.name).workload(workload(kind.package, kind.behaviour));
        pipelines.push(pipeline.suite("suite-green"));
        let (when, act, once) = (kind.when, kind.act, Once::new());
        stage.act(kind.name, move |now, ground| {
            if now == when {
                once.call_once(|| act(ground));
            }
        });
        judged.push((kind.name, kind.package, kind.stopped));
    }
    let config = scene.config_on(Arc::new(stage.clone()), pipelines);
    let ran = start(&config, &Cancel::new(), stage.watch()).unwrap();
    ran.passed("untouched");
    let faults = judged.iter().filter_map(|(name, package, stopped)| judge(&ran, name, package, stopped));
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), ran.text());
    ran.nothing_left();
}

/// What is wrong with how a kind was stopped, if anything.
fn judge(ran: &Ran, name: &str, package: &str, stopped: &Stopped) -> Option<String> {
    let (verdict, cause) = ran.ended(name);
    if verdict != pipeline::event::Verdict::Error {
        return Some(format!("{name}: {verdict:?} {cause}"));
    }
    let why = ran.why(name);
    let (step, link, moment) = match stopped {
        Stopped::Step(link, step, words) => {
            if !cause.contains(words) {
                return Some(format!("{name}: `{words}` is not in: {cause}"));
            }
            (*step, *link, Moment::BeforeTests)
        }
        Stopped::Proof(link) => ("prove what runs", *link, Moment::BeforeTests),
        Stopped::After(link) => ("prove that it still runs", *link, Moment::AfterTests),
    };
    if ran.broken(name) != Some((link, moment)) {
        return Some(format!("{name}: broken at {:?} and not at {link:?} {moment:?}: {cause}", ran.broken(name)));
    }
    let told = format!("the proof is broken at {} of `{package}`", link.describe());
    // Both values and the remedy; the last words of what has ended may follow.
    let values = matches!(&why.evidence[..], [expected, found, ..]
        if expected.starts_with("expected ") && found.starts_with("found "));
    if !cause.starts_with(&told) || !values || why.hint.is_empty() {
        return Some(format!("{name}: {why:?}"));
    }
    let tests = ran.tests(name).len();
    if (moment == Moment::BeforeTests) != (tests == 0) {
        return Some(format!("{name}: {tests} tests ran"));
    }
    let failed =
        ran.steps().into_iter().find(|s| s.service.as_deref() == Some(name) && s.outcome == StepOutcome::Failed);
    match failed {
        Some(failed) if failed.name == step => None,
        failed => Some(format!("{name}: failed in {:?} and not in `{step}`: {cause}", failed.map(|step| step.name))),
    }
}

#[test]
fn nobody_else_can_listen_on_a_port_of_the_run() {
    let (scene, stage) = (Scene::new(), Stage::new());
    stage.act("good", |when, ground| {
        if when == When::Started {
            let address = ground.url("").trim_start_matches("http://").to_owned();
            let refused = TcpListener::bind(&address).expect_err("the port is taken").kind();
            assert_eq!(refused, std::io::ErrorKind::AddrInUse);
        }
    });
    let ran = start(&scene.config_on(Arc::new(stage), vec![app("good", "ok")]), &Cancel::new(), |_| {}).unwrap();
    ran.passed("good");
}

#[test]
fn two_hundred_looks_at_what_is_right_raise_no_alarm() {
    const LOOKS: usize = 200;
    let (scene, stage) = (Scene::new(), Stage::new());
    // The proof looks at every instance that a platform says it started: here two hundred times at one.
    stage.act("good", |when, ground| {
        if when == When::Started {
            ground.instances = vec![ground.instances[0].clone(); LOOKS];
        }
    });
    let ran = start(&scene.config_on(Arc::new(stage), vec![app("good", "ok")]), &Cancel::new(), |_| {}).unwrap();
    ran.passed("good");
    let proofs = ran.proofs("good");
    let before = proofs.iter().filter(|(_, moment, _)| *moment == Moment::BeforeTests).count();
    assert_eq!((before, proofs.len()), (6 * LOOKS, 9 * LOOKS));
    assert!(proofs.iter().all(|(_, _, verdict)| *verdict == LinkVerdict::Holds));
}

#[test]
fn a_link_that_cannot_be_seen_is_never_said_to_hold() {
    let (scene, stage) = (Scene::new(), Stage::new());
    stage.act("blind", |when, ground| ground.blind |= when == When::Prepare);
    let ran = start(&scene.config_on(Arc::new(stage), vec![app("blind", "ok")]), &Cancel::new(), |_| {}).unwrap();
    ran.passed("blind");
    for (link, _, verdict) in ran.proofs("blind") {
        let unseen = matches!(link, Link::PlaceToContainer | Link::ContainerToProcess);
        assert_eq!(verdict, if unseen { LinkVerdict::Unchecked } else { LinkVerdict::Holds }, "{link:?}");
    }
}

#[test]
fn each_link_says_what_it_compared() {
    let ran = Scene::new().run(vec![app("good", "ok")]);
    for event in ran.events() {
        let Event::Proof { link, expected, found, .. } = event else { continue };
        assert_eq!(expected, found, "{link:?}");
        let told = match link {
            Link::PlaceToContainer => "inode ",
            Link::ProcessToEndpoint => "instance ",
            _ => "sha256:",
        };
        assert!(expected.contains(told), "{link:?}: {expected}");
    }
}
