//! Starts signalprocessing.

fn main() -> std::process::ExitCode {
    service_kit::run("signalprocessing", env!("CARGO_PKG_VERSION"), async |environment| {
        signalprocessing::app(environment)
    })
}
