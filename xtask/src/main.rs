//! Commands for those who work on plantwin: `cargo xtask ci`, `test` and `screenshot`.
//!
//! It depends on no crate of the workspace, so that it runs even when none of them compiles.
//! Absent: anything an operator needs (that is `plantwin` itself).

mod ci;
mod screenshot;
mod steps;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Commands for those who work on plantwin.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that must pass: format, lints, tests, documentation
    Ci,
    /// All tests, with those in the documentation
    Test,
    /// Draw the console of a running plant into SVG files
    Screenshot(screenshot::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Ci => ci::everything(),
        Command::Test => ci::tests(),
        Command::Screenshot(args) => screenshot::take(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
