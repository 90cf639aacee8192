//! `plantwin policy`: swapping the policy of a running plant, and passphrases for its users.

use plantwin_authority::policy::hash_passphrase;

use super::keys;
use crate::{
    cli::{PolicyPassphraseArgs, PolicyReloadArgs},
    control::{
        self,
        wire::{Ask, Question, Say},
    },
    exit::{Code, Failure, OrExit as _},
};

pub(crate) fn reload(args: &PolicyReloadArgs) -> Result<Code, Failure> {
    let socket = control::find(args.which.attach.as_deref(), args.which.data.as_deref())?;
    let question = Question { ask: Ask::ReloadPolicy, proof: keys::proof(&args.which)? };
    match serde_json::from_str(&control::answer(&socket, &question)?).or_exit(Code::Unavailable)? {
        Say::Reloaded { epoch, left } => {
            say!("the policy was taken (epoch {epoch})");
            for what in left {
                say!("not taken: {what}; it needs a restart of the plant");
            }
            Ok(Code::Ok)
        }
        Say::Error { text } => Err(Code::Config.failure(format!("refused: {text}"))),
        _ => Err(Code::Unavailable.failure("the plant gave an answer that makes no sense")),
    }
}

pub(crate) fn passphrase(args: &PolicyPassphraseArgs) -> Result<Code, Failure> {
    let passphrase = keys::chosen(args.file.as_deref())?;
    let hash = hash_passphrase(&passphrase)
        .map_err(|e| Code::Unavailable.failure(format!("failed to {e}")))?;
    say!("passphrase = \"{hash}\"");
    Ok(Code::Ok)
}
