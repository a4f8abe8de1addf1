//! Records made by hand for the tests: a run as the engine writes it, and ways to spoil it.

use event::{Event, Link, LinkVerdict, Moment, Phase, Record, StepOutcome, Verdict};
use image::Digest;

pub(crate) const RUN: &str = "0199c3f2-a7b4-7c3d-8e5f-0123456789ab";
pub(crate) const SERVICES: [&str; 4] = ["gateway", "signalprocessing", "remediationorchestrator", "workflowexecution"];

/// Events with their times in milliseconds.
#[derive(Clone, Default)]
pub(crate) struct Script(pub(crate) Vec<(u64, Event)>);

pub(crate) fn reference(image: &str, service: &str) -> String {
    format!("localhost/{image}:{service}-{}0001", RUN.replace('-', ""))
}

pub(crate) fn digest(what: &str, of: &str) -> Digest {
    Digest::of(format!("{what} {of}"))
}

impl Script {
    /// A run of these services in which everything passes.
    pub(crate) fn passing(services: &[&str]) -> Script {
        let mut script = Script::default();
        script.start(services);
        for (at, service) in services.iter().enumerate() {
            script.tags(at as u64, service);
        }
        script.step(
            3,
            9210,
            900,
            None,
            Phase::Build,
            "build the programs of all images",
            "cargo build --profile image -p datastorage",
        );
        script.step(4, 11_400, 901, None, Phase::Build, "build the suites", "cargo test --no-run");
        for (at, service) in services.iter().enumerate() {
            script.pipeline(at as u64, service);
        }
        script.push(15_900, Event::Removed { service: None, what: "directory `work`".into(), error: None });
        script.push(15_950, Event::RunEnded { verdict: Verdict::Passed, exit_code: 0, clean: true, peak_memory: None });
        script.sorted()
    }

    pub(crate) fn start(&mut self, services: &[&str]) {
        self.push(
            0,
            Event::RunStarted {
                platform: "local".into(),
                services: services.iter().map(|s| (*s).to_owned()).collect(),
                command: "cargo xtask e2e --all".into(),
                revision: Some("4f2c9d1e8b7a65c3d2e1f0a9b8c7d6e5f4a3b2c1".into()),
                dirty: true,
                pid: 4711,
                workloads: services.iter().map(|s| vec!["datastorage".to_owned(), (*s).to_owned()]).collect(),
            },
        );
    }

    pub(crate) fn tags(&mut self, at: u64, service: &str) {
        self.begin(1, 100 * at, Some(service), Phase::Tag, "make the tags");
        for image in ["datastorage", service] {
            let (service, image, reference) = (service.to_owned(), image.to_owned(), reference(image, service));
            self.push(1, Event::TagMade { service, image, reference });
        }
        self.end(2, 100 * at, StepOutcome::Ok, None, 0);
    }

