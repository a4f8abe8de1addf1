//! What the record tells of one service, sorted for the rules.

use std::collections::HashMap;

use event::{Event, Link, LinkVerdict, Moment, Phase, Record};
use image::Digest;

/// A tag, a built, a loaded or a deployed image.
pub(super) struct Named<'a> {
    pub(super) seq: u64,
    pub(super) image: &'a str,
    pub(super) reference: &'a str,
    /// Digest of the configuration, for built and loaded images.
    pub(super) config: Option<Digest>,
}

/// What was built, beyond its name.
pub(super) struct Built {
    pub(super) executable: Option<Digest>,
    pub(super) fingerprint: Digest,
}

/// A look at a link of the proof.
pub(super) struct Proof<'a> {
    pub(super) seq: u64,
    pub(super) workload: &'a str,
    pub(super) link: Link,
    pub(super) moment: Moment,
    pub(super) verdict: LinkVerdict,
    pub(super) expected: &'a str,
    pub(super) found: &'a str,
}

/// A command that this service or the run executed, or that names an image of this service.
pub(super) struct Command<'a> {
    pub(super) seq: u64,
    pub(super) line: &'a str,
    pub(super) ended: bool,
}

pub(super) struct Facts<'a> {
    pub(super) run: &'a str,
    pub(super) service: &'a str,
    /// The images that the service needs, as the run announced them.
    pub(super) images: Vec<&'a str>,
    pub(super) tags: Vec<Named<'a>>,
    pub(super) built: Vec<Named<'a>>,
    pub(super) details: HashMap<&'a str, Built>,
    pub(super) loaded: Vec<Named<'a>>,
    pub(super) deployed: Vec<Named<'a>>,
    /// References in events of other services: number, service, reference.
    pub(super) elsewhere: Vec<(u64, &'a str, &'a str)>,
    /// Hashed sources: number, image, fingerprint.
    pub(super) fingerprints: Vec<(u64, &'a str, Digest)>,
    pub(super) proofs: Vec<Proof<'a>>,
    pub(super) commands: Vec<Command<'a>>,
    /// Start of the first step that builds for this service.
    pub(super) build_began: Option<u64>,
    /// First and last end of a test.
    pub(super) tests: Option<(u64, u64)>,
    /// What was removed, or why not.
    pub(super) removed: Vec<(u64, &'a str, Option<&'a str>)>,
    /// The end of the run, and whether it says that nothing is left.
    pub(super) end: Option<(u64, bool)>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(records: &'a [Record], service: &'a str) -> Facts<'a> {
        let mut facts = Facts {
            run: records.first().map_or("", |first| &first.run),
            service,
            images: Vec::new(),
            tags: Vec::new(),
            built: Vec::new(),
            details: HashMap::new(),
            loaded: Vec::new(),
            deployed: Vec::new(),
            elsewhere: Vec::new(),
            fingerprints: Vec::new(),
            proofs: Vec::new(),
            commands: Vec::new(),
            build_began: None,
            tests: None,
            removed: Vec::new(),
            end: None,
        };
        for record in records {
            facts.take(record.seq, &record.event);
        }
        facts.take_commands(records);
        facts
    }

    /// All references that were made for this service.
    pub(super) fn references(&self) -> Vec<&'a str> {
        self.tags.iter().map(|tag| tag.reference).collect()
    }

    /// The tag of an image.
    pub(super) fn tag(&self, image: &str) -> Option<&Named<'a>> {
        self.tags.iter().find(|tag| tag.image == image)
    }

    fn is_mine(&self, service: Option<&str>) -> bool {
        service.is_none_or(|of| of == self.service)
    }

    fn take(&mut self, seq: u64, event: &'a Event) {
        match event {
            Event::RunStarted { services, workloads, .. } => {
                let at = services.iter().position(|of| of == self.service);
                let own = at.and_then(|at| workloads.get(at));
                self.images = own.into_iter().flatten().map(String::as_str).collect();
            }
            Event::TagMade { service, image, reference } => {
                let named = Named { seq, image, reference, config: None };
                self.name(service, named, |facts| &mut facts.tags);
            }
            Event::Built {
                service, image, reference, config_digest, executable_digest, source_fingerprint, ..
            } => {
                if service == self.service {
                    let built = Built { executable: *executable_digest, fingerprint: *source_fingerprint };
                    self.details.insert(image, built);
                }
                let named = Named { seq, image, reference, config: Some(*config_digest) };
                self.name(service, named, |facts| &mut facts.built);
            }
            Event::Loaded { service, image, reference, config_digest, .. } => {
                let named = Named { seq, image, reference, config: Some(*config_digest) };
                self.name(service, named, |facts| &mut facts.loaded);
            }
            Event::Deployed { service, workload, reference, .. } => {
                let named = Named { seq, image: workload, reference, config: None };
                self.name(service, named, |facts| &mut facts.deployed);
            }
            Event::StepStarted { service, phase: Phase::Build, .. } if self.is_mine(service.as_deref()) => {
                self.build_began.get_or_insert(seq);
            }
            Event::Fingerprinted { image, fingerprint, .. } => self.fingerprints.push((seq, image, *fingerprint)),
            Event::Proof { service, workload, link, moment, verdict, expected, found } if service == self.service => {
                let (link, moment, verdict) = (*link, *moment, *verdict);
                self.proofs.push(Proof { seq, workload, link, moment, verdict, expected, found });
            }
            Event::Test { service, .. } if service == self.service => {
                let first = self.tests.map_or(seq, |(first, _)| first);
                self.tests = Some((first, seq));
            }
            Event::Removed { service, what, error } if self.is_mine(service.as_deref()) => {
                self.removed.push((seq, what, error.as_deref()));
            }
            Event::RunEnded { clean, .. } => self.end = Some((seq, *clean)),
            _ => {}
        }
    }

    fn name(
        &mut self,
        service: &'a str,
        named: Named<'a>,
        list: impl for<'f> FnOnce(&'f mut Facts<'a>) -> &'f mut Vec<Named<'a>>,
    ) {
        if service == self.service {
            list(self).push(named);
        } else {
            self.elsewhere.push((named.seq, service, named.reference));
        }
    }

    /// In a second pass, when all references are known.
    fn take_commands(&mut self, records: &'a [Record]) {
        let (mut services, mut ended) = (HashMap::new(), HashMap::new());
        for record in records {
            match &record.event {
                Event::StepStarted { step, service, .. } => drop(services.insert(*step, service.as_deref())),
                Event::CommandEnded { command, .. } => drop(ended.insert(*command, ())),
                _ => {}
            }
        }
        let references = self.references();
        for record in records {
            let Event::CommandStarted { command, step, line, .. } = &record.event else { continue };
            let service = step.and_then(|step| services.get(&step).copied().flatten());
            if self.is_mine(service) || references.iter().any(|reference| line.contains(reference)) {
                self.commands.push(Command { seq: record.seq, line, ended: ended.contains_key(command) });
            }
        }
    }
}
