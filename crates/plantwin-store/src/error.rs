//! Everything that can go wrong with the store, as one enum.

use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;

/// Why a store could not be opened, read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another runtime, or another store of this process, has the directory.
    #[error("open the store in {dir}: it is in use by process {pid}", dir = .dir.display())]
    InUse {
        /// Directory.
        dir: PathBuf,
        /// Its process, or `unknown` if the lock file does not tell.
        pid: String,
    },
    /// A file or directory could not be made, read or written.
    #[error("{action} {path}: {source}", path = .path.display())]
    File {
        /// What was tried, such as "create the directory".
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store's key is lost, altered, another one, of an earlier version, or open to others. Nothing was touched.
    #[error("use the key {path}: {reason}", path = .path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong, and how to mend it.
        reason: String,
    },
    /// The store's key is wrapped, and what was given does not unlock it, or cannot be used.
    /// Nothing was touched.
    #[error("use the key {path}: {reason}", path = .path.display())]
    WrongKey {
        /// Its file.
        path: PathBuf,
        /// How it is wrapped, what was given, and what to do.
        reason: String,
    },
    /// Randomness or a cipher failed.
    #[error("protect the store's data: {0}")]
    Seal(#[from] plantwin_seal::SealError),
    /// A spool has no queue of that name, and makes none: names are 1 to 200 bytes without NUL.
    #[error("queue for device {0:?}: no name for a queue")]
    DeviceName(String),
    /// A record is not what was written.
    #[error("read {key:?} of {tree}: {reason}")]
    Damaged {
        /// Tree.
        tree: String,
        /// Key.
        key: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The record is intact, but no value of the expected type, or it cannot be encoded.
    #[error("{action} {key:?} of {tree}: {source}")]
    Encoding {
        /// "decode" or "encode".
        action: &'static str,
        /// Tree.
        tree: &'static str,
        /// Key.
        key: String,
        /// Why.
        source: postcard::Error,
    },
    /// Key or value is longer than [`crate::KEY_LIMIT`] or [`crate::VALUE_LIMIT`].
    #[error("write {key:?} of {tree}: {bytes} bytes are more than a store takes")]
    TooLong {
        /// Tree.
        tree: &'static str,
        /// Key, or its beginning.
        key: String,
        /// Length of what is too long.
        bytes: usize,
    },
    /// The data base gives no sign of progress while it is opened, and nor does its disk. It was
    /// left as it is: that says nothing of damage.
    #[error(
        "open the data base {path}: no progress for {waited:?}, after {records} records; it was \
         left in place. See that its disk answers, and start again; if it never opens, make the \
         empty file {rebuild}, and the next start sets it aside and builds it anew from what can \
         be read",
        path = .path.display(),
        rebuild = .rebuild.display(),
    )]
    Hangs {
        /// Its directory.
        path: PathBuf,
        /// How long nothing came.
        waited: Duration,
        /// Records read by then.
        records: u64,
        /// The file that asks for building it anew.
        rebuild: PathBuf,
    },
    /// The data base failed.
    #[error("{action}: {reason}")]
    Backend {
        /// What was tried.
        action: &'static str,
        /// What the data base said; a panic of it is caught and told here.
        reason: String,
    },
    /// The data base failed before in a way after which nothing is to be trusted: open it anew.
    #[error("use the store: it failed before and must be opened anew")]
    Failed,
}
