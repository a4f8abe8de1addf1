//! What one run of cargo made, and whether it can stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::inputs::{ProgramInputs, files_of};
use super::messages::Messages;
use super::record::{ProgramRecord, Record};
use crate::Digest;
use crate::fingerprint::{Input, Roots, State};

/// What an attempt made.
pub(super) struct Made {
    pub(super) programs: BTreeMap<String, ProgramInputs>,
    pub(super) copies: BTreeMap<String, (PathBuf, Digest)>,
    pub(super) states: BTreeMap<Input, State>,
    pub(super) head: Option<String>,
}

impl Made {
    /// Inputs that are not what they were before cargo ran. The first time also those that may have been something else in
    /// between: their status changed, or they were not known before and changed since. Only the first time, since build
    /// scripts exist that write the same file each time they run.
    pub(super) fn moved(&self, before: &BTreeMap<Input, State>, started: i128, by_time: bool) -> BTreeSet<Input> {
        let moved = |input: &Input, now: &State| match before.get(input) {
            Some(state) => state.digest != now.digest || by_time && state.changed != now.changed,
            None => by_time && now.changed.is_some_and(|changed| changed >= started),
        };
        self.states.iter().filter(|(input, now)| moved(input, now)).map(|(input, _)| input.clone()).collect()
    }

    /// Why something that cargo calls fresh is not.
    pub(super) fn stale(
        &self,
        roots: &Roots,
        record: &Record,
        messages: &Messages,
        touched: &BTreeSet<String>,
        moved: &BTreeSet<Input>,
    ) -> anyhow::Result<Option<String>> {
        let touched: BTreeSet<PathBuf> = touched.iter().map(|name| roots.path(name)).collect();
        for artifact in messages.artifacts.iter().filter(|artifact| artifact.fresh && !touched.is_empty()) {
            for dep_info in artifact.rustc_dep_infos().iter().filter(|path| path.is_file()) {
                if let Some(file) = files_of(&roots.workspace, dep_info)?.intersection(&touched).next() {
                    let file = roots.name(file)?;
                    return Ok(Some(format!("cargo kept `{}` although `{file}` changed", artifact.target.name)));
                }
            }
        }
        for (package, inputs) in &self.programs {
            if messages.program(package).is_some_and(|artifact| !artifact.fresh) {
                continue;
            }
            let Some(known) = record.programs.get(package) else {
                return Ok(Some(format!("cargo kept a `{package}` that nothing is known of")));
            };
            if known.binary != self.copies.get(package).map(|(_, digest)| *digest) {
                return Ok(Some(format!("`{package}` in the target directory is not the file that was built")));
            }
            // What moved after cargo ran says nothing of what cargo did.
            let judged = inputs.watched.difference(moved).cloned().collect();
            let now: BTreeMap<String, Digest> = digests(&judged, &self.states).collect();
            let differs = now.iter().find(|(name, digest)| known.inputs.get(*name) != Some(digest));
            if let Some((name, _)) = differs {
                return Ok(Some(format!("cargo kept `{package}` although `{name}` changed")));
            }
        }
        Ok(None)
    }
}

impl Record {
    /// Takes in what a build made. `before` has what was made visible to cargo, also for programs that were not built.
    pub(super) fn update(&mut self, made: &Made, before: &BTreeMap<Input, State>) {
        for (package, inputs) in &made.programs {
            let binary = made.copies.get(package).map(|(_, digest)| *digest);
            let inputs = digests(&inputs.watched, &made.states).collect();
            self.programs.insert(package.clone(), ProgramRecord { binary, inputs });
        }
        let names = self.programs.values().flat_map(|program| program.inputs.keys());
        let by_time = names.map(|name| Input::parse(name)).filter(|i| matches!(i, Input::Path(_) | Input::Package(_)));
        let inputs: BTreeSet<Input> = by_time.collect();
        self.inputs = digests(&inputs, before).collect();
        self.unsure.clear();
        self.head.clone_from(&made.head);
    }

    /// Keeps in mind that artefacts may be of another content than is recorded: of that of inputs that moved, and of that of
    /// sources that were compiled since.
    pub(super) fn doubt(&mut self, moved: &BTreeSet<Input>, compiled: Vec<String>) {
        for name in moved.iter().map(Input::to_string) {
            for program in self.programs.values_mut() {
                program.inputs.remove(&name);
            }
            self.unsure.insert(name);
        }
        self.unsure.extend(compiled);
    }
}

pub(super) fn digests(
    inputs: &BTreeSet<Input>,
    states: &BTreeMap<Input, State>,
) -> impl Iterator<Item = (String, Digest)> {
    inputs.iter().filter_map(|input| Some((input.to_string(), states.get(input)?.digest)))
}

pub(super) fn differing(recorded: &BTreeMap<String, Digest>, now: &BTreeMap<Input, State>) -> Vec<Input> {
    let differs = |(input, state): &(&Input, &State)| recorded.get(&input.to_string()) != Some(&state.digest);
    now.iter().filter(differs).map(|(input, _)| input.clone()).collect()
}
