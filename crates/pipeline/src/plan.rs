//! What a run would do, without doing it. A test compares it with the record of a run, so that it cannot drift from the truth.

use serde::Serialize;

use crate::event::Phase;
use crate::workload::{Pipeline, Workload};

/// A step that a run would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// The pipeline; none for what is done once for all of them.
    pub service: Option<String>,
    /// Phase that it belongs to.
    pub phase: Phase,
    /// Its name.
    pub name: String,
    /// The steps whose results it takes, by name; those of the run are marked `run: `.
    pub after: Vec<String>,
}

/// Names of the steps: said once, for the plan and for the run.
pub(crate) mod names {
    pub(crate) const TAGS: &str = "make the tags";
    pub(crate) const PROGRAMS: &str = "build the programs";
    pub(crate) const SUITES: &str = "build the suites";
    pub(crate) const PLACE: &str = "prepare the place";
    pub(crate) const DEPLOY: &str = "deploy and wait";
    pub(crate) const PROVE: &str = "prove what runs";
    pub(crate) const SUITE: &str = "run the suite";
    pub(crate) const STILL: &str = "prove that it still runs";
    pub(crate) const REMOVE: &str = "remove what the pipeline made";

    pub(crate) fn assemble(image: &str) -> String {
        format!("assemble {image}")
    }

    pub(crate) fn load(image: &str) -> String {
        format!("load {image}")
    }
}

/// The steps that a run of these pipelines would make, in an order in which they could be made one by one.
pub fn plan(pipelines: &[Pipeline]) -> Vec<PlannedStep> {
    let mut steps = Vec::new();
    let mut add = |service: Option<&str>, phase, name: &str, after: &[String]| {
        steps.push(PlannedStep {
            service: service.map(str::to_owned),
            phase,
            name: name.to_owned(),
            after: after.to_vec(),
        });
    };
    for pipeline in pipelines {
        add(Some(pipeline.service()), Phase::Tag, names::TAGS, &[]);
    }
    let of_run = |name: &str| format!("run: {name}");
    let is_cargo = |workload: &Workload| !workload.builder().needs_engine();
    if pipelines.iter().flat_map(Pipeline::workloads).any(is_cargo) {
        add(None, Phase::Build, names::PROGRAMS, &[names::TAGS.to_owned()]);
    }
    if pipelines.iter().any(|pipeline| pipeline.suite_package().is_some()) {
        add(None, Phase::Build, names::SUITES, &[]);
    }
    for pipeline in pipelines {
        let service = Some(pipeline.service());
        add(service, Phase::Cluster, names::PLACE, &[]);
        let mut loads = Vec::new();
        for workload in pipeline.workloads() {
            let (assemble, load) = (names::assemble(workload.name()), names::load(workload.name()));
            let programs = is_cargo(workload).then(|| of_run(names::PROGRAMS));
            let after: Vec<_> = [names::TAGS.to_owned()].into_iter().chain(programs).collect();
            add(service, Phase::Build, &assemble, &after);
            add(service, Phase::Load, &load, &[assemble.clone(), names::PLACE.to_owned()]);
            loads.push(load);
        }
        add(service, Phase::Deploy, names::DEPLOY, &loads);
        add(service, Phase::Deploy, names::PROVE, &[names::DEPLOY.to_owned()]);
        if pipeline.suite_package().is_some() {
            add(service, Phase::Test, names::SUITE, &[names::PROVE.to_owned(), of_run(names::SUITES)]);
            add(service, Phase::Test, names::STILL, &[names::SUITE.to_owned()]);
        }
        add(service, Phase::Teardown, names::REMOVE, &[]);
    }
    steps
}
