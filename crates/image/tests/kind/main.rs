//! Loading into real nodes: two at the same time, each of which has something else, fails by itself, or is used again and again.
//!
//! One test after the other on the same two clusters, since making them is what takes time.

mod clusters;

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clusters::{Clusters, Node, Way, until};
use image::{
    AssetContent, AssetFile, BlobStore, BuiltImage, Digest, Holder, ImageTag, NodeStore, Program, Recipe, RunId,
    Source, Transfer, build, load,
};
use supervise::{Cancel, Cmd};

/// How long a load may go on after its node is gone.
const BOUND: Duration = Duration::from_secs(15);

/// A folder with a static program, which goes when it is dropped.
struct Kit {
    dir: PathBuf,
    program: Vec<u8>,
    blobs: BlobStore,
}

impl Kit {
    fn new() -> Kit {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kind-{}", RunId::new().short()));
        fs::create_dir_all(&dir).unwrap();
        let (source, program) = (dir.join("tiny.rs"), dir.join("tiny"));
        fs::write(&source, "fn main() {}").unwrap();
        let rustc = Cmd::new("rustc").args(["-C", "target-feature=+crt-static", "-o"]).arg(&program).arg(&source);
        rustc.run(&Cancel::new()).unwrap();
        Kit { program: fs::read(program).unwrap(), blobs: BlobStore::create(&dir.join("blobs")).unwrap(), dir }
    }

