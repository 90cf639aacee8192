//! `plantwin device`: one device that holds keys, as a process of its own.
//!
//! The plant reaches it through a socket and believes it for nothing but its proof, as it does
//! hardware. Absent: the plant's side (`plantwin run`), who approves keys (`plantwin authority`).

use plantwin_field::FieldError;

use self::args::DeviceCommand;
use crate::exit::{Code, Failure};

mod alone;
pub(crate) mod args;
mod enrol;
mod log;
mod run;

#[cfg(test)]
pub(crate) use run::grant;

#[cfg(test)]
mod tests;

pub(crate) fn run(command: &DeviceCommand) -> Result<Code, Failure> {
    match command {
        DeviceCommand::Enrol(args) => enrol::enrol(args),
        DeviceCommand::Run(args) => run::run(args),
    }
}

/// A failure of the device side, with the code that says what kind.
fn failure(error: FieldError) -> Failure {
    match &error {
        FieldError::KeyFileThere { path } => Code::Usage.failure(format!(
            "failed to {error}; a device has one key: name another --dir, or take {} away",
            path.display()
        )),
        FieldError::WrongPassphrase { .. } => Code::Auth.failure(format!("failed to {error}")),
        FieldError::NoHub(_) => {
            Code::Usage.failure(format!("failed to {error}; name it by --hub HOST:PORT"))
        }
        FieldError::Address { .. } | FieldError::Model(_) | FieldError::Protocol(_) => {
            Code::Config.failure(format!("failed to {error}"))
        }
        _ => Code::Unavailable.failure(format!("failed to {error}")),
    }
}
