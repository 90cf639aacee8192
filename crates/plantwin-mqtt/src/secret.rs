//! Files that a path names: certificates, private keys, passwords.
//!
//! They are read anew for each connection, so that a changed one needs no restart. Relative names
//! are relative to the working directory of the process. What must stay secret is taken only from
//! a file that its owner alone can read, and wiped from memory after use as far as the libraries
//! around it allow. Absent: what is in the files.

use std::{fs::File, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path};

use plantwin_adapter::LinkError;
use zeroize::Zeroizing;

use crate::cause::io_cause;

/// Largest file, bytes: the certificates of all public authorities take a quarter of it.
const MOST: u64 = 1024 * 1024;
/// Longest password, bytes.
const LONGEST_PASSWORD: usize = 4096;

/// What is in a file; `key` is the setting that names it.
pub(crate) fn read(key: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    open(key, file, false)
}

/// As [`read`], but only if no one but its owner can do it.
pub(crate) fn read_private(key: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    open(key, file, true)
}

/// The password in a file; one line end after it does not belong to it.
pub(crate) fn password(file: &Path) -> Result<Zeroizing<String>, LinkError> {
    let key = "password_file";
    let bytes = read_private(key, file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unfit(key, file, "is no text (UTF-8)"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err(unfit(key, file, "is empty: write the password into it")),
        t if t.len() > LONGEST_PASSWORD => Err(unfit(key, file, "holds more than 4096 bytes")),
        t if t.contains(['\n', '\0']) => Err(unfit(key, file, "holds more than one line")),
        t => Ok(Zeroizing::new(t.to_owned())),
    }
}

/// What is wrong with a file.
pub(crate) fn unfit(key: &str, file: &Path, what: &str) -> LinkError {
    LinkError::Settings(format!("`{key}`: {} {what}", file.display()))
}

fn open(key: &str, file: &Path, private: bool) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let failed = |e: std::io::Error| unfit(key, file, &format!("cannot be read: {}", io_cause(&e)));
    // A pipe would keep whoever opens it waiting, so this is asked first.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(unfit(key, file, "is no regular file"));
    }
    let opened = File::open(file).map_err(failed)?;
    let meta = opened.metadata().map_err(failed)?;
    if private {
        check_mode(key, file, &meta)?;
    }
    if meta.len() > MOST {
        return Err(unfit(key, file, "is larger than 1 MiB"));
    }
    // With room for all of it nothing is moved, which would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len() as usize + 1));
    opened.take(meta.len()).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn check_mode(key: &str, file: &Path, meta: &std::fs::Metadata) -> Result<(), LinkError> {
    let mode = meta.permissions().mode() & 0o777;
    let others = mode & 0o077;
    if others == 0 {
        return Ok(());
    }
    let what = format!("can be used by others than its owner (mode {mode:04o}): chmod 600 it");
    Err(unfit(key, file, &what))
}
