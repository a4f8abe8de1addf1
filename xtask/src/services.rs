//! The services that can be named.

use std::fmt;

use pipeline::Pipeline;

/// Every pipeline, in alphabetical order. The list is made from this package's dependencies on `e2e-*` crates: see `build.rs`.
pub(crate) fn all() -> Vec<Pipeline> {
    let mut pipelines = include!(concat!(env!("OUT_DIR"), "/pipelines.rs"));
    pipelines.sort_by(|a: &Pipeline, b| a.service().cmp(b.service()));
    pipelines
}

/// What was typed cannot be done: the exit code is 2, and the text says what can.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The pipelines of these names, each once, in the order of [`all`].
///
/// # Errors
/// If a name is unknown or none is given; the error lists the known ones and the nearest.
pub(crate) fn select(names: &[String], every: bool) -> anyhow::Result<Vec<Pipeline>> {
    let known = all();
    let list = || known.iter().map(Pipeline::service).collect::<Vec<_>>().join(", ");
    if names.is_empty() && !every {
        let what = format!("name a service, several, or `--all`; the services are: {}", list());
        return Err(Usage(what).into());
    }
    for name in names {
        if known.iter().all(|pipeline| pipeline.service() != name) {
            let nearest = known.iter().map(Pipeline::service).max_by(|a, b| {
                let likeness = |service| strsim::jaro_winkler(service, name);
                likeness(a).total_cmp(&likeness(b))
            });
            let hint = nearest
                .filter(|service| strsim::jaro_winkler(service, name) > 0.7)
                .map_or(String::new(), |service| format!("; did you mean `{service}`?"));
            return Err(Usage(format!("there is no service `{name}`{hint} (the services are: {})", list())).into());
        }
    }
    Ok(known.into_iter().filter(|pipeline| every || names.iter().any(|name| name == pipeline.service())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_service_gets_the_nearest_and_the_list() {
        let error = select(&["gatewey".to_owned()], false).unwrap_err().to_string();
        assert!(error.contains("did you mean `gateway`?"), "{error}");
        assert!(error.contains("gateway, remediationorchestrator, signalprocessing, workflowexecution"), "{error}");
        let far = select(&["zzz".to_owned()], false).unwrap_err().to_string();
        assert!(!far.contains("did you mean"), "{far}");
    }

    #[test]
    fn a_service_named_twice_runs_once() {
        let twice = ["gateway".to_owned(), "gateway".to_owned()];
        assert_eq!(select(&twice, false).unwrap().len(), 1);
        assert_eq!(select(&[], true).unwrap().len(), all().len());
    }

    #[test]
    fn every_pipeline_is_valid() {
        for pipeline in all() {
            pipeline.validate().unwrap();
        }
    }
}
