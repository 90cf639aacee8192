//! The last batch that was acknowledged, in a file of its own.
//!
//! sled 0.34 opens a file whose tail was cut off without a word and with the last records missing
//! (its issues #1509 and #1533). Each batch therefore writes its sequence into the data base, each flush
//! writes it here too, and opening compares. Absent: getting the missing batches back.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use crate::{StoreError, record};

const NAME: &str = "head";

/// Writes the sequence of the last safe batch, so that either the old or the new one is there.
pub(crate) fn write(dir: &Path, sequence: u64) -> Result<(), StoreError> {
    let (path, fresh) = (dir.join(NAME), dir.join("head.new"));
    let fail = |path: &PathBuf| {
        let path = path.clone();
        move |source| StoreError::File { action: "write", path, source }
    };
    let bytes = record::encode(NAME, b"", sequence, b"");
    File::create(&fresh)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_data()))
        .map_err(fail(&fresh))?;
    fs::rename(&fresh, &path).map_err(fail(&path))
}

/// The sequence of the last safe batch; zero if the file is not there or damaged, since then
/// nothing can be said.
pub(crate) fn read(dir: &Path) -> u64 {
    let bytes = fs::read(dir.join(NAME)).unwrap_or_default();
    record::decode(NAME, b"", &bytes).map_or(0, |(sequence, _)| sequence)
}

/// Forgets it, when a fresh data base takes the old one's place.
pub(crate) fn remove(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(NAME);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::File { action: "remove", path, source })
        }
        _ => Ok(()),
    }
}
