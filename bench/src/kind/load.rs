//! Loading an image of 200 MB into a node, the whole of it and after 20 MB of it changed, against what people do without this
//! tool: `podman build`, `podman save`, `kind load image-archive`.
//!
//! All roads start from the same folder, build an image with the same files from it, and end with that image complete in the
//! node's containerd. Two roads are ours: the builder that assembles images in this process, which is the one for services of
//! this workspace; and the Containerfile builder, whose `podman build` is the same command as the baseline's, and is a floor
//! that no loading can get below.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use image::{
    AssetContent, AssetFile, BlobStore, BuiltImage, ContainerfileBuild, Digest, Engine, ImageTag, Instructions,
    NodeAccess, NodeStore, Program, Recipe, RunId, Source, build, load,
};
use supervise::{Cancel, Cmd};

use super::Cluster;
use crate::say;
use crate::{Figure, Lab, Limit, median};

const FIRST_ROUNDS: usize = 3;
/// After that a disk has done what a file system asks of it when files were written and removed: freeing their blocks, for one.
/// The baseline's engine works about as long before the node writes anything.
const SETTLE: Duration = Duration::from_secs(6);
const ROUNDS: usize = 5;
/// Sizes of the layers. Dependencies are many files: in folders with packages of Python and Node the mean is 9 to 14 kB.
const DEPENDENCIES: usize = 180_000_000;
const DEPENDENCY: usize = 12_000;
const APPLICATION: u64 = 20_000_000;

/// By it all images that a build leaves in the engine are found, also those of its steps.
const MARK: &str = "dev.e2e.bench";
const CONTAINERFILE: &str = "FROM scratch\nLABEL\nCOPY dependencies /opt/dependencies\nCOPY application /usr/bin/application\n\
    USER 65532:65532\nENTRYPOINT [\"/usr/bin/application\"]\n";

pub(crate) fn run(lab: &Lab) -> anyhow::Result<Vec<Figure>> {
    let Some(engine) = super::engine()? else { return Ok(Vec::new()) };
    if engine != Engine::Podman {
        say("not measured: the baseline is that of podman");
        return Ok(Vec::new());
    }
    let cluster = Cluster::create(lab, engine)?;
    let mut bench = Bench::new(lab, &cluster)?;
    let mut figures = Vec::new();
    let (mut ours, mut files, mut theirs) = (Times::default(), Times::default(), Times::default());
    for _ in 0..FIRST_ROUNDS {
        bench.another_image()?;
        bench.round(&mut ours, &mut files, &mut theirs)?;
    }
    figures.extend(compare("200 MB image, first load", &ours, &files, &theirs, 2.3)?);
    let (mut ours, mut files, mut theirs) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        bench.round(&mut ours, &mut files, &mut theirs)?;
    }
    figures.extend(compare("200 MB image, 20 MB changed", &ours, &files, &theirs, 15.0)?);
    Ok(figures)
}

/// The times of one road: what it builds, and what it does then.
#[derive(Default)]
struct Times(Vec<[Duration; 3]>);

impl Times {
    fn whole(&self) -> f64 {
        median(self.0.iter().map(|parts| parts.iter().sum()).collect())
    }

    fn describe(&self, names: [&str; 3]) -> String {
        let part = |(index, name): (usize, &str)| {
            let seconds = median(self.0.iter().map(|parts| parts[index]).collect());
            (!name.is_empty()).then(|| format!("{name} {seconds:.2} s"))
        };
        names.into_iter().enumerate().filter_map(part).collect::<Vec<_>>().join(" + ")
    }
}

fn compare(what: &str, ours: &Times, files: &Times, theirs: &Times, limit: f64) -> anyhow::Result<[Figure; 2]> {
    let baseline = theirs.describe(["podman build", "podman save", "kind load image-archive"]);
    let figure = |how: &str, times: &Times, limit, parts: [&str; 3]| Figure {
        what: format!("{what}: times that {how} is faster"),
        seen: theirs.whole() / times.whole(),
        limit,
        unit: "",
        from: format!("{} to {baseline}, medians of {}", times.describe(parts), times.0.len()),
    };
    Ok([
        figure("own build + load", ours, Limit::AtLeast(limit), ["build", "load", ""]),
        figure("Containerfile build + load", files, Limit::Any, ["podman build and export", "load", ""]),
    ])
}

