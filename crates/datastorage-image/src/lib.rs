//! DataStorage, as every pipeline uses it: one workload that each builds, loads and deploys from an image of its own.
//!
//! This is the only place that says how DataStorage is packed and started, and with which database. A pipeline that wants it adds
//! [`workload`] and points its service at it with [`for_client`]; whoever runs pipelines chooses the database, with
//! [`on_postgres`], and no pipeline can forget to heed it.

use pipeline::{Pipeline, Value, Workload, address, data, endpoint, secret};

/// The name of the workload and of its image.
pub const NAME: &str = "datastorage";

/// The secret that is DataStorage's bearer token in a run.
pub const TOKEN: &str = "datastorage-token";

/// The name of the workload that is DataStorage's PostgreSQL.
pub const POSTGRES: &str = "postgres";

/// The image of PostgreSQL unless another one is asked for: the official one, with the digest of its index for all processors.
pub const POSTGRES_IMAGE: &str =
    "docker.io/library/postgres:17.6@sha256:00bc86618629af00d2937fdc5a5d63db3ff8450acf52f0636ec813c7f4902929";

/// User, and database, of DataStorage in PostgreSQL.
const DATABASE: &str = "datastorage";

/// The secret that is the password of DataStorage's user in PostgreSQL.
const PASSWORD: &str = "postgres-password";

/// The number of the user `postgres` in the official image (and in those that keep to its contract).
const POSTGRES_USER: u32 = 999;

/// DataStorage on SQLite, in a data directory that is empty at the start of every run.
pub fn workload() -> Workload {
    Workload::cargo(NAME)
        .port("http", 8080)
        .env("API_TOKEN", secret(TOKEN))
        .env("DATABASE_URL", Value::from("sqlite://").then(data("/datastorage.db")))
        .data()
}

/// Tells a workload where the DataStorage of its pipeline is and how to speak to it.
#[must_use]
pub fn for_client(client: Workload) -> Workload {
    client.env("DATASTORAGE_URL", endpoint(NAME, "http")).env("DATASTORAGE_TOKEN", secret(TOKEN))
}

/// The pipeline with its DataStorage on PostgreSQL: a server of its own, from an image that keeps to the contract of the official
/// one (<https://hub.docker.com/_/postgres>: `POSTGRES_USER`, `POSTGRES_PASSWORD`, `POSTGRES_DB`, `PGDATA`, port 5432). Without a
/// DataStorage the pipeline stays as it is.
#[must_use]
pub fn on_postgres(pipeline: Pipeline, image: &str) -> Pipeline {
    if pipeline.workloads().iter().all(|workload| workload.name() != NAME) {
        return pipeline;
    }
    let url = Value::from("postgres://").then(DATABASE).then(":").then(secret(PASSWORD)).then("@");
    let url = url.then(address(POSTGRES, "postgres")).then("/").then(DATABASE);
    let server = Workload::image(POSTGRES, image)
        .user(POSTGRES_USER)
        .tcp_port("postgres", 5432)
        .env("POSTGRES_USER", DATABASE)
        .env("POSTGRES_DB", DATABASE)
        .env("POSTGRES_PASSWORD", secret(PASSWORD))
        // The server insists on a directory that is its user's alone: it makes this one itself.
        .env("PGDATA", data("/pgdata"))
        // What a lost node would lose is gone with the run anyway.
        .env("POSTGRES_INITDB_ARGS", "--no-sync")
        .data()
        // Its local socket.
        .scratch("/var/run/postgresql");
    pipeline.change(NAME, |datastorage| datastorage.env("DATABASE_URL", url)).workload(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Pipeline {
        let service = for_client(Workload::cargo("shop").port("http", 8080));
        Pipeline::new("shop").workload(workload()).workload(service)
    }

    fn url(pipeline: &Pipeline) -> Value {
        let datastorage = pipeline.workloads().iter().find(|workload| workload.name() == NAME).unwrap();
        let values: Vec<_> =
            datastorage.environment().iter().filter(|(name, _)| name == "DATABASE_URL").map(|(_, url)| url).collect();
        assert_eq!(values.len(), 1);
        values[0].clone()
    }

    #[test]
    fn datastorage_and_its_server_agree_on_all_that_both_must_know() {
        let pipeline = on_postgres(shop(), POSTGRES_IMAGE);
        pipeline.validate().unwrap();
        assert!(url(&pipeline).is_secret());
        let rendered = pipeline::kind::render(&pipeline).unwrap();
        let password = "<secret postgres-password, random in each run>";
        assert!(
            rendered.contains(&format!("\"postgres://datastorage:{password}@postgres:5432/datastorage\"")),
            "{rendered}"
        );
        assert!(rendered.contains(&format!("\"POSTGRES_PASSWORD\": \"{password}\"")), "{rendered}");
        // Neither is in a place that anyone can read.
        assert_eq!(rendered.matches(password).count(), 2);
        let names: Vec<_> = pipeline.workloads().iter().map(Workload::name).collect();
        assert_eq!(names, [NAME, "shop", POSTGRES]);
    }

    #[test]
    fn sqlite_is_what_a_pipeline_has_otherwise() {
        assert!(!url(&shop()).is_secret());
        let without =
            on_postgres(Pipeline::new("shop").workload(Workload::cargo("shop").port("http", 1)), POSTGRES_IMAGE);
        assert_eq!(without.workloads().len(), 1, "nobody would use the server");
    }
}