    /// An image with this file, and a program that nothing else has.
    fn image(&self, name: &str, file: &[u8]) -> BuiltImage {
        let (run, path) = (RunId::new(), self.dir.join("program"));
        let bytes = [&self.program, run.to_string().as_bytes()].concat();
        fs::write(&path, &bytes).unwrap();
        let source = Source {
            fingerprint: Digest::of(&bytes),
            inputs: Vec::new(),
            revision: None,
            dirty: false,
            parameters: Vec::new(),
        };
        let program = Program { package: name.to_owned(), path, digest: Digest::of(&bytes), source };
        let asset =
            AssetFile { path: "/opt/file".to_owned(), content: AssetContent::Bytes(file.to_vec()), mode: 0o644 };
        build(
            ImageTag::new(&run, name, "gateway").unwrap(),
            &Recipe { files: &[asset], ..Recipe::new(&program) },
            &self.blobs,
        )
        .unwrap()
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Bytes that are nowhere else.
fn noise(length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(length).read_to_end(&mut bytes).unwrap();
    bytes
}

fn send(image: BuiltImage, store: &NodeStore) -> Transfer {
    let loaded = load(image, store).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(loaded.held().complete, Ok(()));
    loaded.transfer()
}

#[test]
fn real_nodes_take_images_at_the_same_time_and_fail_by_themselves() {
    let clusters = match Clusters::new() {
        Ok(clusters) => clusters,
        Err(why) => return skip(&why),
    };
    let kit = Kit::new();
    let start = Instant::now();
    let told = |what: &str| say(&format!("{:5.1} s: {what}", start.elapsed().as_secs_f64()));
    told("the clusters are there");
    each_node_gets_what_it_lacks(&clusters, &kit);
    told("each node got what it lacks");
    a_damaged_blob_is_the_node_s_that_has_it(&clusters, &kit);
    told("a damaged blob was told");
    what_runs_leave_on_a_node_is_bounded(&clusters.node(0), &kit);
    told("what runs leave is bounded");
    // The last: afterwards the nodes are no more.
    a_node_that_stops_ends_the_load(&clusters, &kit);
    told("nodes that stopped were told");
}

fn each_node_gets_what_it_lacks(clusters: &Clusters, kit: &Kit) {
    let file = noise(20 << 20);
    let first = kit.image("both", &file);
    let layers = first.layers().len() as u64;
    // Once through the engine, and once straight: both roads in one load.
    let ways = [Way::Engine, Way::Namespaces];
    let sent = send(first, &clusters.store(ways));
    assert_eq!((sent.blobs_sent, sent.blobs_skipped), (2 * (layers + 2), 0), "all of it, to both");

    let file = noise(20 << 20);
    let base = kit.image("both", &file);
    let sent = send(base, &clusters.node(0).store());
    assert_eq!((sent.blobs_sent, sent.blobs_skipped), (4, 1), "to one: the file, the program, config and manifest");
    // Now one node has the file's layer, and the other has not.
    let next = kit.image("both", &file);
    let (reference, file_layer) = (next.reference().to_owned(), next.layers()[1].clone());
    let program_layer = next.layers()[2].size;
    let sent = send(next, &clusters.store(ways));
    assert_eq!((sent.blobs_sent, sent.blobs_skipped), (3 + 4, 2 + 1));
    let least = file_layer.size + 2 * program_layer;
    assert!((least..least + (64 << 10)).contains(&sent.bytes_sent), "{} bytes", sent.bytes_sent);
    // Whoever asks later, with nothing in memory, is told the same by each of them.
    let held = clusters.store(ways).held(&reference).unwrap();
    assert_eq!(held.complete, Ok(()));
    for index in 0..2 {
        assert!(clusters.node(index).has(&file_layer.digest));
        assert_eq!(clusters.node(index).store().held(&reference).unwrap(), held);
    }
}

fn a_damaged_blob_is_the_node_s_that_has_it(clusters: &Clusters, kit: &Kit) {
    let file = noise(1 << 20);
    let image = kit.image("damaged", &file);
    let (reference, layer) = (image.reference().to_owned(), image.layers()[1].digest);
    send(image, &clusters.store([Way::Engine; 2]));
    let node = clusters.node(1);
    // One bit of it: nothing but the content tells.
    let path = Node::path(&layer);
    node.run(&format!("chmod u+w {path} && printf x | dd of={path} bs=1 seek=5000 conv=notrunc status=none"));
    for ways in [[Way::Engine; 2], [Way::Namespaces; 2]] {
        let why = clusters.store(ways).held(&reference).unwrap().complete.unwrap_err();
        assert!(why.contains(&format!("node `{}`", node.name())) && why.contains(&layer.to_string()), "{why}");
        let error = format!("{:#}", load(kit.image("damaged", &file), &clusters.store(ways)).unwrap_err());
        assert!(error.contains(&format!("node `{}`", node.name())) && error.contains(&layer.to_string()), "{error}");
    }
}

fn what_runs_leave_on_a_node_is_bounded(node: &Node, kit: &Kit) {
    let file = noise(4 << 20);
    let mut first = None;
    let mut most = 0;
    for run in 0..7 {
        let image = kit.image("again", &file);
        let (reference, program) = (image.reference().to_owned(), image.layers()[2].digest);
        // Every run asks anew.
        let sent = send(image, &node.store());
        assert_eq!(sent.blobs_sent, if run == 0 { 4 } else { 3 }, "the program, config and manifest");
        first.get_or_insert(program);
        let names = node.names("again");
        assert!(names.contains(&reference), "{names:?}");
        most = most.max(names.len());
        // A tag, and the name with its digest, of this run and the three before it.
        assert!(names.len() <= 2 * 4, "{names:?}");
    }
    assert_eq!(most, 2 * 4, "the last ones stay");
    let first = first.unwrap();
    until("the node has collected the program of the first run", || !node.has(&first));
}

fn a_node_that_stops_ends_the_load(clusters: &Clusters, kit: &Kit) {
    // The second node first; then the one that is left, alone.
    let cases: [(usize, Way, &[&str]); 2] =
        [(1, Way::Namespaces, &["kill"]), (0, Way::Engine, &["stop", "--time", "1"])];
    for (index, way, how) in cases {
        let image = kit.image("big", &noise(200 << 20));
        let node = clusters.node(index);
        let store =
            if index == 1 { clusters.store([way; 2]) } else { NodeStore::new(vec![node.access(way)], Cancel::new()) };
        let (error, took) = std::thread::scope(|scope| {
            let loading = scope.spawn(|| load(image, &store).map(drop).unwrap_err());
            let stopped = node.stop_while_it_reads(how);
            let error = format!("{:#}", loading.join().unwrap());
            (error, stopped.elapsed())
        });
        say(&format!("{how:?} was told after {:.1} s: {error}", took.as_secs_f64()));
        assert!(error.contains(&format!("`{}`", node.name())), "{error}");
        assert!(took < BOUND, "{took:?}: {error}");
        // And whoever comes later.
        let error = format!("{:#}", load(kit.image("later", b""), &store).unwrap_err());
        assert!(error.contains(&format!("`{}`", node.name())), "{error}");
        say(&format!("and later: {error}"));
    }
}

#[expect(clippy::print_stderr, reason = "who runs the tests should see how long each part takes")]
fn say(what: &str) {
    eprintln!("{what}");
}

fn skip(why: &str) {
    assert_ne!(std::env::var("E2E_TEST_KIND").as_deref(), Ok("required"), "{why}");
    say(&format!("not tested: {why}"));
}