struct Bench<'a> {
    lab: &'a Lab,
    cluster: &'a Cluster<'a>,
    node: NodeAccess,
    /// Counts the images of which nothing was loaded before. Nothing of one is overwritten or removed before the end: a file
    /// system that tells its disk which blocks are free then takes seconds for whatever is written next.
    number: u32,
    /// A static program.
    program: Vec<u8>,
    /// Names the images of the baseline, and marks all.
    name: String,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab, cluster: &'a Cluster<'a>) -> anyhow::Result<Bench<'a>> {
        let name = format!("bench-{}", RunId::new().short());
        Ok(Bench { lab, cluster, node: cluster.access()?, number: 0, program: fs::read(super::program(lab)?)?, name })
    }

    /// The folder with the files of the image, and the Containerfile.
    fn context(&self) -> PathBuf {
        self.lab.dir.join(format!("context-{}", self.number))
    }

    /// New dependencies: nothing that was loaded before is of use.
    fn another_image(&mut self) -> anyhow::Result<()> {
        self.number += 1;
        let context = self.context();
        for number in 0..DEPENDENCIES / DEPENDENCY {
            let path = context.join(format!("dependencies/{}/{number}", number / 100));
            fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
            random(&path, b"", DEPENDENCY as u64)?;
        }
        let marked = CONTAINERFILE.replace("LABEL", &format!("LABEL {MARK}={}", self.name));
        fs::write(context.join("Containerfile"), marked).context("write a Containerfile")
    }

    /// A new application, by each road in turn.
    fn round(&self, ours: &mut Times, files: &mut Times, theirs: &mut Times) -> anyhow::Result<()> {
        let application = self.context().join("application");
        let mut roads = [(ours, Self::own as fn(&Self) -> _), (files, Self::containerfile), (theirs, Self::baseline)];
        // Whoever is first finds the machine in another state than the others.
        let rounds = roads[0].0.0.len();
        roads.rotate_left(rounds % 3);
        for (times, road) in roads {
            random(&application, &self.program, APPLICATION - self.program.len() as u64)?;
            fs::set_permissions(&application, Permissions::from_mode(0o755))?;
            // None pays for what was written before it.
            self.lab.time(Cmd::new("sync"))?;
            self.lab.cancel.wait(SETTLE);
            times.0.push(road(self)?);
        }
        Ok(())
    }

    fn tag(&self) -> anyhow::Result<ImageTag> {
        Ok(ImageTag::new(&RunId::new(), &format!("application-{}", self.number), "bench")?)
    }

    fn own(&self) -> anyhow::Result<[Duration; 3]> {
        let start = Instant::now();
        let context = self.context();
        let path = context.join("application");
        let digest = Digest::of_file(&path)?;
        let source =
            Source { fingerprint: digest, inputs: Vec::new(), revision: None, dirty: false, parameters: Vec::new() };
        let program = Program { package: "application".to_owned(), path, digest, source };
        let mut files = Vec::new();
        for folder in fs::read_dir(context.join("dependencies"))? {
            for file in fs::read_dir(folder?.path())? {
                let host = file?.path();
                let path = format!("/opt/{}", host.strip_prefix(&context)?.display());
                files.push(AssetFile { path, content: AssetContent::Host(host), mode: 0o644 });
            }
        }
        let recipe = Recipe { files: &files, ..Recipe::new(&program) };
        let blobs = self.lab.dir.join("own");
        let tag = self.tag()?;
        let (image, store) = self.build(|| build(tag, &recipe, &BlobStore::create(&blobs)?))?;
        self.load(start, image, &store, &blobs)
    }

    fn containerfile(&self) -> anyhow::Result<[Duration; 3]> {
        let start = Instant::now();
        let build = ContainerfileBuild {
            engine: Engine::Podman,
            prepare: Arc::new(|command| command),
            workspace: self.lab.dir.clone(),
            instructions: Instructions::Folder { context: format!("context-{}", self.number), containerfile: None },
            arguments: Vec::new(),
            network: false,
            service: format!("application-{}", self.number),
            state: self.lab.dir.join("state"),
            limit: Duration::from_secs(300),
        };
        let blobs = self.lab.dir.join("files");
        let scratch = self.lab.dir.join("scratch");
        let log = self.lab.dir.join("build.log");
        let tag = self.tag()?;
        let build = || Ok(build.run(tag, &BlobStore::create(&blobs)?, &scratch, &log, &self.lab.cancel)?);
        let (image, store) = self.build(build)?;
        self.load(start, image, &store, &blobs)
    }

    /// Builds, while the node is asked what it has: a run does both at the same time too.
    fn build(&self, build: impl FnOnce() -> anyhow::Result<BuiltImage>) -> anyhow::Result<(BuiltImage, NodeStore)> {
        thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let store = NodeStore::new(vec![self.node.clone()], self.lab.cancel.clone());
                store.ask().map(|()| store)
            });
            let image = build();
            let store = asking.join().map_err(|_| anyhow!("the thread that asks the node panicked")).flatten();
            Ok((image?, store?))
        })
    }

    fn load(
        &self,
        start: Instant,
        image: BuiltImage,
        store: &NodeStore,
        blobs: &Path,
    ) -> anyhow::Result<[Duration; 3]> {
        let built = start.elapsed();
        let loaded = load(image, store)?;
        let whole = start.elapsed();
        drop(loaded);
        // Each run has blobs of its own.
        fs::remove_dir_all(blobs)?;
        Ok([built, whole - built, Duration::ZERO])
    }

    fn baseline(&self) -> anyhow::Result<[Duration; 3]> {
        let reference = format!("localhost/{}:{}", self.name, RunId::new().simple());
        let archive = self.lab.dir.join("image.tar");
        let build = Cmd::new("podman").args(["build", "--quiet", "--timestamp", "0", "--tag", &reference]);
        let built = self.lab.time(build.arg(self.context()))?;
        let save = Cmd::new("podman").args(["save", "--quiet", "--output"]).arg(&archive).arg(&reference);
        let saved = self.lab.time(save)?;
        let archive_name = archive.display().to_string();
        let loaded = self.lab.time(self.cluster.kind(&["load", "image-archive", &archive_name]))?;
        fs::remove_file(archive)?;
        Ok([built, saved, loaded])
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let cancel = Cancel::new();
        let podman = |arguments: &[&str]| {
            let command = Cmd::new("podman").args(arguments.iter().copied()).capture_stdout();
            command
                .deadline(super::LIMIT)
                .run(&cancel)
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let filter = format!("label={MARK}={}", self.name);
        let listed = podman(&["images", "--all", "--quiet", "--no-trunc", "--filter", &filter]).unwrap_or_default();
        let images: BTreeSet<_> = listed.lines().collect();
        let remove: Vec<_> = ["image", "rm", "--force", "--ignore"].into_iter().chain(images).collect();
        if remove.len() > 4
            && let Err(error) = podman(&remove)
        {
            say(&format!("images with the label `{MARK}={}` are left in podman: {error}", self.name));
        }
    }
}

/// Writes a file that begins like this and goes on with bytes that cannot be compressed.
fn random(path: &Path, begin: &[u8], length: u64) -> anyhow::Result<()> {
    let what = || format!("write `{}`", path.display());
    let noise = File::open("/dev/urandom").context("open `/dev/urandom`")?.take(length);
    let mut file = File::create(path).with_context(what)?;
    io::copy(&mut begin.chain(noise), &mut file).with_context(what)?;
    Ok(())
}