    fn pipeline(&mut self, at: u64, service: &str) {
        let (n, shift) = (100 * at, 137 * at);
        let of = Some(service);
        self.step(5, 9 + shift / 20, n + 1, of, Phase::Cluster, "prepare the place", "");
        for (i, image) in ["datastorage", service].into_iter().enumerate() {
            let i = i as u64;
            let start = 9212 + shift;
            let fingerprint = digest("source", image);
            let took_us = 9000;
            self.push(
                4,
                Event::Fingerprinted { image: image.into(), fingerprint, files: 40, made_visible: vec![], took_us },
            );
            self.begin(start, n + 2 + i, of, Phase::Build, &format!("assemble {image}"));
            self.push(start + 80, self.built(service, image));
            self.end(start + 82, n + 2 + i, StepOutcome::Ok, None, if at > 1 { 40_000 } else { 0 });
            self.begin(start + 83, n + 4 + i, of, Phase::Load, &format!("load {image}"));
            self.push(start + 120, self.loaded(service, image));
            self.end(start + 121, n + 4 + i, StepOutcome::Ok, None, 0);
        }
        let start = 9340 + shift;
        self.begin(start, n + 6, of, Phase::Deploy, "deploy and wait");
        for (i, workload) in ["datastorage", service].into_iter().enumerate() {
            let (service, name) = (service.to_owned(), workload.to_owned());
            let command = n + 50 + i as u64;
            let line = format!("E2E_RUN={RUN} API_TOKEN=*** '/run/{service}/{workload}/usr/bin/{workload}'");
            self.push(start + 5, Event::CommandStarted { command, step: Some(n + 6), line, pid: 5000 });
            let reference = reference(workload, &service);
            let instance = "pid 5000".to_owned();
            self.push(
                start + 6,
                Event::Deployed { service: service.clone(), workload: name.clone(), reference, instance },
            );
            let (port, url) = ("http".to_owned(), format!("http://127.0.0.1:{}", 40000 + n + i as u64));
            self.push(
                start + 400,
                Event::Ready { service: service.clone(), workload: name.clone(), waited_us: 394_000 },
            );
            self.push(start + 401, Event::Endpoint { service, workload: name, port, url });
        }
        self.end(start + 402, n + 6, StepOutcome::Ok, None, 0);
        self.begin(start + 403, n + 7, of, Phase::Deploy, "prove what runs");
        self.proofs(start + 410, service, Moment::BeforeTests, &Link::ALL);
        self.end(start + 420, n + 7, StepOutcome::Ok, None, 0);
        let start = 11_402 + shift;
        self.begin(start, n + 8, of, Phase::Test, "run the suite");
        for i in 0..9 {
            let name = format!("audit::event_{i}_is_stored");
            let took_us = 150_000 + 90_000 * i + 1000 * at;
            let verdict = if i == 8 { Verdict::Skipped } else { Verdict::Passed };
            let took_us = if i == 8 { 0 } else { took_us };
            self.push(
                start + 300 + 150 * i,
                Event::Test { service: service.into(), name, verdict, took_us, output: None },
            );
        }
        self.end(start + 1700, n + 8, StepOutcome::Ok, None, 0);
        self.begin(start + 1701, n + 9, of, Phase::Test, "prove that it still runs");
        self.proofs(start + 1702, service, Moment::AfterTests, &Link::ALL[3..]);
        self.end(start + 1706, n + 9, StepOutcome::Ok, None, 0);
        self.begin(start + 1707, n + 10, of, Phase::Teardown, "remove what the pipeline made");
        for i in 0..2 {
            let (command, status) = (n + 50 + i, "exit status: 0".to_owned());
            self.push(start + 1800, Event::CommandEnded { command, status, ok: true, leaked: false });
        }
        let what = format!("directory `work/{service}`");
        self.push(start + 1900, Event::Removed { service: Some(service.into()), what, error: None });
        self.end(start + 1901, n + 10, StepOutcome::Ok, None, 0);
        self.push(
            start + 1902,
            Event::PipelineEnded { service: service.into(), verdict: Verdict::Passed, cause: None },
        );
    }

    pub(crate) fn built(&self, service: &str, image: &str) -> Event {
        Event::Built {
            service: service.into(),
            image: image.into(),
            reference: reference(image, service),
            manifest_digest: digest("manifest", image),
            config_digest: digest("config", image),
            executable_digest: Some(digest("executable", image)),
            source_fingerprint: digest("source", image),
            layers: vec![],
        }
    }

    fn loaded(&self, service: &str, image: &str) -> Event {
        Event::Loaded {
            service: service.into(),
            image: image.into(),
            reference: reference(image, service),
            holder: "directory".into(),
            manifest_digest: Some(digest("manifest", image)),
            config_digest: digest("config", image),
            bytes_sent: 9_000_000,
            blobs_sent: 3,
            blobs_skipped: 0,
        }
    }

