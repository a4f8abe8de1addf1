//! The critical path: the chain of steps that decided how long a pipeline took.
//!
//! The record has no edges, since a step starts when the values that it takes exist; but for that very reason what a step
//! waited for is the step that ended last before it. So the path is followed from the end to the start.

use event::Phase;

use crate::model::Step;

/// A step that ends this much after another began can still have started it: the two are recorded by different threads.
const SLACK_US: u64 = 500;

/// The steps that decided how long the pipeline took, first to last.
pub(crate) fn critical<'a>(steps: &'a [Step], service: &str) -> Vec<&'a Step> {
    let ended = || steps.iter().filter_map(|step| Some((step, step.end_us?)));
    let own = |step: &Step| step.service.as_deref() == Some(service);
    let serves = |step: &Step| own(step) || step.service.is_none();
    let mut path = Vec::new();
    let mut next = ended().filter(|(step, _)| own(step)).max_by_key(|(_, end)| *end).map(|(step, _)| step);
    while let Some(step) = next {
        path.push(step);
        let limited = step.waited_us > 0 && matches!(step.phase, Phase::Build | Phase::Cluster | Phase::Load);
        let begin = step.start_us + if limited { step.waited_us } else { 0 };
        next = ended()
            .filter(|(before, end)| {
                let freed_permit = limited && *end >= step.start_us && before.phase <= Phase::Load;
                // Images are built and loaded side by side: a step of another image is not what this one waited for.
                let beside =
                    own(before) && before.phase == step.phase && matches!(step.phase, Phase::Build | Phase::Load);
                // Strictly earlier starts, so that the walk ends.
                before.start_us < step.start_us
                    && *end <= begin + SLACK_US
                    && before.phase <= step.phase
                    && ((serves(before) && !beside) || freed_permit)
            })
            .max_by_key(|(_, end)| *end)
            .map(|(before, _)| before);
    }
    path.reverse();
    path
}
