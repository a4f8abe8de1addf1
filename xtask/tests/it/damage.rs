//! A record that is not what the run wrote is refused, and the line is named.

use std::fs;
use std::path::PathBuf;

use crate::kit::{Answer, ask, scratch, tool};
use crate::whole::whole;

/// A copy of a run's directory below a target directory of its own.
struct Copied {
    target: PathBuf,
    id: String,
}

impl Drop for Copied {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.target).unwrap();
    }
}

impl Copied {
    fn new() -> Copied {
        let ran = &whole().1;
        let copied = Copied { target: scratch("copied"), id: ran.id().to_owned() };
        let dir = copied.target.join("e2e/runs").join(&copied.id);
        fs::create_dir_all(&dir).unwrap();
        for name in ["events.jsonl", "report.json"] {
            fs::copy(ran.dir.join(name), dir.join(name)).unwrap();
        }
        copied
    }

    fn path(&self, name: &str) -> PathBuf {
        self.target.join("e2e/runs").join(&self.id).join(name)
    }

    /// Changes a file and asks for the audit.
    fn audit(&self, name: &str, change: impl FnOnce(String) -> String) -> Answer {
        let original = fs::read_to_string(whole().1.dir.join(name)).unwrap();
        let changed = change(original.clone());
        assert_ne!(changed, original, "nothing was changed");
        fs::write(self.path(name), changed).unwrap();
        let answer = self.ask();
        fs::write(self.path(name), original).unwrap();
        answer
    }

    fn ask(&self) -> Answer {
        ask(tool(&self.target).args(["audit", &self.id]))
    }
}

/// The text with another content of one line, counted from 1.
fn with_line(text: &str, number: usize, change: impl Fn(&str) -> String) -> String {
    let lines =
        text.lines().enumerate().map(|(at, line)| if at + 1 == number { change(line) } else { line.to_owned() });
    lines.map(|line| line + "\n").collect()
}

/// The same number of bytes with another digit: the last one of the line.
fn other_digit(line: &str) -> String {
    let at = line.rfind(|letter: char| letter.is_ascii_digit()).expect("each line has its time");
    let digit = if &line[at..=at] == "1" { "2" } else { "1" };
    format!("{}{digit}{}", &line[..at], &line[at + 1..])
}

#[test]
fn an_edited_byte_is_found_at_its_line() {
    let copied = Copied::new();
    copied.ask().expect(0);
    let count = whole().1.text().lines().count();
    for line in [1, 2, count / 2, count - 1, count] {
        let answer = copied.audit("events.jsonl", |text| with_line(&text, line, other_digit)).expect(3);
        answer.says(&["was edited", &format!("line {line}:")]);
        assert_eq!(answer.out, "", "nothing is shown of a record that is not to be believed");
    }
    // A blank more at the end of a line changes no value, and is an edit all the same.
    copied.audit("events.jsonl", |text| with_line(&text, 5, |line| line.to_owned() + " ")).expect(3).says(&["line 5:"]);
    copied.ask().expect(0);
}

#[test]
fn a_record_that_is_cut_short_is_refused() {
    let copied = Copied::new();
    let count = whole().1.text().lines().count();
    let without_last = |text: String| text.lines().take(count - 1).map(|line| format!("{line}\n")).collect::<String>();
    copied.audit("events.jsonl", without_last).expect(3).says(&["cut short", &format!("line {}:", count - 1)]);
    copied.audit("events.jsonl", |text| text.trim_end().to_owned()).expect(3).says(&["cut short"]);
    copied.audit("events.jsonl", |_| String::new()).expect(3).says(&["empty"]);
    let gap = |text: String| with_line(&text, 7, |_| String::new()).replace("\n\n", "\n");
    copied.audit("events.jsonl", gap).expect(3).says(&["missing or were added", "line 7"]);
    let twice = |text: String| with_line(&text, 7, |line| format!("{line}\n{line}"));
    copied.audit("events.jsonl", twice).expect(3).says(&["missing or were added", "line 8"]);
}

#[test]
fn another_runs_record_is_refused() {
    let copied = Copied::new();
    let other = "0199c3f2-a7b4-7000-8000-000000000000";
    copied.audit("events.jsonl", |text| text.replace(&copied.id, other)).expect(3).says(&["another run", other]);
    let head = |text: String| {
        text.replace("\"events_head\": \"sha256:", "\"events_head\": \"sha256:0").replacen("0\"\n", "\"\n", 1)
    };
    assert_ne!(copied.audit("report.json", head).code, 0);
    let other_head = |text: String| {
        let at = text.find("\"events_head\"").expect("the report has it") + 30;
        let digit = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{digit}{}", &text[..at], &text[at + 1..])
    };
    copied.audit("report.json", other_head).expect(3).says(&["events_head"]);
    fs::remove_file(copied.path("report.json")).unwrap();
    copied.ask().expect(3).says(&["report.json", "did not end properly"]);
}