    fn proofs(&mut self, ms: u64, service: &str, moment: Moment, links: &[Link]) {
        for workload in ["datastorage", service] {
            for link in links {
                let value = match link {
                    Link::SourceToImage | Link::ImageToExecutable => digest("source", workload).to_string(),
                    Link::ImageToPlace => digest("config", workload).to_string(),
                    Link::PlaceToContainer => "device 65024 inode 77".to_owned(),
                    Link::ContainerToProcess => digest("executable", workload).to_string(),
                    Link::ProcessToEndpoint => format!("fingerprint {} instance 5f1e", digest("source", workload)),
                };
                let (expected, found) = (value.clone(), value);
                let (service, workload, link) = (service.to_owned(), workload.to_owned(), *link);
                let verdict = LinkVerdict::Holds;
                self.push(ms, Event::Proof { service, workload, link, moment, verdict, expected, found });
            }
        }
    }

    /// A whole step with one command.
    #[expect(clippy::too_many_arguments, reason = "a line of a table reads best as a line")]
    fn step(&mut self, from: u64, to: u64, step: u64, service: Option<&str>, phase: Phase, name: &str, command: &str) {
        self.begin(from, step, service, phase, name);
        if !command.is_empty() {
            let (number, line) = (step + 5000, format!("E2E_RUN={RUN} {command}"));
            self.push(from, Event::CommandStarted { command: number, step: Some(step), line, pid: 4800 });
            let status = "exit status: 0".to_owned();
            self.push(to, Event::CommandEnded { command: number, status, ok: true, leaked: false });
        }
        self.end(to, step, StepOutcome::Ok, None, 0);
    }

    pub(crate) fn begin(&mut self, ms: u64, step: u64, service: Option<&str>, phase: Phase, name: &str) {
        let (service, name) = (service.map(str::to_owned), name.to_owned());
        self.push(ms, Event::StepStarted { step, service, phase, name });
    }

    pub(crate) fn end(&mut self, ms: u64, step: u64, outcome: StepOutcome, cause: Option<&str>, waited_us: u64) {
        self.push(ms, Event::StepEnded { step, outcome, cause: cause.map(str::to_owned), waited_us });
    }

    pub(crate) fn push(&mut self, ms: u64, event: Event) {
        self.0.push((ms, event));
    }

    /// In the order of time; events of the same time stay as they are.
    pub(crate) fn sorted(mut self) -> Script {
        self.0.sort_by_key(|(ms, _)| *ms);
        self
    }

    /// Puts an event before the first one that matches.
    pub(crate) fn insert_before(&mut self, matches: impl Fn(&Event) -> bool, event: Event) {
        let at = self.0.iter().position(|(_, event)| matches(event)).expect("an event to insert before");
        self.0.insert(at, (self.0[at].0, event));
    }

    /// Changes every event that it likes.
    pub(crate) fn change(&mut self, change: impl Fn(&mut Event)) {
        self.0.iter_mut().for_each(|(_, event)| change(event));
    }

    /// Takes out every event that matches.
    pub(crate) fn remove(&mut self, matches: impl Fn(&Event) -> bool) {
        self.0.retain(|(_, event)| !matches(event));
    }

