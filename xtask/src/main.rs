//! The command line: parses, calls, renders, and gives the exit code. What is done lives in the crates.

mod audit;
mod clean;
mod console;
mod e2e;
mod flags;
mod paths;
mod plan;
mod services;
mod tidy;

use std::process::ExitCode;

use clap::Parser;
use console::say;
use flags::{Command, Flags};

/// The exit code for wrong usage; clap uses the same.
const USAGE: u8 = 2;
/// The exit code for what could not be run.
const COULD_NOT_RUN: u8 = 3;

fn main() -> ExitCode {
    let result = match Flags::parse().command {
        Command::E2e(flags) => e2e::run(&flags),
        Command::Render(flags) => e2e::render(&flags),
        Command::Clean(flags) => clean::run(&flags),
        Command::Audit(flags) => audit::run(&flags),
        Command::Verify(flags) => audit::verify(&flags),
        Command::Tidy => tidy::run(),
    };
    let code = result.unwrap_or_else(|error| {
        say(&format!("error: {error:#}\n"));
        if error.is::<services::Usage>() { USAGE } else { COULD_NOT_RUN }
    });
    ExitCode::from(code)
}
