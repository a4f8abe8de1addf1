//! One pipeline, from its tags to its teardown.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use image::{AssetContent, AssetFile, BlobStore, BuiltImage, CargoBuild, Digest, ImageTag, Program, Recipe, Source};
use supervise::Cancel;

use crate::build::{BUILD_LIMIT, Programs, Suites};
use crate::containerfile;
use crate::event::{Event, Phase};
use crate::failure::is_cancelled;
use crate::ledger::RUN_MARK;
use crate::plan::names;
use crate::platform::{Deployable, Place, Seen, Site, deploy};
use crate::proof::{not_as_built, prove};
use crate::run::{Config, remove};
use crate::shared::{Limit, Promise};
use crate::step::{Step, Steps, panicked};
use crate::suite::{self, Suite};
use crate::workload::{Builder, File, Workload};

/// Names, relative to the workspace, and digests of what an image is made from.
type Inputs = Vec<(String, Digest)>;

/// What the pipelines of a run share.
pub(crate) struct Shared<'a> {
    pub(crate) config: &'a Config,
    pub(crate) steps: Steps,
    pub(crate) programs: Promise<Arc<Programs>>,
    pub(crate) suites: Promise<Arc<Suites>>,
    /// The blobs of all images of the run, by content.
    pub(crate) blobs: BlobStore,
    /// Permits to assemble, load and unpack images.
    pub(crate) assembling: Limit,
    /// Permits to run a test.
    pub(crate) testing: Limit,
}

impl Shared<'_> {
    /// The recipe of a workload's image: what it is packed with besides its program.
    fn recipe<'a>(
        &self,
        workload: &'a Workload,
        program: &'a Program,
        ports: &'a [u16],
        files: &'a [AssetFile],
    ) -> Recipe<'a> {
        Recipe { service: workload.name(), ports, files, ca_bundle: workload.wants_ca_bundle(), ..Recipe::new(program) }
    }

    /// The files of a workload's image, read once: what is packed is what is part of the fingerprint.
    fn files(&self, workload: &Workload) -> anyhow::Result<(Vec<AssetFile>, Inputs)> {
        let (mut files, mut inputs) = (Vec::new(), Vec::new());
        for File { path, source } in workload.files() {
            let host = self.config.workspace.join(source);
            let bytes = fs::read(&host).with_context(|| {
                format!("read `{}`, which the image of `{}` holds", host.display(), workload.name())
            })?;
            inputs.push((source.clone(), Digest::of(&bytes)));
            files.push(AssetFile { path: path.clone(), content: AssetContent::Bytes(bytes), mode: 0o644 });
        }
        Ok((files, inputs))
    }

    /// The one build of these programs.
    pub(crate) fn cargo_build(&self, packages: Vec<String>) -> CargoBuild {
        CargoBuild {
            workspace: self.config.workspace.clone(),
            target_dir: self.config.home.build(),
            profile: "image".to_owned(),
            packages,
            jobs: Some(self.config.jobs),
            // By it `clean` finds a cargo that goes on after this process was killed.
            env: vec![(RUN_MARK.to_owned(), self.config.run.to_string())],
            limit: BUILD_LIMIT,
        }
    }

    /// The fingerprint of a source as it is now, against what it was.
    fn source_now(&self, step: &Step, workload: &Workload, source: &Source) -> anyhow::Result<Seen> {
        let now = match workload.builder() {
            Builder::Cargo { .. } => self.cargo_build(Vec::new()).fingerprint_now(source, step.cancel())?,
            Builder::Containerfile(_) | Builder::Image { .. } => {
                containerfile::build(step, self, workload)?.fingerprint_now(source, step.cancel())?
            }
        };
        if now.fingerprint == source.fingerprint {
            return Ok(Seen::compare(source.fingerprint, now.fingerprint));
        }
        Ok(Seen::differs(source.fingerprint, format!("{} (changed: {})", now.fingerprint, now.changed.join(", "))))
    }
}

