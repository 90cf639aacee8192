//! The store's data key, and a key for each use derived from it.
//!
//! Everything in the directory is sealed under keys that come from one data key, which never
//! changes; the file `key` holds it, wrapped or not ([`crate::key_file`]). Without the right one
//! nothing is touched. Absent: wrapping and unwrapping.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use plantwin_seal::{Secret, derive_key};

use crate::{
    StoreError,
    disk::{Disk, OsDisk},
    key_file::{self, KeyFile},
    key_source::KeySource,
    marks,
};

/// What tells one data key from another without giving it away.
pub(crate) type KeyId = [u8; 16];

/// The derived keys.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) id: KeyId,
    pub(crate) record: Secret,
    pub(crate) name: Secret,
    pub(crate) digest: Secret,
    pub(crate) log: Secret,
    pub(crate) marks: Secret,
    pub(crate) rest: Secret,
}

/// See [`KeyId`].
pub(crate) fn id_of(data_key: &Secret) -> KeyId {
    short(derive_key("plantwin v1 store key id", &[data_key.expose()]).expose())
}

impl Keys {
    pub(crate) fn derive(data_key: &Secret) -> Self {
        let parts: &[&[u8]] = &[data_key.expose()];
        Self {
            id: id_of(data_key),
            record: derive_key("plantwin v1 store record", parts),
            name: derive_key("plantwin v1 store name", parts),
            digest: derive_key("plantwin v1 store digest", parts),
            log: derive_key("plantwin v1 store log", parts),
            marks: derive_key("plantwin v1 store marks", parts),
            rest: derive_key("plantwin v1 store at rest", parts),
        }
    }

    /// The keys of `dir`, if it has a key file. Reads, and writes nothing.
    pub(crate) fn load(dir: &Path, source: &KeySource) -> Result<Option<Self>, StoreError> {
        let path = key_path(dir);
        match key_file::read(&path) {
            Ok(file) => {
                let keys = Self::derive(&file.unlock(dir, source)?);
                marks::vouch(dir, &keys)?;
                Ok(Some(keys))
            }
            Err(StoreError::File { source: cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a key for `dir`, which has none and holds nothing yet.
    pub(crate) fn make(dir: &Path, source: &KeySource) -> Result<Self, StoreError> {
        let data_key = Secret::random()?;
        let file = KeyFile::lock(dir, &data_key, source)?;
        key_file::put(dir, &file, &mut |_| Ok(()))?;
        Ok(Self::derive(&data_key))
    }
}

/// The path of the key file.
pub(crate) fn key_path(dir: &Path) -> PathBuf {
    dir.join("key")
}

/// The complaint about a key that is not there although it should be.
pub(crate) fn gone(dir: &Path) -> StoreError {
    refuse(
        &key_path(dir),
        "it is gone, and the data beside it cannot be read without it; put it back from a backup, \
         or move the directory away to begin with an empty store",
    )
}

/// The complaint about a key that is not the one the data was written with.
pub(crate) fn another(dir: &Path) -> StoreError {
    refuse(
        &key_path(dir),
        "it is not the key that the data beside it was written with; put the right one back from \
         a backup, or move the directory away to begin with an empty store",
    )
}

pub(crate) fn refuse(path: &Path, reason: &str) -> StoreError {
    StoreError::Key { path: path.to_owned(), reason: reason.to_owned() }
}

/// The first 16 bytes.
pub(crate) fn short(full: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&full[..16]);
    short
}

/// Makes the directory's own names safe.
pub(crate) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    OsDisk.sync_dir(dir)
}
