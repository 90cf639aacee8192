//! The command line of plantwin: the only place that wires everything together.

#[macro_use]
mod exit;

mod cli;
mod commands;
mod control;
mod library;
mod logging;
mod protocols;

use clap::Parser;

fn main() -> std::process::ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` are no errors and go to stdout.
            let _ = error.print();
            let code = if error.use_stderr() { exit::Code::Usage } else { exit::Code::Ok };
            return code.into();
        }
    };
    match commands::run(cli) {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("plantwin: {:#}", failure.error);
            failure.code.into()
        }
    }
}