/// Runs a pipeline and removes what it made. Gives the names of the tests that failed, and whether everything was kept.
pub(crate) fn pipeline(
    shared: &Shared,
    steps: &Steps,
    site: &Site,
    tags: BTreeMap<String, ImageTag>,
) -> (anyhow::Result<Vec<String>>, bool) {
    let place = Promise::new();
    let result = to_the_tests(shared, steps, site, tags, &place);
    // Teardown goes on although the run was cancelled: that is what it is for. Its own limits end it.
    let removing = steps.with_cancel(Cancel::new());
    let place: Option<Option<Arc<dyn Place>>> = place.now();
    if let (true, Ok(_), Some(Some(place))) = (shared.config.keep, &result, &place) {
        place.keep();
        return (result, true);
    }
    let service = site.pipeline.service();
    let removed = removing.step(Phase::Teardown, names::REMOVE, |step| {
        let stop = |place: Arc<dyn Place>| {
            let stopped = catch_unwind(AssertUnwindSafe(|| place.stop(step)));
            stopped.map_err(panicked).flatten()
        };
        // What cannot be ended gently is removed all the same.
        let stopped = place.flatten().map_or(Ok(()), stop);
        remove(&removing, &site.ledger, Some(service));
        stopped
    });
    // A test verdict stands even if something is left; the record and `clean` know of it.
    if let Err(error) = removed {
        removing.event(Event::Note { service: Some(service.to_owned()), text: format!("teardown: {error:#}") });
    }
    (result, false)
}

fn to_the_tests(
    shared: &Shared,
    steps: &Steps,
    site: &Site,
    mut tags: BTreeMap<String, ImageTag>,
    place: &Promise<Option<Arc<dyn Place>>>,
) -> anyhow::Result<Vec<String>> {
    let (prepared, loaded) = thread::scope(|scope| {
        let preparing = scope.spawn(|| {
            let prepared = steps.step(Phase::Cluster, names::PLACE, |step| shared.config.platform.prepare(step, site));
            place.keep(prepared.as_ref().ok().cloned());
            prepared
        });
        let images: Vec<_> = site
            .pipeline
            .workloads()
            .iter()
            .map(|workload| {
                let tag = tags.remove(workload.name());
                scope.spawn(move || image(shared, steps, site, workload, tag.context("no tag was made for it")?, place))
            })
            .collect();
        let images: Vec<_> = images.into_iter().map(|thread| thread.join().map_err(panicked).flatten()).collect();
        (preparing.join().map_err(panicked).flatten(), images)
    });
    // Several may have failed, most of them only because another did: the first that failed by itself is the cause.
    let place = prepared?;
    let mut deployables = Vec::new();
    let mut cause = None;
    for result in loaded {
        match result {
            Ok(deployable) => deployables.push(deployable),
            Err(error) => {
                if cause.as_ref().is_none_or(is_cancelled) {
                    cause = Some(error);
                }
            }
        }
    }
    if let Some(error) = cause {
        return Err(error);
    }

    let deployed = steps.step(Phase::Deploy, names::DEPLOY, |step| deploy(&*place, step, deployables))?;
    let proved = steps.step(Phase::Deploy, names::PROVE, |step| {
        prove(&*place, step, deployed, &|workload, source| shared.source_now(step, workload, source))
    })?;

    let Some(package) = site.pipeline.suite_package() else { return Ok(Vec::new()) };
    let executable = shared.suites.wait(steps.cancel())?.get(package)?;
    let failed = steps.step(Phase::Test, names::SUITE, |step| {
        let run_file = suite::write_run_file(site, shared.config.platform.name(), &proved)?;
        let log = site.run.log(site.pipeline.service(), "suite")?;
        let suite = Suite {
            executable: &executable,
            run_file: &run_file,
            log: &log,
            filter: &shared.config.filter,
            limit: &shared.testing,
            test_within: shared.config.test_within,
            down: &|| proved.deployed().instances().find_map(|(_, instance)| place.down(instance)),
        };
        suite.run(step, &proved)
    })?;
    steps.step(Phase::Test, names::STILL, |step| proved.still_holds(&*place, step))?;
    Ok(failed)
}