    /// The file that the recorder would write.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut prev = Digest::of("");
        for (seq, (ms, event)) in self.0.iter().enumerate() {
            let record = Record {
                v: 1,
                run: RUN.into(),
                seq: seq as u64,
                utc: "2025-11-24T10:37:00.000Z".into(),
                us: ms * 1000,
                prev,
                event: event.clone(),
            };
            let line = serde_json::to_vec(&record).expect("a record is JSON");
            prev = Digest::of(&line);
            file.extend(line);
            file.push(b'\n');
        }
        file
    }

    /// What a reader of the file gets.
    pub(crate) fn records(&self) -> Vec<Record> {
        let file = self.file();
        let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a record")).collect()
    }

    /// A run of four in which one passes, one has a failing test, one cannot be deployed and one is interrupted.
    pub(crate) fn mixed() -> Script {
        let mut script = Script::passing(&SERVICES);
        script.fail_test("signalprocessing", "audit::event_3_is_stored", PANIC);
        script.change(|event| match event {
            Event::PipelineEnded { service, verdict, cause } if service == "signalprocessing" => {
                (*verdict, *cause) = (Verdict::Failed, Some("a test failed: audit::event_3_is_stored".to_owned()));
            }
            Event::RunEnded { verdict, exit_code, .. } => (*verdict, *exit_code) = (Verdict::Error, 3),
            _ => {}
        });
        script.stop_at_deploy("remediationorchestrator");
        script.interrupt("workflowexecution");
        script
    }

    pub(crate) fn fail_test(&mut self, of: &str, test: &str, text: &str) {
        self.change(|event| match event {
            Event::Test { service, name, verdict, output, .. } if service == of && name == test => {
                (*verdict, *output) = (Verdict::Failed, Some(text.to_owned()));
            }
            _ => {}
        });
    }

    /// The service ends by itself while it is waited for: nothing comes after that but the teardown.
    fn stop_at_deploy(&mut self, of: &str) {
        let cause = format!("`{of}` ended by itself: exit status: 2");
        let at = SERVICES.iter().position(|service| *service == of).expect("a service") as u64;
        self.remove(|event| is_after_load(event, of, 100 * at));
        let end = self.0.iter().position(|(_, e)| matches!(e, Event::PipelineEnded { service, .. } if service == of));
        let end = end.expect("an end of the pipeline");
        let (command, line) = (100 * at + 51, format!("E2E_RUN={RUN} API_TOKEN=*** /run/{of}/usr/bin/{of}"));
        let status = "exit status: 2".to_owned();
        let diagnosis = Event::Diagnosis {
            service: Some(of.to_owned()),
            cause: cause.clone(),
            evidence: vec!["reading RULES_FILE".to_owned(), "\u{1b}[31merror\u{1b}[0m: no such file".to_owned()],
            hint: Some("its last lines above say why".to_owned()),
            log: Some(format!("logs/{of}/{of}.log")),
        };
        let step = 100 * at + 6;
        self.0[end].1 =
            Event::PipelineEnded { service: of.to_owned(), verdict: Verdict::Error, cause: Some(cause.clone()) };
        self.0[end].0 = 9950;
        let outcome = StepOutcome::Failed;
        self.push(9800, Event::CommandStarted { command, step: Some(step), line, pid: 5001 });
        self.push(9900, Event::CommandEnded { command, status, ok: false, leaked: false });
        self.push(9901, Event::StepEnded { step, outcome, cause: Some(cause), waited_us: 0 });
        self.push(9940, diagnosis);
        self.0.sort_by_key(|(ms, _)| *ms);
    }

    fn interrupt(&mut self, of: &str) {
        self.change(|event| match event {
            Event::PipelineEnded { service, verdict, cause } if service == of => {
                (*verdict, *cause) = (Verdict::Interrupted, Some("cancelled by SIGINT".to_owned()));
            }
            Event::StepEnded { step: 308, outcome, cause, .. } => {
                (*outcome, *cause) = (StepOutcome::Cancelled, Some("cancelled by SIGINT".to_owned()));
            }
            _ => {}
        });
        self.remove(|event| matches!(event, Event::Test { service, name, .. } if service == of && name > &"audit::event_4".into()));
    }
}

fn is_after_load(event: &Event, of: &str, n: u64) -> bool {
    match event {
        Event::Ready { service, .. }
        | Event::Endpoint { service, .. }
        | Event::Proof { service, .. }
        | Event::Test { service, .. }
        | Event::Deployed { service, .. } => service == of,
        Event::StepStarted { step, .. } => (n + 7..n + 10).contains(step),
        Event::StepEnded { step, .. } => (n + 6..n + 10).contains(step),
        Event::CommandStarted { command, .. } | Event::CommandEnded { command, .. } => {
            (n + 50..n + 52).contains(command)
        }
        _ => false,
    }
}

pub(crate) const PANIC: &str = "running 1 test\n\
\n\
thread 'audit::event_3_is_stored' (812) panicked at crates/e2e-signalprocessing/tests/suite.rs:88:5:\n\
the event \u{1b}[1m<created>\u{1b}[0m & \"its\" ]]> parent\u{0} never came: 3 of 4 after 2 s \u{fffe}\n\
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
::error::not ours\n\
test result: FAILED. 0 passed; 1 failed; 0 ignored";
