//! Commands for those who work on plantwin: `cargo xtask ci`, `test`, `supply`, the long runs that
//! look for losses, and pictures for the documentation.
//!
//! It depends on no crate of the workspace, so that it runs even when none of them compiles.
//! Absent: anything an operator needs (that is `plantwin` itself).

mod ci;
mod long;
mod screenshot;
mod steps;
mod supply;

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
    /// Everything that must pass: format, lints, supply chain, tests, kill loops, documentation
    Ci,
    /// All tests, with those in the documentation
    Test,
    /// What comes from outside: banned crates, licences, sources, known vulnerabilities
    Supply,
    /// Kill a plant under load again and again with `kill -9`, and look for what was lost
    #[command(name = "killloop")]
    KillLoop(long::KillLoop),
    /// Run 10,000 devices for hours under faults, and watch memory, descriptors and gaps
    Soak(long::Soak),
    /// Rehearse disasters in simulated time, from a seed; arguments go to plantwin-simulate
    Simulate(long::Passed),
    /// Open images of the store as power cuts leave them; arguments go to that example
    Images(long::Passed),
    /// Draw the console of a running plant into SVG files
    Screenshot(screenshot::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Ci => ci::everything(),
        Command::Test => ci::tests(),
        Command::Supply => supply::alone(),
        Command::KillLoop(args) => long::kill_loop(&args),
        Command::Soak(args) => long::soak(&args),
        Command::Simulate(args) => long::simulate(&args),
        Command::Images(args) => long::images(&args),
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