/// One image: built under its tag as soon as its program exists, loaded as soon as the place exists.
fn image(
    shared: &Shared,
    steps: &Steps,
    site: &Site,
    workload: &Workload,
    tag: ImageTag,
    place: &Promise<Option<Arc<dyn Place>>>,
) -> anyhow::Result<Deployable> {
    let program = match workload.builder() {
        Builder::Cargo { package } => Some(shared.programs.wait(steps.cancel())?.get(package)?),
        Builder::Containerfile(_) | Builder::Image { .. } => None,
    };
    let name = workload.name();
    let built: BuiltImage = steps.step(Phase::Build, names::assemble(name), |step| {
        let _permit = step.permit(&shared.assembling)?;
        let started = step.recorder().utc();
        let built = match (workload.builder(), program) {
            (Builder::Containerfile(_) | Builder::Image { .. }, _) => {
                containerfile::run(step, shared, site, workload, tag)
            }
            (Builder::Cargo { .. }, program) => {
                let program = program.context("its program was not built");
                program.and_then(|program| assemble(step, shared, workload, &program, tag))
            }
        };
        let built = built.map_err(|error| not_as_built(step, name, error))?;
        record_built(step, &built);
        crate::provenance::write(site, &built, &started, &step.recorder().utc())?;
        Ok(built)
    })?;
    let place = place.wait(steps.cancel())?.context("its place could not be prepared")?;
    let image = steps.step(Phase::Load, names::load(name), |step| {
        let _permit = step.permit(&shared.assembling)?;
        let holder = place.holder(workload);
        let loaded = image::load(built, holder).map_err(|error| not_as_built(step, name, error))?;
        let (image, transfer) = (loaded.image(), loaded.transfer());
        step.event(Event::Loaded {
            service: step.service().to_owned(),
            image: image.image().to_owned(),
            reference: image.reference().to_owned(),
            holder: holder.describe(),
            manifest_digest: loaded.held().manifest_digest,
            config_digest: loaded.held().config_digest,
            bytes_sent: transfer.bytes_sent,
            blobs_sent: transfer.blobs_sent,
            blobs_skipped: transfer.blobs_skipped,
        });
        Ok(loaded)
    })?;
    Ok(Deployable { workload: workload.clone(), image })
}

/// Packs a program into the image of a workload.
fn assemble(
    step: &Step,
    shared: &Shared,
    workload: &Workload,
    program: &Program,
    tag: ImageTag,
) -> anyhow::Result<BuiltImage> {
    let ports: Vec<_> = workload.ports().iter().map(|port| port.number).collect();
    let (files, inputs) = shared.files(workload)?;
    let program = Program { source: program.source.clone().with_files(&inputs), ..program.clone() };
    if !inputs.is_empty() {
        // The build told the fingerprint of the program alone.
        step.event(Event::Fingerprinted {
            image: workload.name().to_owned(),
            fingerprint: program.source.fingerprint,
            files: program.source.inputs.len() as u64,
            made_visible: Vec::new(),
            took_us: 0,
        });
    }
    image::build(tag, &shared.recipe(workload, &program, &ports, &files), &shared.blobs)
}

fn record_built(step: &Step, built: &BuiltImage) {
    step.event(Event::Built {
        service: step.service().to_owned(),
        image: built.image().to_owned(),
        reference: built.reference().to_owned(),
        manifest_digest: built.manifest_digest(),
        config_digest: built.config_digest(),
        executable_digest: built.executable_digest(),
        source_fingerprint: built.source().fingerprint,
        layers: built
            .layers()
            .iter()
            .map(|layer| crate::event::Blob { digest: layer.digest, size: layer.size })
            .collect(),
    });
}
