//! Names of images: valid whatever the service is called, and never the same twice.

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use image::{ImageTag, RunId};
use supervise::{Cancel, Cmd};

/// Tells the test binary, started anew, to print this many names.
const CHILD: &str = "IMAGE_TEST_TAGS";

#[test]
fn a_name_tells_image_consumer_run_and_call() {
    let run = RunId::new();
    let tag = ImageTag::new(&run, "datastorage", "signalprocessing").unwrap();
    assert_eq!((tag.image(), tag.consumer(), tag.run()), ("datastorage", "signalprocessing", run));
    let suffix = tag.reference().strip_prefix("localhost/datastorage:signalprocessing-").unwrap();
    let call = suffix.strip_prefix(&run.simple()).unwrap();
    assert!(call.len() >= 4 && call.bytes().all(|c| c.is_ascii_hexdigit()), "{suffix}");
}

#[test]
fn every_valid_name_is_taken() {
    let run = RunId::new();
    let longest = "c".repeat(79);
    for (image, consumer) in
        [("a", "b"), ("team/data.storage__v2", "Gateway_2"), ("a---b", "_"), ("a_b", "1.2-3"), ("0", longest.as_str())]
    {
        let tag = ImageTag::new(&run, image, consumer).unwrap();
        let (_, name) = tag.reference().rsplit_once(':').unwrap();
        assert!(name.len() <= 128, "{name}");
    }
}

#[test]
fn a_bad_name_is_refused_with_the_rule_and_the_remedy() {
    let run = RunId::new();
    let long = "a".repeat(300);
    for (image, consumer, rule, remedy) in [
        ("", "x", "empty", "lower-case"),
        ("Data Storage", "x", "'D' is not allowed", "`data-storage`"),
        ("data:storage", "x", "':' is not allowed", "`data-storage`"),
        ("données", "x", "'é' is not allowed", "`donn-es`"),
        ("-data", "x", "begin and end", "`data`"),
        ("data_", "x", "begin and end", "`data`"),
        ("a/", "x", "empty", "`a`"),
        ("a..b", "x", "`..` is not a separator", "`a-b`"),
        ("a._b", "x", "`._` is not a separator", "`a-b`"),
        ("a___b", "x", "`___` is not a separator", "`a-b`"),
        (&long, "x", "300 bytes", "shorten"),
        ("x", "", "empty", "pipeline"),
        ("x", "-a", "begin with", "letter"),
        ("x", "a/b", "'/' is not allowed", "letters"),
        ("x", "a b", "' ' is not allowed", "letters"),
        ("x", &long[..80], "80 bytes", "shorten"),
    ] {
        let error = ImageTag::new(&run, image, consumer).unwrap_err();
        assert!(error.rule().contains(rule), "{error}");
        assert!(error.remedy().contains(remedy), "{error}");
        let text = error.to_string();
        assert!(text.contains(error.rule()) && text.contains(error.remedy()), "{text}");
    }
}

/// 10 million names of one run, from 8 threads. Behind the run id stands the number of the call, so a bit for each number
/// tells in a few megabytes whether one was given twice.
#[test]
fn ten_million_names_from_eight_threads_are_all_different() {
    const THREADS: u64 = 8;
    const EACH: u64 = 1_250_000;
    // Other tests of this process count too.
    let seen: Vec<AtomicU64> = (0..(THREADS * EACH + 100_000) / 64).map(|_| AtomicU64::new(0)).collect();
    let run = RunId::new();
    let prefix = format!("localhost/d:g-{}", run.simple());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    let tag = ImageTag::new(&run, "d", "g").unwrap();
                    let call = u64::from_str_radix(tag.reference().strip_prefix(&prefix).unwrap(), 16).unwrap();
                    let before = seen[(call / 64) as usize].fetch_or(1 << (call % 64), Ordering::Relaxed);
                    assert_eq!(before & 1 << (call % 64), 0, "{} was given twice", tag.reference());
                }
            });
        }
    });
    let count: u64 = seen.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum();
    assert_eq!(count, THREADS * EACH);
}

/// Processes that begin at the same moment make their run ids in the same millisecond.
#[test]
fn processes_started_together_make_different_names() {
    const PROCESSES: usize = 8;
    const EACH: usize = 2000;
    let names: Vec<String> = {
        let together = Barrier::new(PROCESSES);
        let child = || {
            let cmd = Cmd::new(std::env::current_exe().unwrap())
                .args(["--exact", "tags::names_of_a_child_process", "--nocapture"])
                .env(CHILD, EACH.to_string())
                .capture_stdout();
            together.wait();
            String::from_utf8(cmd.run(&Cancel::new()).unwrap().stdout).unwrap()
        };
        thread::scope(|scope| {
            let children: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(child)).collect();
            children.into_iter().map(|child| child.join().unwrap()).collect()
        })
    };
    let names: Vec<_> =
        names.iter().flat_map(|out| out.lines()).filter(|line| line.starts_with("localhost/")).collect();
    assert_eq!(names.len(), PROCESSES * EACH);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
}

/// Not a test by itself: what [`processes_started_together_make_different_names`] starts.
#[test]
#[expect(clippy::print_stdout, reason = "the parent reads the names from the standard output")]
fn names_of_a_child_process() {
    let Ok(count) = std::env::var(CHILD) else { return };
    let run = RunId::new();
    let names = (0..count.parse::<usize>().unwrap()).map(|_| ImageTag::new(&run, "d", "g").unwrap());
    let names: Vec<_> = names.map(|tag| format!("\n{}", tag.reference())).collect();
    println!("{}", names.concat());
}
