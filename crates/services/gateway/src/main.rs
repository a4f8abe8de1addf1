//! Starts the gateway.

fn main() -> std::process::ExitCode {
    service_kit::run("gateway", env!("CARGO_PKG_VERSION"), async |environment| gateway::app(environment))
}
