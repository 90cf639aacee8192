//! One file per command.

mod act;
mod audit;
pub(crate) mod authority;
mod can_i;
mod check;
mod console;
mod demo;
pub(crate) mod device;
mod keys;
mod mail;
mod new;
mod pictures;
mod policy;
mod read;
mod run;
mod status;
mod tap;
mod tui;

use crate::{
    cli::{AuditCommand, Cli, Command, KeysCommand, MailCommand, PolicyCommand},
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
        Command::Quarantine(args) => act::quarantine(&args),
        Command::Release(args) => act::release(&args),
        Command::CanI(args) => can_i::can_i(&args),
        Command::Policy(PolicyCommand::Reload(args)) => policy::reload(&args),
        Command::Policy(PolicyCommand::Passphrase(args)) => policy::passphrase(&args),
        Command::Authority(command) => authority::run(&command),
        Command::Device(command) => device::run(&command),
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(&args),
        Command::Audit(AuditCommand::Show(args)) => audit::show(&args),
        Command::Audit(AuditCommand::Checkpoint(args)) => audit::checkpoint(&args),
        Command::Keys(KeysCommand::Show(args)) => keys::show(&args),
        Command::Keys(KeysCommand::Rewrap(args)) => keys::rewrap(&args),
        Command::Mail(MailCommand::List(args)) => mail::list(&args),
        Command::Mail(MailCommand::Show(args)) => mail::show(&args),
        Command::Mail(MailCommand::Retry(args)) => act::retry_letter(&args),
        Command::Mail(MailCommand::Drop(args)) => act::drop_letter(&args),
    }
}
