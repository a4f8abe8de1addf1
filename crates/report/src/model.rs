//! What happened in a run, folded from its events: the data behind every report.

use event::{Event, Phase, Record, StepOutcome, Verdict};

/// A run, as far as its events tell it.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Id of the run.
    pub run: String,
    /// The platform.
    pub platform: String,
    /// The command line.
    pub command: String,
    /// Commit of the checkout.
    pub revision: Option<String>,
    /// Whether the checkout differed from it.
    pub dirty: bool,
    /// When it began: UTC, RFC 3339.
    pub started: String,
    /// Time of the newest event, in microseconds since the start.
    pub last_us: u64,
    /// How the run ended; `Error` as long as it has not.
    pub verdict: Verdict,
    /// The exit code of the tool.
    pub exit_code: u8,
    /// Whether the last event was seen.
    pub ended: bool,
    /// Whether everything that the run made is gone.
    pub clean: bool,
    /// What could not be removed, and why.
    pub left: Vec<String>,
    /// All steps, in the order of their start.
    pub steps: Vec<Step>,
    /// The pipelines, in the order of the command line.
    pub pipelines: Vec<Pipeline>,
    /// Why the run as a whole stopped.
    pub diagnosis: Option<Diagnosis>,
    /// Number of retries of transient faults.
    pub retries: usize,
    /// Commands under way: number, step, line.
    commands: Vec<(u64, Option<u64>, String)>,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number in the run.
    pub id: u64,
    /// Its pipeline; none if it belongs to the run and serves them all.
    pub service: Option<String>,
    /// Its phase.
    pub phase: Phase,
    /// Its name.
    pub name: String,
    /// When it began, in microseconds since the start of the run.
    pub start_us: u64,
    /// When it ended; none while it goes on.
    pub end_us: Option<u64>,
    /// How much of that time it waited for a permit.
    pub waited_us: u64,
    /// How it ended.
    pub outcome: Option<StepOutcome>,
    /// Why it did not end well.
    pub cause: Option<String>,
    /// The last of its commands that failed.
    pub failed_command: Option<Command>,
}

/// A command that failed.
#[derive(Clone, Debug)]
pub struct Command {
    /// What was run, as a person could paste it.
    pub line: String,
    /// How it ended.
    pub status: String,
}

/// A pipeline.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name.
    pub service: String,
    /// How it ended; `Error` as long as it has not.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub cause: Option<String>,
    /// When it ended.
    pub end_us: Option<u64>,
    /// Its images, in the order of their tags.
    pub images: Vec<Image>,
    /// Its tests, by name.
    pub tests: Vec<Test>,
    /// Why it stopped, with the evidence.
    pub diagnosis: Option<Diagnosis>,
}

/// An image of a pipeline.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// The reference that was made for it.
    pub reference: String,
    /// What was built under it; none if it was not.
    pub built: Option<Built>,
}

/// The digests of a built image.
#[derive(Clone, Debug)]
pub struct Built {
    /// Of its configuration.
    pub config_digest: String,
    /// Of its manifest.
    pub manifest_digest: String,
    /// Of the source that it was built from.
    pub source_fingerprint: String,
    /// Of its executable, where the builder can tell.
    pub executable_digest: Option<String>,
}

/// A test.
#[derive(Clone, Debug)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// What it printed, if it did not pass.
    pub output: Option<String>,
}

/// Why something stopped.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The cause in one sentence.
    pub cause: String,
    /// The last lines of the log concerned, or other evidence.
    pub evidence: Vec<String>,
    /// What to try.
    pub hint: Option<String>,
    /// The file with the whole log, relative to the directory of the run.
    pub log: Option<String>,
}

impl Default for Summary {
    fn default() -> Summary {
        Summary {
            run: String::new(),
            platform: String::new(),
            command: String::new(),
            revision: None,
            dirty: false,
            started: String::new(),
            last_us: 0,
            verdict: Verdict::Error,
            // The exit code of a run that failed by itself, which one without an end did.
            exit_code: 3,
            ended: false,
            clean: false,
            left: Vec::new(),
            steps: Vec::new(),
            pipelines: Vec::new(),
            diagnosis: None,
            retries: 0,
            commands: Vec::new(),
        }
    }
}

impl Summary {
    /// The summary of these events.
    pub fn of(records: &[Record]) -> Summary {
        let mut summary = Summary::default();
        records.iter().for_each(|record| summary.on(record));
        summary
    }

