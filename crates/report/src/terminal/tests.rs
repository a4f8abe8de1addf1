use std::time::Duration;

use event::{Event, Phase, StepOutcome, Verdict};

use super::{Config, Mode, Terminal, Verbosity};
use crate::fixture::{SERVICES, Script};
use crate::model::Summary;

fn terminal(mode: Mode, verbosity: Verbosity, width: Option<usize>) -> Terminal {
    Terminal::new(Config { mode, verbosity, color: false, width, run_dir: "runs/0199".into() })
}

fn all(script: &Script, mode: Mode, verbosity: Verbosity, width: Option<usize>) -> String {
    let mut terminal = terminal(mode, verbosity, width);
    let records = script.records();
    let mut text: String = records.iter().map(|record| terminal.on(record)).collect();
    text.push_str(&terminal.finish(&Summary::of(&records)));
    text
}

/// As much of a terminal as is needed to see what is on its screen (ECMA-48: CR, LF, CUU, EL 0, ED 0).
#[derive(Default)]
struct Screen {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    fn print(&mut self, text: &str) {
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if self.rows.len() <= self.row {
                self.rows.resize(self.row + 1, Vec::new());
            }
            match c {
                '\r' => self.column = 0,
                '\n' => (self.row, self.column) = (self.row + 1, 0),
                '\u{1b}' => {
                    assert_eq!(chars.next(), Some('['));
                    let sequence: String = chars.by_ref().take_while_inclusive_alphabetic().collect();
                    let number = sequence[..sequence.len() - 1].parse().unwrap_or(1);
                    match sequence.chars().last() {
                        Some('A') => self.row -= number,
                        Some('K') => self.rows[self.row].truncate(self.column),
                        Some('J') => {
                            self.rows[self.row].truncate(self.column);
                            self.rows.truncate(self.row + 1);
                        }
                        other => panic!("unexpected sequence {other:?}"),
                    }
                }
                c => {
                    let row = &mut self.rows[self.row];
                    row.resize(row.len().max(self.column + 1), ' ');
                    row[self.column] = c;
                    self.column += 1;
                }
            }
        }
    }

    fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }
}

trait TakeWhileInclusive: Iterator<Item = char> {
    fn take_while_inclusive_alphabetic(&mut self) -> impl Iterator<Item = char>;
}

impl<I: Iterator<Item = char>> TakeWhileInclusive for I {
    fn take_while_inclusive_alphabetic(&mut self) -> impl Iterator<Item = char> {
        let mut done = false;
        std::iter::from_fn(move || {
            let c = if done { None } else { self.next() }?;
            done = c.is_ascii_alphabetic();
            Some(c)
        })
    }
}

