//! DataStorage, as every pipeline uses it: one workload that each builds, loads and deploys from an image of its own.
//!
//! This is the only place that says how DataStorage is packed and started. A pipeline that wants it adds [`workload`] and
//! points its service at it with [`for_client`].

use pipeline::{Value, Workload, data, endpoint, secret};

/// The name of the workload and of its image.
pub const NAME: &str = "datastorage";

/// The secret that is DataStorage's bearer token in a run.
pub const TOKEN: &str = "datastorage-token";

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