    /// Takes the next event.
    pub fn on(&mut self, record: &Record) {
        self.last_us = record.us;
        match &record.event {
            Event::RunStarted { platform, services, command, revision, dirty, .. } => {
                self.run.clone_from(&record.run);
                self.started.clone_from(&record.utc);
                self.platform.clone_from(platform);
                self.command.clone_from(command);
                self.revision.clone_from(revision);
                self.dirty = *dirty;
                self.pipelines = services.iter().map(|service| Pipeline::new(service)).collect();
            }
            Event::TagMade { service, image, reference } => {
                let image = Image { name: image.clone(), reference: reference.clone(), built: None };
                self.pipeline(service).images.push(image);
            }
            Event::StepStarted { step, service, phase, name } => self.steps.push(Step {
                id: *step,
                service: service.clone(),
                phase: *phase,
                name: name.clone(),
                start_us: record.us,
                end_us: None,
                waited_us: 0,
                outcome: None,
                cause: None,
                failed_command: None,
            }),
            Event::StepEnded { step, outcome, cause, waited_us } => {
                if let Some(step) = self.steps.iter_mut().rev().find(|known| known.id == *step) {
                    step.end_us = Some(record.us);
                    step.outcome = Some(*outcome);
                    step.cause.clone_from(cause);
                    // Several threads of a step may wait at once, so that their waits add up to more than its time.
                    step.waited_us = (*waited_us).min(record.us.saturating_sub(step.start_us));
                }
            }
            Event::CommandStarted { command, step, line, .. } => {
                self.commands.push((*command, *step, line.clone()));
            }
            Event::CommandEnded { command, status, ok, .. } => {
                let Some(at) = self.commands.iter().position(|(number, ..)| number == command) else { return };
                let (_, step, line) = self.commands.swap_remove(at);
                let step = self.steps.iter_mut().rev().find(|known| Some(known.id) == step);
                if let (false, Some(step)) = (*ok, step) {
                    step.failed_command = Some(Command { line, status: status.clone() });
                }
            }
            Event::Built {
                service,
                reference,
                manifest_digest,
                config_digest,
                executable_digest,
                source_fingerprint,
                ..
            } => {
                let image = self.pipeline(service).images.iter_mut().find(|image| image.reference == *reference);
                if let Some(image) = image {
                    image.built = Some(Built {
                        config_digest: config_digest.to_string(),
                        manifest_digest: manifest_digest.to_string(),
                        source_fingerprint: source_fingerprint.to_string(),
                        executable_digest: executable_digest.map(|digest| digest.to_string()),
                    });
                }
            }
            Event::Test { service, name, verdict, took_us, output } => {
                let test = Test { name: name.clone(), verdict: *verdict, took_us: *took_us, output: output.clone() };
                let tests = &mut self.pipeline(service).tests;
                // By name: the order in which parallel tests end differs from run to run.
                tests.insert(tests.partition_point(|other| other.name <= *name), test);
            }
            Event::Diagnosis { service, cause, evidence, hint, log } => {
                let diagnosis = Diagnosis {
                    cause: cause.clone(),
                    evidence: evidence.clone(),
                    hint: hint.clone(),
                    log: log.clone(),
                };
                match service {
                    Some(service) => self.pipeline(service).diagnosis = Some(diagnosis),
                    None => self.diagnosis = Some(diagnosis),
                }
            }
            Event::Removed { what, error: Some(error), .. } => self.left.push(format!("{what}: {error}")),
            Event::Retry { .. } => self.retries += 1,
            Event::PipelineEnded { service, verdict, cause } => {
                let pipeline = self.pipeline(service);
                pipeline.verdict = *verdict;
                pipeline.cause.clone_from(cause);
                pipeline.end_us = Some(record.us);
            }
            Event::RunEnded { verdict, exit_code, clean, .. } => {
                (self.verdict, self.exit_code, self.clean, self.ended) = (*verdict, *exit_code, *clean, true);
            }
            Event::Fingerprinted { .. }
            | Event::Loaded { .. }
            | Event::Deployed { .. }
            | Event::Endpoint { .. }
            | Event::Ready { .. }
            | Event::Proof { .. }
            | Event::Note { .. }
            | Event::Unknown
            | Event::Removed { error: None, .. } => {}
        }
    }

    fn pipeline(&mut self, service: &str) -> &mut Pipeline {
        let at = self.pipelines.iter().position(|pipeline| pipeline.service == service).unwrap_or_else(|| {
            self.pipelines.push(Pipeline::new(service));
            self.pipelines.len() - 1
        });
        &mut self.pipelines[at]
    }
}
