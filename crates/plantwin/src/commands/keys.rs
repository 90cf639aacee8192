//! `plantwin keys`: how the key of a data folder is wrapped; and where every command takes the key
//! from that unlocks one.
//!
//! Absent: the key itself, which is never shown.

use std::{
    env,
    fs::{self, File},
    io::{self, IsTerminal, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use plantwin_store::{KeySource, StoreError, Wrapping, key_info, rewrap as wrap_anew};
use zeroize::Zeroizing;

use crate::{
    cli::{KeyArgs, KeysRewrapArgs, KeysShowArgs, Which},
    control::wire::Proof,
    exit::{Code, Failure},
};

/// Holds the passphrase, if none is named otherwise.
const PASSPHRASE: &str = "PLANTWIN_PASSPHRASE";
/// Holds the one that it shall become.
const NEW_PASSPHRASE: &str = "PLANTWIN_NEW_PASSPHRASE";
/// Longest file of a passphrase, in bytes.
const LIMIT: u64 = 4096;

pub(crate) fn show(args: &KeysShowArgs) -> Result<Code, Failure> {
    let info = key_info(&args.dir).map_err(failure)?;
    if args.json {
        let kind = match &info.wrapping {
            Wrapping::Plain => "plain",
            Wrapping::File => "file",
            Wrapping::Passphrase(_) => "passphrase",
            Wrapping::Keyring(_) => "keyring",
        };
        let text = info.wrapping.to_string();
        say!("{}", serde_json::json!({ "id": info.id, "wrapped": kind, "text": text }));
        return Ok(Code::Ok);
    }
    say!("key {} is {}", info.id, info.wrapping);
    if info.wrapping == Wrapping::Plain {
        say!("whoever can read {} can read all data beside it", args.dir.join("key").display());
    }
    Ok(Code::Ok)
}

pub(crate) fn rewrap(args: &KeysRewrapArgs) -> Result<Code, Failure> {
    let from = source(&args.from, &args.dir)?;
    let to = if let Some(path) = &args.to.to_file {
        KeySource::File(path.clone())
    } else if let Some(name) = &args.to.to_keyring {
        KeySource::Keyring(name.clone())
    } else if args.to.to_passphrase {
        KeySource::Passphrase(new_passphrase(args)?)
    } else {
        KeySource::Plain
    };
    wrap_anew(&args.dir, &from, &to).map_err(failure)?;
    let info = key_info(&args.dir).map_err(failure)?;
    say!("key {} is {} now", info.id, info.wrapping);
    say!("older copies of {} open with the old key still", args.dir.join("key").display());
    Ok(Code::Ok)
}

/// What unlocks the key of a data folder: as it was asked for, or as its key is wrapped.
pub(crate) fn source(args: &KeyArgs, dir: &Path) -> Result<KeySource, Failure> {
    if let Some(path) = &args.key_file {
        return Ok(KeySource::File(path.clone()));
    }
    if let Some(path) = &args.passphrase_file {
        return read_passphrase(path).map(KeySource::Passphrase);
    }
    if let Some(name) = &args.keyring {
        return Ok(KeySource::Keyring(name.clone()));
    }
    let given = from_environment(PASSPHRASE)?.map(KeySource::Passphrase);
    match key_info(dir).map(|info| info.wrapping) {
        Ok(Wrapping::Passphrase(_)) if given.is_none() => {
            if !io::stdin().is_terminal() {
                return Err(Code::Auth.failure(format!(
                    "the key of {} is wrapped by a passphrase; give it by --passphrase-file FILE \
                     or in {PASSPHRASE}",
                    dir.display()
                )));
            }
            ask(&format!("Passphrase of {}: ", dir.display())).map(KeySource::Passphrase)
        }
        // A passphrase in the environment is not meant for these; opening says what is.
        Ok(Wrapping::File | Wrapping::Keyring(_)) => Ok(KeySource::Plain),
        // A new folder, one that opening refuses with the reason, or one that is not protected
        // although a passphrase is there: opening says so.
        _ => Ok(given.unwrap_or_default()),
    }
}

/// A failure of a store, with the code that says whether the key was the cause.
pub(crate) fn failure(error: StoreError) -> Failure {
    let code = match &error {
        StoreError::WrongKey { .. } => Code::Auth,
        StoreError::File { source, .. } if source.kind() == io::ErrorKind::WouldBlock => {
            Code::Retry
        }
        _ => Code::Unavailable,
    };
    let hint = if code == Code::Auth {
        "\n  the key is named by --key-file FILE, --passphrase-file FILE, PLANTWIN_PASSPHRASE or \
         --keyring NAME;\n  `plantwin keys show DIR` says which it needs"
    } else {
        ""
    };
    code.failure(format!("failed to {error}{hint}"))
}

fn new_passphrase(args: &KeysRewrapArgs) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = &args.new_passphrase_file {
        return read_passphrase(path);
    }
    if let Some(passphrase) = from_environment(NEW_PASSPHRASE)? {
        return Ok(passphrase);
    }
    if !io::stdin().is_terminal() {
        return Err(Code::Usage.failure(format!(
            "there is no terminal to ask for the new passphrase; give it by \
             --new-passphrase-file FILE or in {NEW_PASSPHRASE}"
        )));
    }
    let passphrase = ask("New passphrase: ")?;
    if ask("The same again: ")? == passphrase {
        Ok(passphrase)
    } else {
        Err(Code::Usage.failure("the two passphrases differ; nothing was changed"))
    }
}

/// Holds the passphrase of the user named by `--as`.
const USER_PASSPHRASE: &str = "PLANTWIN_USER_PASSPHRASE";

/// Name and passphrase of the user whom the caller wants to be, if any.
pub(super) fn proof(which: &Which) -> Result<Option<Proof>, Failure> {
    let Some(user) = which.user.clone() else { return Ok(None) };
    let passphrase = match &which.as_passphrase_file {
        Some(path) => read_passphrase(path)?,
        None => match from_environment(USER_PASSPHRASE)? {
            Some(passphrase) => passphrase,
            None if io::stdin().is_terminal() => ask(&format!("Passphrase of user {user}: "))?,
            None => {
                return Err(Code::Auth.failure(format!(
                    "user {user} needs a passphrase; give it by --as-passphrase-file FILE or in \
                     {USER_PASSPHRASE}"
                )));
            }
        },
    };
    Ok(Some(Proof { user, passphrase }))
}

/// Asks for a new passphrase, twice, or takes it from a file.
pub(super) fn chosen(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = file {
        return read_passphrase(path);
    }
    if !io::stdin().is_terminal() {
        return Err(Code::Usage
            .failure("there is no terminal to ask for the passphrase; give it by --file FILE"));
    }
    let passphrase = ask("New passphrase: ")?;
    if ask("The same again: ")? == passphrase {
        Ok(passphrase)
    } else {
        Err(Code::Usage.failure("the two passphrases differ"))
    }
}

pub(super) fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    rpassword::prompt_password(prompt)
        .map(Zeroizing::new)
        .map_err(|e| Code::Unavailable.failure(format!("cannot ask for the passphrase: {e}")))
}

fn from_environment(name: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    match env::var(name) {
        Ok(passphrase) => Ok(Some(Zeroizing::new(passphrase))),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Code::Usage.failure(format!("{name} is no text in UTF-8")))
        }
    }
}

/// The first line of a file that its owner alone may read.
pub(super) fn read_passphrase(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let shown = path.display();
    let cannot = |e: io::Error| {
        Code::Unavailable.failure(format!("cannot read the passphrase file {shown}: {e}"))
    };
    let mode = fs::metadata(path).map_err(cannot)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Code::Auth.failure(format!(
            "others than its owner may read or write {shown}; run `chmod 600 {shown}`"
        )));
    }
    let mut text = Zeroizing::new(String::with_capacity(LIMIT as usize));
    File::open(path).and_then(|file| file.take(LIMIT).read_to_string(&mut text)).map_err(cannot)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        return Err(Code::Usage.failure(format!("{shown} has not one line with the passphrase")));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests;
