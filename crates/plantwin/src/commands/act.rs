//! Acting on a running plant from the command line.

use plantwin_adapter::SystemClock;
use plantwin_model::{AlarmId, CommandKey, Outcome, Request, Role};

use super::keys;
use crate::{
    cli::{AckArgs, CommandArgs, LetterArgs, QuarantineArgs, ReleaseArgs, RestartArgs, Which},
    control::{
        self,
        wire::{Ask, Question},
    },
    exit::{Code, Failure},
};

pub(crate) fn command(args: &CommandArgs) -> Result<Code, Failure> {
    let request = match (&args.command, args.device.split_once('=')) {
        (None, Some((target, value))) => {
            let (device, point) = target.split_once('.').ok_or_else(|| {
                Code::Usage.failure("write a point as DEVICE.POINT=VALUE, e.g. pump1.voltage=3.2")
            })?;
            let value = number(value)?;
            Request::Write { device: device.into(), point: point.to_owned(), value }
        }
        (Some(command), None) => {
            let args_of = args.values.iter().map(|text| {
                let (name, value) = text.split_once('=').ok_or_else(|| {
                    Code::Usage.failure(format!("give values as POINT=VALUE, not {text}"))
                })?;
                Ok((name.to_owned(), number(value)?))
            });
            Request::Command {
                device: args.device.as_str().into(),
                command: command.clone(),
                args: args_of.collect::<Result<_, Failure>>()?,
            }
        }
        _ => {
            return Err(Code::Usage
                .failure("say either DEVICE COMMAND [POINT=VALUE ...] or DEVICE.POINT=VALUE"));
        }
    };
    // Without a key a retry could act twice; a system without random numbers has no retry.
    send(&args.which, args.key.or_else(control::random_key), request)
}

pub(crate) fn acknowledge(args: &AckArgs) -> Result<Code, Failure> {
    send(&args.which, None, Request::Acknowledge { alarm: AlarmId::new(args.alarm.as_str()) })
}

pub(crate) fn restart(args: &RestartArgs) -> Result<Code, Failure> {
    send(&args.which, None, Request::Restart { device: args.twin.as_str().into() })
}

pub(crate) fn quarantine(args: &QuarantineArgs) -> Result<Code, Failure> {
    let (device, reason) = (args.twin.as_str().into(), args.reason.clone());
    send_as(Role::Security, &args.which, None, Request::Quarantine { device, reason })
}

pub(crate) fn release(args: &ReleaseArgs) -> Result<Code, Failure> {
    let device = args.twin.as_str().into();
    send_as(Role::Security, &args.which, None, Request::Release { device })
}

/// Hands a letter that was set aside to its twin again.
pub(crate) fn retry_letter(args: &LetterArgs) -> Result<Code, Failure> {
    let device = args.twin.as_str().into();
    send(&args.which, None, Request::Retry { device, letter: args.id })
}

/// Forgets a letter that was set aside.
pub(crate) fn drop_letter(args: &LetterArgs) -> Result<Code, Failure> {
    let device = args.twin.as_str().into();
    send(&args.which, None, Request::Drop { device, letter: args.id })
}

fn number(text: &str) -> Result<f64, Failure> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|v| v.is_finite())
        .ok_or_else(|| Code::Usage.failure(format!("{text} is not a number")))
}

/// Sends a request; without a key it is made once and never again.
fn send(which: &Which, key: Option<CommandKey>, request: Request) -> Result<Code, Failure> {
    send_as(Role::Engineer, which, key, request)
}

/// The same; `role` is what the owner of a plant without users acts in.
fn send_as(
    role: Role,
    which: &Which,
    key: Option<CommandKey>,
    request: Request,
) -> Result<Code, Failure> {
    let socket = control::find(which.attach.as_deref(), which.data.as_deref())?;
    let proof = keys::proof(which)?;
    let what = Question { ask: Ask::Request { role, key, request }, proof };
    match control::outcome_of(&socket, &what, &SystemClock::new(1.0)) {
        Outcome::Done => {
            say!("done");
            Ok(Code::Ok)
        }
        Outcome::Refused { reason } => Err(Code::Auth.failure(format!("refused: {reason}"))),
        Outcome::Failed { reason } => Err(Code::Unavailable.failure(format!("failed: {reason}"))),
        Outcome::Expired => {
            Err(Code::Retry.failure("expired before it was sent; it had no effect"))
        }
        Outcome::Unknown { reason } => {
            let again = key.map_or_else(String::new, |key| {
                format!(
                    "\nask again with the same words and --key {key}: it acts once, however often \
                     it is asked"
                )
            });
            Err(Code::Unavailable.failure(format!("unknown: {reason}{again}")))
        }
    }
}
