use event::Event;
use image::Digest;

use super::{Expected, Refusal, read, references};
use crate::fixture::{RUN, Script, reference};

fn lines(file: &[u8]) -> Vec<Vec<u8>> {
    file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn refusal(lines: &[Vec<u8>]) -> Refusal {
    read(&lines.concat(), &Expected::default()).unwrap_err()
}

fn replaced(line: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(line.to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn a_whole_record_is_read() {
    let file = Script::passing(&["gateway"]).file();
    let verified = read(&file, &Expected { run: Some(RUN), head: None }).unwrap();
    assert_eq!(verified.records.len(), lines(&file).len());
    let last = lines(&file).pop().unwrap();
    assert_eq!(verified.head, Digest::of(last.trim_ascii_end()));
    assert!(read(&file, &Expected { run: Some(RUN), head: Some(verified.head) }).is_ok());
}

#[test]
fn an_edit_of_any_line_is_found() {
    let file = Script::passing(&["gateway"]).file();
    let head = read(&file, &Expected::default()).unwrap().head;
    let whole = lines(&file);
    for at in 0..whole.len() {
        let mut edited = whole.clone();
        let us = |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).unwrap()["us"].as_u64().unwrap();
        edited[at] =
            replaced(&whole[at], &format!("\"us\":{}", us(&whole[at])), &format!("\"us\":{}", us(&whole[at]) + 1));
        let refused = read(&edited.concat(), &Expected { run: None, head: Some(head) }).unwrap_err();
        assert!(matches!(refused, Refusal::Edited { line, .. } if line == at + 1), "line {}: {refused}", at + 1);
    }
}

#[test]
fn lines_that_are_missing_or_added_are_found() {
    let whole = lines(&Script::passing(&["gateway"]).file());
    let mut removed = whole.clone();
    removed.remove(4);
    assert_eq!(refusal(&removed), Refusal::Gap { line: 5, expected: 4, found: 5 });
    let mut doubled = whole.clone();
    doubled.insert(4, whole[4].clone());
    assert_eq!(refusal(&doubled), Refusal::Gap { line: 6, expected: 5, found: 4 });
    let mut swapped = whole.clone();
    swapped.swap(4, 5);
    assert!(matches!(refusal(&swapped), Refusal::Gap { line: 5, .. }));
    let mut after = whole.clone();
    after.push(whole[1].clone());
    assert!(matches!(refusal(&after), Refusal::Edited { line, .. } if line == whole.len() + 1));
    // Whole and consistent, but not from the beginning.
    let mut headless = Script::passing(&["gateway"]);
    headless.remove(|event| matches!(event, Event::RunStarted { .. }));
    assert!(matches!(refusal(&lines(&headless.file())), Refusal::Edited { line: 1, .. }));
}

#[test]
fn a_record_that_was_cut_short_is_refused() {
    let file = Script::passing(&["gateway"]).file();
    let whole = lines(&file);
    for cut in [1, 10, whole.len() - 1] {
        assert!(matches!(refusal(&whole[..cut]), Refusal::CutShort { line, .. } if line == cut));
    }
    let cut = read(&file[..file.len() - 5], &Expected::default()).unwrap_err();
    assert!(matches!(cut, Refusal::CutShort { line, .. } if line == whole.len() - 1), "{cut}");
    assert!(cut.to_string().contains("the line after it has no end"), "{cut}");
    assert_eq!(read(b"", &Expected::default()).unwrap_err(), Refusal::Empty);
}

#[test]
fn another_run_or_version_is_refused() {
    let file = Script::passing(&["gateway"]).file();
    let other = "0199c3f2-ffff-7c3d-8e5f-0123456789ab";
    let refused = read(&file, &Expected { run: Some(other), head: None }).unwrap_err();
    assert_eq!(refused, Refusal::OtherRun { line: 1, expected: other.into(), found: RUN.into() });
    let whole = lines(&file);
    let mut mixed = whole.clone();
    mixed[7] = replaced(&whole[7], RUN, other);
    assert!(matches!(refusal(&mixed), Refusal::OtherRun { line: 8, .. }));
    let mut newer = whole.clone();
    newer[0] = replaced(&whole[0], "\"v\":1", "\"v\":2");
    assert_eq!(refusal(&newer), Refusal::Version { line: 1, found: 2 });
    let head = Digest::of("another end");
    let refused = read(&file, &Expected { run: None, head: Some(head) }).unwrap_err();
    assert!(refused.to_string().contains("`events_head` in `report.json`"), "{refused}");
}

#[test]
fn the_tags_of_a_killed_run_count_too() {
    let file = Script::passing(&["gateway"]).file();
    let both = [reference("datastorage", "gateway"), reference("gateway", "gateway")];
    assert_eq!(references(&file[..file.len() - 5]), both);
    assert_eq!(references(b"nonsense\n\xff tag_made\n"), [""; 0]);
}
