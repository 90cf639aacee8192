//! The store's key: one file, and a key for each use derived from it.
//!
//! File `key`: 32 random bytes and the first 16 bytes of a hash over them, mode 0600. Without the
//! key nothing in the directory can be vouched for, so a key that is lost or altered stops the
//! opening before anything is touched. Absent: passphrases and keyrings, changing the key.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

use plantwin_seal::{Secret, derive_key, hash, random_bytes};

use crate::StoreError;

const NAME: &str = "key";
const SECRET_BYTES: usize = 32;
const CHECK_BYTES: usize = 16;

/// What tells one key from another without giving it away.
pub(crate) type KeyId = [u8; 16];

/// The derived keys.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: KeyId,
    pub(crate) record: Secret,
    pub(crate) digest: Secret,
    pub(crate) log: Secret,
    pub(crate) marks: Secret,
    pub(crate) rest: Secret,
}

impl Keys {
    pub(crate) fn derive(secret: &[u8; SECRET_BYTES]) -> Self {
        let parts: &[&[u8]] = &[secret];
        Self {
            id: short(derive_key("plantwin v1 store key id", parts).expose()),
            record: derive_key("plantwin v1 store record", parts),
            digest: derive_key("plantwin v1 store digest", parts),
            log: derive_key("plantwin v1 store log", parts),
            marks: derive_key("plantwin v1 store marks", parts),
            rest: derive_key("plantwin v1 store at rest", parts),
        }
    }

    /// Reads the key of `dir`; makes one if `fresh`, that is, if nothing is there that an earlier
    /// key protects.
    pub(crate) fn load(dir: &Path, fresh: bool) -> Result<Self, StoreError> {
        let path = dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound && fresh => return make(dir, &path),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(refuse(
                    &path,
                    "it is gone, and the data beside it cannot be vouched \
                     for without it; put it back from a backup, or move the directory away to \
                     begin with an empty store",
                ));
            }
            Err(source) => {
                return Err(StoreError::File { action: "read the key file", path, source });
            }
        };
        check_mode(&path)?;
        let Some((secret, check)) = bytes.split_first_chunk::<SECRET_BYTES>() else {
            return Err(altered(&path));
        };
        if check != check_of(secret) {
            return Err(altered(&path));
        }
        Ok(Self::derive(secret))
    }
}

/// The complaint about a key that is not the one the data was written with.
pub(crate) fn another(dir: &Path) -> StoreError {
    refuse(
        &dir.join(NAME),
        "it is not the key that the data beside it was written with; put the \
         right one back from a backup, or move the directory away to begin with an empty store",
    )
}

fn altered(path: &Path) -> StoreError {
    refuse(
        path,
        "it was altered or cut; put it back from a backup, or move the directory away to \
         begin with an empty store",
    )
}

fn refuse(path: &Path, reason: &'static str) -> StoreError {
    StoreError::Key { path: path.to_owned(), reason }
}

fn check_of(secret: &[u8; SECRET_BYTES]) -> [u8; CHECK_BYTES] {
    short(&hash(&[b"plantwin store key check", secret]))
}

/// The first 16 bytes.
pub(crate) fn short(full: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

fn make(dir: &Path, path: &Path) -> Result<Keys, StoreError> {
    let secret: [u8; SECRET_BYTES] = random_bytes()?;
    let fresh = dir.join("key.new");
    let fail =
        |source| StoreError::File { action: "make the key file", path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(&secret)?;
            file.write_all(&check_of(&secret))?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(fail)?;
    Ok(Keys::derive(&secret))
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let about = fs::metadata(path).map_err(|source| StoreError::File {
        action: "read the mode of",
        path: path.to_owned(),
        source,
    })?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(refuse(
            path,
            "others than its owner may read or write it; run `chmod 600` on \
             it, and if it may have been copied, move the directory away and begin anew",
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_path: &Path) -> Result<(), StoreError> {
    Ok(())
}
