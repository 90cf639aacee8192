//! The pre-shared key of a path: read from its file, kept where nothing prints it.
//!
//! The file is read anew for each connection, so that a changed key needs no restart. A relative
//! name is relative to the working directory of the process. It holds the key in hexadecimal and
//! must be readable by its owner alone. The key is wiped when it is dropped; the copies that the
//! DTLS library makes for a handshake are its own affair. Absent: how the key is used (see
//! `dtls`).

use std::{fmt, fs::File, io::Read as _, path::Path};

use plantwin_adapter::LinkError;
use plantwin_model::PathSpec;
use zeroize::Zeroizing;

/// Shortest key, bytes: nothing shorter withstands guessing, and who has overheard one handshake
/// may guess at leisure (RFC 4279 §7.2).
const SHORTEST: usize = 16;
/// Longest key, bytes (RFC 4279 §5.3).
const LONGEST: usize = 64;
/// Longest identity, bytes (RFC 4279 §5.3).
pub(crate) const LONGEST_IDENTITY: usize = 128;
/// Largest file, bytes: the longest key in hexadecimal, with room for blanks.
const MOST: u64 = 1024;

/// An identity and the key that belongs to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Psk {
    /// Name of the key; travels in the clear.
    pub(crate) identity: String,
    /// The key.
    pub(crate) key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Psk").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Psk {
    /// The key that a path names, `None` if it names none. The settings have been validated.
    pub(crate) fn of(path: &PathSpec) -> Result<Option<Self>, LinkError> {
        let (Some(identity), Some(file)) = (path.text("psk_identity"), path.text("psk_file"))
        else {
            return Ok(None);
        };
        let file = Path::new(file);
        let text = read(file)?;
        let key = hexadecimal(text.trim_ascii())
            .ok_or_else(|| unfit(file, "must hold the key in hexadecimal and nothing else"))?;
        if !(SHORTEST..=LONGEST).contains(&key.len()) {
            let what = format!(
                "holds a key of {} bytes, it must have {SHORTEST} to {LONGEST}: make one with \
                 `openssl rand -hex 16`",
                key.len()
            );
            return Err(unfit(file, &what));
        }
        Ok(Some(Self { identity: identity.to_owned(), key }))
    }
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, LinkError> {
    let failed = |e: std::io::Error| {
        unfit(file, &format!("cannot be read: {}", e.to_string().to_lowercase()))
    };
    // A pipe would keep whoever opens it waiting, so this is asked first.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(unfit(file, "is no regular file"));
    }
    let opened = File::open(file).map_err(failed)?;
    let meta = opened.metadata().map_err(failed)?;
    check_mode(file, &meta)?;
    if meta.len() > MOST {
        return Err(unfit(file, "is too large for a key"));
    }
    // With room for all of it nothing is moved, which would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(meta.len() as usize + 1));
    opened.take(meta.len()).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(unix)]
fn check_mode(file: &Path, meta: &std::fs::Metadata) -> Result<(), LinkError> {
    use std::os::unix::fs::PermissionsExt as _;
    // The lower six bits are what the group and others may do.
    let mode = meta.permissions().mode() & 0o777;
    if mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    let what = format!("can be used by others than its owner (mode {mode:04o}): chmod 600 it");
    Err(unfit(file, &what))
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as where there are modes")]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), LinkError> {
    Ok(())
}

fn unfit(file: &Path, what: &str) -> LinkError {
    LinkError::Settings(format!("`psk_file`: {} {what}", file.display()))
}

fn hexadecimal(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    if text.is_empty() || !text.len().is_multiple_of(2) {
        return None;
    }
    let mut key = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.chunks_exact(2) {
        key.push(digit(pair[0])? << 4 | digit(pair[1])?);
    }
    Some(key)
}
