//! Starts the service.

fn main() -> std::process::ExitCode {
    workflowexecution::main()
}
