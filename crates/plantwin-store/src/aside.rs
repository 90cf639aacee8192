//! Places for what is damaged: kept beside the store, never deleted.

use std::path::{Path, PathBuf};

use crate::StoreError;

/// Damaged ones kept beside each other before opening is refused.
const LIMIT: u32 = 1000;

/// A path beside `name` in `dir` that is free.
pub(crate) fn free(dir: &Path, name: &str) -> Result<PathBuf, StoreError> {
    (1..=LIMIT)
        .map(|n| dir.join(format!("{name}.damaged-{n}")))
        .find(|aside| !aside.exists())
        .ok_or_else(|| StoreError::File {
            action: "set aside the damaged",
            path: dir.join(name),
            source: std::io::Error::other("too many damaged ones lie there already"),
        })
}

/// The last that was set aside.
pub(crate) fn newest(dir: &Path, name: &str) -> Option<PathBuf> {
    let all = (1..=LIMIT).map(|n| dir.join(format!("{name}.damaged-{n}")));
    all.take_while(|aside| aside.exists()).last()
}

/// Whether this is such a name.
pub(crate) fn is_one(given: &str, name: &str) -> bool {
    let number = given.strip_prefix(name).and_then(|rest| rest.strip_prefix(".damaged-"));
    number.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| (1..=LIMIT).contains(&n)))
}
