//! `cargo xtask clean`.

use pipeline::clean::clean;
use pipeline::rundir::Home;

use crate::console::say;
use crate::flags::Clean;
use crate::paths;

pub(crate) fn run(flags: &Clean) -> anyhow::Result<u8> {
    let home = Home::of_workspace(&paths::workspace()?);
    let all = clean(&home, flags.run.as_deref())?;
    let mut faults = 0;
    for run in &all {
        if let Some(why) = &run.skipped {
            say(&format!("run {}: not touched: {why}\n", run.run));
        }
        for what in &run.removed {
            say(&format!("run {}: removed {what}\n", run.run));
        }
        for fault in &run.faults {
            say(&format!("run {}: still there: {fault}\n", run.run));
        }
        faults += run.faults.len();
    }
    if all.is_empty() {
        say("nothing was left behind\n");
    }
    Ok(if faults == 0 { 0 } else { crate::COULD_NOT_RUN })
}