#[test]
fn plain_lines_tell_every_transition_and_no_control_character() {
    let text = all(&Script::mixed(), Mode::Lines, Verbosity::Normal, None);
    for line in [
        "    0.0s  (all)                    build     build the programs of all images …",
        "    9.6s  remediationorchestrator  build     assemble datastorage (82ms, waited 40ms)",
        "   10.0s  remediationorchestrator  end       ERROR: `remediationorchestrator` ended by itself: exit status: 2",
        "   12.3s  signalprocessing         test      audit::event_3_is_stored FAILED (421ms)",
        "   13.3s  gateway                  end       PASSED",
        "  command  E2E_RUN=0199c3f2-a7b4-7c3d-8e5f-0123456789ab API_TOKEN=*** /run/remediationorchestrator/usr/bin/remediationorchestrator",
        "    | error: no such file",
        "  log      runs/0199/logs/remediationorchestrator/remediationorchestrator.log",
        "workflowexecution: INTERRUPTED",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\nnot in\n{text}");
    }
    assert!(text.ends_with("\n19 passed, 1 failed, 2 skipped\n"), "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    // A replayed line cannot act as a workflow command of a CI system.
    assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{text}");
}

#[test]
fn the_table_fits_the_terminal() {
    let text = all(&Script::passing(&SERVICES), Mode::Lines, Verbosity::Normal, Some(90));
    let table: Vec<_> = text.lines().skip_while(|line| !line.starts_with("service ")).collect();
    let expected = "\
service                  verdict  build  deploy  test  teardown  total           tests
gateway                  passed   11.4s   420ms  1.7s     194ms  13.3s  8/8 +1 skipped
signalprocessing         passed   11.4s   420ms  1.7s     194ms  13.4s  8/8 +1 skipped
remediationorchestrator  passed   11.4s   420ms  1.7s     194ms  13.6s  8/8 +1 skipped
workflowexecution        passed   11.4s   420ms  1.7s     194ms  13.7s  8/8 +1 skipped

gateway                  localhost/datastorage:gateway-0199c3f2a7b47c3d8e5f0123456789ab0001
signalprocessing         localhost/datastorage:signalprocessing-0199c3f2a7b47c3d8e5f0123456789ab0001
remediationorchestrator  localhost/datastorage:remediationorchestrator-0199c3f2a7b47c3d8e5f0123456789ab0001
workflowexecution        localhost/datastorage:workflowexecution-0199c3f2a7b47c3d8e5f0123456789ab0001

  reports  runs/0199/
  PASSED in 16.0s
32 passed, 0 failed, 4 skipped";
    assert_eq!(table.join("\n"), expected);
    let wide = all(&Script::passing(&SERVICES), Mode::Lines, Verbosity::Normal, None);
    assert!(wide.contains("  datastorage image\n"), "{wide}");
}

#[test]
fn live_lines_are_drawn_in_place_and_other_output_survives() {
    let (mut terminal, mut screen) = (terminal(Mode::Live, Verbosity::Normal, Some(80)), Screen::default());
    let records = Script::mixed().records();
    for record in records.iter().take_while(|record| record.us < 9_790_000) {
        screen.print(&terminal.on(record));
        if matches!(record.event, Event::StepStarted { step: 2, .. }) {
            screen.print("something else\nspeaks\n");
        }
    }
    screen.print(&terminal.tick(Duration::from_millis(9790)));
    let expected = "\
run 0199c3f2-a7b4-7c3d-8e5f-0123456789ab on local: gateway, signalprocessing, remediationorchestrator, workflowexecution
something else
speaks
> gateway                  build       build the suites                    9.8s
> signalprocessing         deploy      deploy and wait                    313ms
> remediationorchestrator  deploy      deploy and wait                    176ms
> workflowexecution        deploy      deploy and wait                     39ms";
    // The rest of the live line that was overwritten may stay behind the other output.
    let rows: Vec<_> = screen.text().lines().map(str::to_owned).collect();
    let rows: Vec<_> =
        rows.iter().zip(expected.lines()).map(|(row, line)| row.get(..line.len()).unwrap_or(row)).collect();
    assert_eq!(rows.join("\n"), expected);
    assert_eq!(screen.text().lines().count(), 7);
    for record in records.iter().skip_while(|record| record.us < 9_790_000) {
        screen.print(&terminal.on(record));
    }
    screen.print(&terminal.finish(&Summary::of(&records)));
    let text = screen.text();
    assert!(!text.contains("\n> "), "no live line is left: {text}");
    assert!(text.contains("audit::event_3_is_stored FAILED (421ms)\n"), "{text}");
    assert!(text.ends_with("19 passed, 1 failed, 2 skipped"), "{text}");
}

#[test]
fn live_lines_never_wrap_and_are_never_more_than_a_screen() {
    let services: Vec<_> = (0..40).map(|n| format!("service-with-a-long-name-{n}")).collect();
    let services: Vec<_> = services.iter().map(String::as_str).collect();
    for width in [10, 40, 80, 200] {
        let mut terminal = terminal(Mode::Live, Verbosity::Normal, Some(width));
        let records = Script::passing(&services).records();
        for record in &records[1..400] {
            terminal.on(record);
        }
        terminal.on(&records[0]);
        let block = terminal.tick(Duration::from_secs(1));
        let mut screen = Screen::default();
        screen.print(&block);
        assert!(screen.text().lines().all(|line| line.chars().count() < width), "{width}: {}", screen.text());
        assert_eq!(screen.text().lines().count(), 17, "{}", screen.text());
        assert_eq!((screen.row, screen.column), (0, 0), "the cursor rests at the first line");
    }
}

#[test]
fn a_burst_of_events_draws_once() {
    let mut terminal = terminal(Mode::Live, Verbosity::Normal, Some(80));
    let drawn = Script::passing(&SERVICES).records().iter().filter(|record| !terminal.on(record).is_empty()).count();
    // 16 s in steps of 50 ms are 320; the run has far fewer moments with events.
    assert!(drawn < 60, "{drawn}");
}

#[test]
fn silence_is_broken_with_what_is_waited_for() {
    let mut terminal = terminal(Mode::Lines, Verbosity::Normal, None);
    let mut script = Script::default();
    script.start(&["gateway"]);
    script.begin(2000, 1, None, Phase::Build, "build the programs");
    script.begin(3000, 2, Some("gateway"), Phase::Cluster, "create the cluster");
    for record in script.records() {
        terminal.on(&record);
    }
    assert_eq!(terminal.tick(Duration::from_secs(31)), "", "the last line is 29 s old");
    let expected = "   32.0s  (all)    build     still waiting for build the programs (30.0s), gateway: create the cluster (29.0s)\n";
    assert_eq!(terminal.tick(Duration::from_secs(32)), expected);
    assert_eq!(terminal.tick(Duration::from_secs(61)), "");
    assert_ne!(terminal.tick(Duration::from_secs(62)), "");
}

#[test]
fn verbosity_adds_commands_and_takes_progress_away() {
    let verbose = all(&Script::passing(&["gateway"]), Mode::Lines, Verbosity::Verbose, None);
    assert!(
        verbose.contains("$ E2E_RUN=0199c3f2-a7b4-7c3d-8e5f-0123456789ab cargo build --profile image -p datastorage\n")
    );
    assert!(verbose.contains("proof     datastorage: place → container after the tests holds\n"), "{verbose}");
    assert!(verbose.contains("audit::event_0_is_stored passed (150ms)\n"), "{verbose}");
    let quiet = all(&Script::passing(&SERVICES), Mode::Live, Verbosity::Quiet, Some(80));
    assert_eq!(quiet, "32 passed, 0 failed, 4 skipped\n");
    let quiet = all(&Script::mixed(), Mode::Lines, Verbosity::Quiet, Some(80));
    assert!(quiet.starts_with("\nsignalprocessing: FAILED\n") && quiet.contains("\nremediationorchestrator: ERROR\n"));
}

#[test]
fn colour_adds_nothing_but_colour() {
    let records = Script::mixed().records();
    let show = |color| {
        let config =
            Config { mode: Mode::Lines, verbosity: Verbosity::Normal, color, width: None, run_dir: "runs/0199".into() };
        let mut terminal = Terminal::new(config);
        let text: String = records.iter().map(|record| terminal.on(record)).collect();
        text + &terminal.finish(&Summary::of(&records))
    };
    assert!(show(true).contains("\u{1b}[1;31mERROR\u{1b}[0m"));
    assert_eq!(crate::text::plain(&show(true)), show(false));
}

#[test]
fn one_cause_of_all_pipelines_is_told_once() {
    let mut script = Script::default();
    script.start(&SERVICES);
    script.begin(2, 900, None, Phase::Build, "build the programs of all images");
    let (command, line) = (901, "cargo build -p datastorage".to_owned());
    script.push(2, Event::CommandStarted { command, step: Some(900), line, pid: 7 });
    let status = "exit status: 101".to_owned();
    script.push(9, Event::CommandEnded { command, status, ok: false, leaked: false });
    script.end(9, 900, StepOutcome::Failed, Some("cargo build failed"), 0);
    for service in SERVICES.map(str::to_owned) {
        let (cause, evidence) = ("`cargo build` failed".to_owned(), vec!["error[E0308]: mismatched types".to_owned()]);
        script.push(
            10,
            Event::Diagnosis { service: Some(service.clone()), cause: cause.clone(), evidence, hint: None, log: None },
        );
        script.push(10, Event::PipelineEnded { service, verdict: Verdict::Error, cause: Some(cause) });
    }
    script.push(11, Event::RunEnded { verdict: Verdict::Error, exit_code: 3, clean: true, peak_memory: None });
    let text = all(&script, Mode::Lines, Verbosity::Quiet, None);
    let expected = "
gateway, signalprocessing, remediationorchestrator, workflowexecution: ERROR
  cause    `cargo build` failed
  step     build the programs of all images
  command  cargo build -p datastorage
  ended    exit status: 101
    | error[E0308]: mismatched types
0 passed, 0 failed, 0 skipped
";
    assert_eq!(text, expected);
}

#[test]
fn what_is_left_is_named_with_the_way_to_remove_it() {
    let mut script = Script::passing(&["gateway"]);
    script.change(|event| match event {
        Event::Removed { service: None, error, .. } => *error = Some("busy".to_owned()),
        Event::RunEnded { clean, .. } => *clean = false,
        _ => {}
    });
    let text = all(&script, Mode::Lines, Verbosity::Quiet, None);
    assert!(text.contains("NOT removed: directory `work`: busy\n"), "{text}");
    let remedy =
        "left     1 thing could not be removed: `cargo xtask clean 0199c3f2-a7b4-7c3d-8e5f-0123456789ab` removes it\n";
    assert!(text.contains(remedy), "{text}");
}
