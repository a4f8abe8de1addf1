//! The E2E pipeline of gateway: the service with a DataStorage of its own. Its suite is in `tests/`.

use datastorage_image::for_client;
use pipeline::{Pipeline, Workload, secret};

/// What is deployed, and which suite runs against it.
pub fn pipeline() -> Pipeline {
    let service = Workload::cargo("gateway").port("http", 8080).env("API_TOKEN", secret("service-token"));
    Pipeline::new("gateway").workload(datastorage_image::workload()).workload(for_client(service)).suite("e2e-gateway")
}
