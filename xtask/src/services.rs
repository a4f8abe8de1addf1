//! The services that can be named.

use std::fmt;

use pipeline::Pipeline;

use crate::flags::{Database, DatabaseFlags};

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

/// The pipelines with the database that was asked for.
///
/// # Errors
/// If an image is named for a database that is not used, or is none.
pub(crate) fn with_database(pipelines: Vec<Pipeline>, flags: &DatabaseFlags) -> anyhow::Result<Vec<Pipeline>> {
    let image = flags.postgres_image.as_deref();
    match (flags.database, image) {
        (Database::Sqlite, None) => return Ok(pipelines),
        (Database::Sqlite, Some(_)) => {
            let what = "`--postgres-image` says which PostgreSQL, and none is used: add `--database postgres`, or leave it out";
            return Err(Usage(what.to_owned()).into());
        }
        (Database::Postgres, _) => {}
    }
    let image = image.unwrap_or(datastorage_image::POSTGRES_IMAGE);
    let pipelines = pipelines.into_iter().map(|pipeline| datastorage_image::on_postgres(pipeline, image));
    // What was typed is checked here, before anything is made.
    let check =
        |pipeline: Pipeline| pipeline.validate().map(|()| pipeline).map_err(|error| Usage(error.to_string()).into());
    pipelines.map(check).collect()
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

    #[test]
    fn every_datastorage_gets_the_database_that_was_asked_for() {
        let flags =
            |database, image: Option<&str>| DatabaseFlags { database, postgres_image: image.map(str::to_owned) };
        let ask = |database, image| with_database(all(), &flags(database, image)).map_err(|error| error.to_string());
        for pipeline in ask(Database::Postgres, None).unwrap() {
            let servers = pipeline.workloads().iter().filter(|workload| workload.name() == datastorage_image::POSTGRES);
            assert_eq!(servers.count(), 1, "{}", pipeline.service());
        }
        assert!(ask(Database::Sqlite, Some("a:1")).unwrap_err().contains("add `--database postgres`"));
        assert!(ask(Database::Postgres, Some("a b")).unwrap_err().contains("`a b`, of which workload `postgres`"));
    }
}
