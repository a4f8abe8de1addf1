//! `cargo xtask e2e --plan`: what would be done.

use pipeline::Pipeline;
use pipeline::plan::plan;

/// The plan as text or JSON.
pub(crate) fn text(pipelines: &[Pipeline], platform: &str, json: bool) -> anyhow::Result<String> {
    let steps = plan(pipelines);
    if json {
        return Ok(serde_json::to_string_pretty(&steps)? + "\n");
    }
    let mut text =
        format!("on `{platform}`; a step starts as soon as what it waits for exists, all pipelines at once\n");
    let mut current = None;
    for step in &steps {
        let service = step.service.as_deref().unwrap_or("the run");
        if current != Some(service) {
            text.push_str(&format!("\n{service}\n"));
            current = Some(service);
        }
        let after = if step.after.is_empty() { String::new() } else { format!("  ← {}", step.after.join(", ")) };
        text.push_str(&format!("  {} {:8} {}{after}\n", step.phase.number(), step.phase.name(), step.name));
    }
    Ok(text)
}
