//! One file per command.

mod act;
mod check;
mod console;
mod demo;
mod mail;
mod new;
mod pictures;
mod read;
mod run;
mod status;
mod tap;
mod tui;

use crate::{
    cli::{Cli, Command, MailCommand},
    exit::{Code, Failure},
};

/// Carries the command line out.
pub(crate) fn run(cli: Cli) -> Result<Code, Failure> {
    match cli.command {
        Command::Check(args) => check::check(&args),
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::New(args) => new::new(&args),
        Command::Status(args) => status::status(&args),
        Command::Tap(args) => tap::tap(&args),
        Command::Tui(args) => tui::tui(&args),
        Command::Act(args) => act::command(&args),
        Command::Ack(args) => act::acknowledge(&args),
        Command::Restart(args) => act::restart(&args),
        Command::Mail(MailCommand::List(args)) => mail::list(&args),
        Command::Mail(MailCommand::Show(args)) => mail::show(&args),
        Command::Mail(MailCommand::Retry(args)) => act::retry_letter(&args),
        Command::Mail(MailCommand::Drop(args)) => act::drop_letter(&args),
    }
}
