//! Changing how the data key is wrapped, and telling how it is.
//!
//! Only the file `key` is replaced. The data key stays, so a running plant, which has it in
//! memory, is not disturbed, and nothing is written anew. For the same reason this does not help
//! against somebody who has the data key already, because he read an unwrapped `key` or knew the
//! old passphrase and kept a copy of the old `key`: only a new directory does.
//!
//! Absent: changing the data key.

use std::{io, path::Path};

use crate::{
    StoreError,
    key::{Keys, key_path},
    key_file::{self, KeyFile, Step},
    key_source::{KeySource, Wrapping},
    marks,
};

/// What can be told of a directory's key without unlocking it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyInfo {
    /// Tells one data key from another, and nothing else: 32 hexadecimal digits.
    pub id: String,
    /// How it is wrapped.
    pub wrapping: Wrapping,
}

/// How the key of the store in `dir` is wrapped.
///
/// # Errors
/// [`StoreError::File`] if there is none, [`StoreError::Key`] if it is damaged, open to others or
/// of an earlier version.
pub fn key_info(dir: &Path) -> Result<KeyInfo, StoreError> {
    let file = key_file::read(&key_path(dir))?;
    let id = format!("{:032x}", u128::from_be_bytes(file.id));
    Ok(KeyInfo { id, wrapping: file.wrapping() })
}

/// Wraps the key of the store in `dir` anew: from now on it is unlocked by `to`. A plant may run
/// on it meanwhile. A crash at any moment leaves the old wrapping or the new one, whole.
///
/// # Errors
/// [`StoreError::WrongKey`] if `from` does not unlock it or `to` cannot be used,
/// [`StoreError::Key`] if it is damaged, [`StoreError::File`] if somebody else does this just now
/// or the disk refuses. The old wrapping stays then.
pub fn rewrap(dir: &Path, from: &KeySource, to: &KeySource) -> Result<(), StoreError> {
    rewrap_stepwise(dir, from, to, &mut |_| Ok(()))
}

/// As [`rewrap`]; `after` is called after each step and may end it there.
pub(crate) fn rewrap_stepwise(
    dir: &Path,
    from: &KeySource,
    to: &KeySource,
    after: &mut dyn FnMut(Step) -> io::Result<()>,
) -> Result<(), StoreError> {
    let _held = key_file::hold(dir)?;
    let path = key_path(dir);
    let data_key = key_file::read(&path)?.unlock(dir, from)?;
    marks::vouch(dir, &Keys::derive(&data_key))?;
    let file = KeyFile::lock(dir, &data_key, to)?;
    // Once the old one is replaced it is too late to find out that the new one does not open.
    file.unlock(dir, to)?;
    key_file::put(dir, &file, after)
}
