//! Starts the service.

fn main() -> std::process::ExitCode {
    remediationorchestrator::main()
}
