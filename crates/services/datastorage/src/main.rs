//! Starts the service.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::run("datastorage", env!("CARGO_PKG_VERSION"), datastorage::build)
}
