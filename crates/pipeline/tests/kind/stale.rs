//! Staleness, put in on a node or in a cluster, at every link behind the build.

use std::fs;
use std::path::Path;

use pipeline::Pipeline;
use pipeline::event::Link;

use crate::case::{Act, Case, Ends, at, nothing};
use crate::cluster::Cluster;
use crate::kit::{app, workload};
use crate::stage::{Ground, When};
use crate::tamper;

/// The service `app`, and what is done to it.
fn case(name: &'static str, when: When, ends: Ends, act: fn(&Cluster, &mut Ground)) -> Case {
    Case { name, pipeline: app(name, "ok"), act: at(when, act), ends }
}

/// The same beside another service.
fn pair(name: &'static str, when: When, ends: Ends, act: fn(&Cluster, &mut Ground)) -> Case {
    let pipeline = Pipeline::new(name).workload(workload("app", "ok")).workload(workload("aged", "ok"));
    Case { name, pipeline: pipeline.suite("suite-green"), act: at(when, act), ends }
}

/// Another service, since what is done to its image would be done to that of every pipeline with it.
fn own(package: &'static str, name: &'static str, link: Link, act: Act) -> Case {
    let pipeline = Pipeline::new(name).workload(workload(package, "ok")).suite("suite-green");
    Case { name, pipeline, act, ends: Ends::Proof(link, package) }
}

/// What the node holds.
fn on_the_node() -> Vec<Case> {
    let place = |workload| Ends::Proof(Link::ImageToPlace, workload);
    vec![
        case("swapped-after-load", When::Start, place("app"), tamper::swap),
        case("forged-label", When::Start, place("app"), tamper::forge_label),
        pair("one-image-for-two", When::Start, place("aged"), tamper::share),
        pair("swapped-pinned", When::Start, place("app"), tamper::swap_pinned),
        case("unnamed", When::Started, place("app"), tamper::unname),
        case("config-damaged", When::Started, place("app"), |cluster, ground| tamper::damage(cluster, ground, false)),
        case("config-lost", When::Started, place("app"), tamper::lose),
        own(
            "removed",
            "layer-damaged",
            Link::ImageToPlace,
            at(When::Start, |cluster, ground| tamper::damage(cluster, ground, true)),
        ),
        own("edited", "altered-unpacked", Link::ContainerToProcess, at(When::Start, tamper::alter_unpacked)),
    ]
}

/// What runs.
fn in_the_container() -> Vec<Case> {
    let (container, process) = (Link::PlaceToContainer, Link::ContainerToProcess);
    vec![
        pair("from-another-image", When::Started, Ends::Proof(container, "app"), tamper::start_from_another),
        case("another-template", When::Started, Ends::Proof(container, "app"), tamper::change),
        case("another-pod", When::Started, Ends::Proof(container, "app"), tamper::add_pod),
        case("forged-annotation", When::Started, Ends::Proof(container, "app"), tamper::forge_annotation),
        case("replaced", When::Started, Ends::Proof(process, "app"), tamper::replace),
        case("restarted-from-replaced", When::Started, Ends::Proof(process, "app"), tamper::restart_from_replaced),
        case("restarted-from-another", When::Started, Ends::Proof(process, "app"), tamper::restart_from_another),
        case("restarted-under-tests", When::Tested, Ends::After(process, "app"), tamper::restart_from_another),
    ]
}

/// What answers.
fn at_the_address() -> Vec<Case> {
    let answers = || Ends::Proof(Link::ProcessToEndpoint, "app");
    let lies = |name, behaviour| Case { name, pipeline: app(name, behaviour), act: nothing(), ends: answers() };
    vec![
        pair("foreign-server", When::Started, answers(), tamper::redirect),
        lies("lies", "lies"),
        lies("stranger", "stranger"),
    ]
}

/// Nothing is wrong, and it is looked at many times: no alarm is raised.
fn clean() -> Case {
    /// How often. Each time every link is looked at, before the tests, and half of them after.
    const LOOKS: usize = 20;
    let repeat: fn(&Cluster, &mut Ground) = |_, ground| ground.instances = vec![ground.instances[0].clone(); LOOKS];
    case("clean", When::Started, Ends::Passes(LOOKS), repeat)
}

/// All whose sources nobody edits.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = [on_the_node(), in_the_container(), at_the_address()].into_iter().flatten().collect();
    cases.push(clean());
    cases
}

/// The source of a service in a workspace is edited after its image was built.
pub(crate) fn edit(workspace: &Path) -> Case {
    let file = workspace.join("aged/src/greeting.rs");
    let act =
        move |_: &Cluster, _: &mut Ground| fs::write(&file, "pub(crate) const GREETING: &str = \"two\";\n").unwrap();
    own("aged", "edited-source", Link::SourceToImage, at(When::Built, act))
}
