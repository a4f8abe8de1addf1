//! The E2E pipeline of signalprocessing: the service with a DataStorage of its own. Its suite is in `tests/`.

use datastorage_image::for_client;
use pipeline::{Pipeline, Workload, image_path, secret};

/// Where the image holds the rules by which signals are classified.
const RULES: &str = "/etc/signalprocessing/rules.toml";

/// What is deployed, and which suite runs against it.
pub fn pipeline() -> Pipeline {
    let service = Workload::cargo("signalprocessing")
        .port("http", 8080)
        .env("API_TOKEN", secret("service-token"))
        .file(RULES, "crates/services/signalprocessing/rules.toml")
        .env("RULES_FILE", image_path(RULES));
    Pipeline::new("signalprocessing")
        .workload(datastorage_image::workload())
        .workload(for_client(service))
        .suite("e2e-signalprocessing")
}
