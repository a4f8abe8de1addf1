//! The image of a workload with a Containerfile, or an image of others: built by the engine of the platform, which has nothing of it afterwards.

use std::sync::Arc;

use image::{BuildError, BuiltImage, ContainerfileBuild, Engine, ImageTag, Instructions, NotAsBuilt};
use supervise::Cmd;

use crate::build::{BUILD_LIMIT, failure};
use crate::event::Event;
use crate::ledger::{RUN_MARK, Resource};
use crate::one::Shared;
use crate::platform::Site;
use crate::step::Step;
use crate::workload::{Builder, Workload};

/// The build of a workload's image, as it is done and as its inputs are read again.
///
/// # Errors
/// If the platform has no engine, or it is not for an engine to build.
pub(crate) fn build(step: &Step, shared: &Shared, workload: &Workload) -> anyhow::Result<ContainerfileBuild> {
    let (instructions, arguments, network) = match workload.builder() {
        Builder::Cargo { package } => anyhow::bail!("`{package}` is built by cargo"),
        Builder::Containerfile(of) => {
            let folder = Instructions::Folder { context: of.context.clone(), containerfile: of.path.clone() };
            (folder, of.arguments.clone(), of.network)
        }
        Builder::Image { reference, user } => {
            (Instructions::Image { reference: reference.clone(), user: *user }, Vec::new(), false)
        }
    };
    let (run, observer) = (step.recorder().run_id().to_owned(), step.observer());
    Ok(ContainerfileBuild {
        engine: shared.config.platform.engine()?,
        prepare: Arc::new(move |command| command.env(RUN_MARK, &run).observer(Arc::clone(&observer))),
        workspace: shared.config.workspace.clone(),
        instructions,
        arguments,
        network,
        service: workload.name().to_owned(),
        state: shared.config.home.build().join("containerfiles"),
        limit: BUILD_LIMIT,
    })
}

/// Builds the image under its tag.
pub(crate) fn run(
    step: &Step,
    shared: &Shared,
    site: &Site,
    workload: &Workload,
    tag: ImageTag,
) -> anyhow::Result<BuiltImage> {
    let build = build(step, shared, workload)?;
    let service = site.pipeline.service();
    let log = site.run.log(service, &format!("{}-build", workload.name()))?;
    let scratch = site.run.work().join(".contexts").join(service).join(workload.name());
    let left = Resource::EngineImage { engine: build.engine, reference: tag.reference().to_owned(), log: log.clone() };
    let n = site.ledger.will_make(Some(service), left)?;
    let built = build.run(tag, &shared.blobs, &scratch, &log, step.cancel()).map_err(|error| {
        match step.cancel().check() {
            // Who ends the run is told so, and not that the build failed.
            Err(cancelled) => cancelled.into(),
            Ok(()) => match error {
                BuildError::Failed { .. } => {
                    let mut failure = failure(error);
                    failure.cause = format!("the image of `{}` cannot be built: {}", workload.name(), failure.cause);
                    failure.into()
                }
                BuildError::Other(error) if error.is::<NotAsBuilt>() => error,
                error => failure(error).into(),
            },
        }
    })?;
    site.ledger.gone(n)?;
    step.event(Event::Fingerprinted {
        image: workload.name().to_owned(),
        fingerprint: built.source().fingerprint,
        files: built.source().inputs.len() as u64,
        made_visible: Vec::new(),
        // Hashing is part of reading the context for the engine, and takes no time of its own.
        took_us: 0,
    });
    Ok(built)
}

/// Removes what a build left in an engine.
///
/// # Errors
/// If it is still there.
pub(crate) fn remove(engine: Engine, reference: &str, log: &std::path::Path) -> anyhow::Result<()> {
    engine.remove(&Cmd::new(engine.name()), reference, log)
}
