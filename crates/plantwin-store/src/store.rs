//! The store as others know it.
//!
//! Absent: transactions over several trees, watching for changes.

use std::{ops::ControlFlow, sync::Arc};

use plantwin_model::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::{OpenReport, StoreError};

/// Longest key in bytes.
pub const KEY_LIMIT: usize = 256;
/// Longest value in bytes.
pub const VALUE_LIMIT: usize = 1 << 20;

/// A named set of records. Each owner of state has its own, as a constant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tree(&'static str);

impl Tree {
    /// A tree of that name.
    ///
    /// # Panics
    /// At compile time, where it is used in a constant: if the name is empty, longer than 64
    /// bytes, or starts with `_`, which the data base keeps for itself.
    pub const fn new(name: &'static str) -> Self {
        assert!(!name.is_empty() && name.as_bytes()[0] != b'_', "no name for a tree");
        assert!(name.len() <= 64, "too long a name for a tree");
        Self(name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// One change of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write<'a> {
    /// Sets a key.
    Put(&'a str, &'a [u8]),
    /// Removes a key, whether it is there or not.
    Delete(&'a str),
}

impl<'a> Write<'a> {
    /// The key it changes.
    pub const fn key(&self) -> &'a str {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Longest payload of a log record in bytes.
pub const PAYLOAD_LIMIT: usize = 1 << 20;

/// What a log record is about. The numbers are those on disk and never change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum LogKind {
    /// An alarm was raised, changed or ended.
    Alarm = 1,
    /// A command was taken in, sent or ended.
    Command = 2,
    /// Somebody did something that must be accounted for.
    Audit = 3,
    /// The owner begins to repeat what still counts, repeats it, or has repeated all of it.
    Checkpoint = 4,
}

impl LogKind {
    /// The kind of that number.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Alarm),
            2 => Some(Self::Command),
            3 => Some(Self::Audit),
            4 => Some(Self::Checkpoint),
            _ => None,
        }
    }

    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Command => "command",
            Self::Audit => "audit",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// A record of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRecord<'a> {
    /// From 1, without holes but for what was lost and told.
    pub sequence: u64,
    /// How often the store had been opened when it was written, from 1.
    pub boot: u64,
    /// When, by the writer's clock.
    pub time: Timestamp,
    /// About what.
    pub kind: LogKind,
    /// What the writer said.
    pub payload: &'a [u8],
}

/// Keeps records by tree and key, and a log. Object safe; calls may block on the disk.
pub trait Store: Send + Sync {
    /// The value of `key`, checked; `None` if there is none.
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Applies all changes or none. Not safe before [`Self::flush`].
    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError>;

    /// All records of a tree, in the order of their keys, checked.
    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// The first `limit` records whose keys begin with `prefix` and are not below `from_key`, in
    /// the order of their keys, checked.
    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Changes of this tree that may be lost, because its data base was found damaged when the
    /// store was opened: an upper bound for what the owner may count on no longer. Zero if all is
    /// well.
    fn lost(&self, tree: Tree) -> u64 {
        let _ = tree;
        0
    }

    /// Opens the trees anew if they failed in a way that they do not recover from (a full disk, a
    /// panic): `None` if there is no need. What was flushed is there then; what was only put may
    /// be gone and is to be put again. Whoever keeps an index of a tree builds it anew, see
    /// [`crate::Spool::reopen`]. After an error they are still failed, and it may be tried again.
    /// The log needs no mending.
    fn mend(&self) -> Result<Option<OpenReport>, StoreError> {
        Ok(None)
    }

    /// Adds a record to the log and returns its sequence. Not safe before [`Self::flush`] or
    /// [`Self::flush_log`]; one that was lost before that may give its sequence to another.
    fn append(&self, kind: LogKind, time: Timestamp, payload: &[u8]) -> Result<u64, StoreError>;

    /// Shows `visit` the records of the log from a sequence on, in order, those not yet safe
    /// included, until it breaks off.
    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Lets go of log records below `before`, in whole segments: some of them may stay.
    fn prune_log(&self, before: u64) -> Result<(), StoreError>;

    /// Returns when the log is on the disk; the trees may not be.
    fn flush_log(&self) -> Result<(), StoreError>;

    /// Returns when everything written before, by anybody, is on the disk. Calls from several
    /// threads at once share one trip to the disk.
    fn flush(&self) -> Result<(), StoreError>;
}

impl<S: Store + ?Sized> Store for Arc<S> {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        (**self).get(tree, key)
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        (**self).put_batch(tree, writes)
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        (**self).scan(tree)
    }

    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        (**self).scan_from(tree, prefix, from_key, limit)
    }

    fn lost(&self, tree: Tree) -> u64 {
        (**self).lost(tree)
    }

    fn mend(&self) -> Result<Option<OpenReport>, StoreError> {
        (**self).mend()
    }

    fn append(&self, kind: LogKind, time: Timestamp, payload: &[u8]) -> Result<u64, StoreError> {
        (**self).append(kind, time, payload)
    }

    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        (**self).read_log(from, visit)
    }

    fn prune_log(&self, before: u64) -> Result<(), StoreError> {
        (**self).prune_log(before)
    }

    fn flush_log(&self) -> Result<(), StoreError> {
        (**self).flush_log()
    }

    fn flush(&self) -> Result<(), StoreError> {
        (**self).flush()
    }
}

/// Typed values over any [`Store`], encoded with postcard.
pub trait StoreExt: Store {
    /// The value of `key`.
    fn get_value<T: DeserializeOwned>(
        &self,
        tree: Tree,
        key: &str,
    ) -> Result<Option<T>, StoreError> {
        self.get(tree, key)?.map(|bytes| decode(tree, key, &bytes)).transpose()
    }

    /// Sets `key`. Not safe before [`Store::flush`].
    fn put_value<T: Serialize>(&self, tree: Tree, key: &str, value: &T) -> Result<(), StoreError> {
        let bytes = postcard::to_stdvec(value).map_err(|source| StoreError::Encoding {
            action: "encode",
            tree: tree.name(),
            key: key.to_owned(),
            source,
        })?;
        self.put_batch(tree, &[Write::Put(key, &bytes)])
    }

    /// All values of a tree, in the order of their keys.
    fn scan_values<T: DeserializeOwned>(&self, tree: Tree) -> Result<Vec<(String, T)>, StoreError> {
        let records = self.scan(tree)?.into_iter();
        records.map(|(key, bytes)| decode(tree, &key, &bytes).map(|value| (key, value))).collect()
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

fn decode<T: DeserializeOwned>(tree: Tree, key: &str, bytes: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|source| StoreError::Encoding {
        action: "decode",
        tree: tree.name(),
        key: key.to_owned(),
        source,
    })
}

/// Refuses what no store takes.
pub(crate) fn check_lengths(tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
    for write in writes {
        let key = write.key();
        let value = match write {
            Write::Put(_, value) => value.len(),
            Write::Delete(_) => 0,
        };
        if key.len() > KEY_LIMIT || value > VALUE_LIMIT {
            return Err(StoreError::TooLong {
                tree: tree.name(),
                key: key.chars().take(64).collect(),
                bytes: key.len().max(value),
            });
        }
    }
    Ok(())
}

/// Refuses what no log takes.
pub(crate) fn check_payload(kind: LogKind, payload: &[u8]) -> Result<(), StoreError> {
    if payload.len() > PAYLOAD_LIMIT {
        return Err(StoreError::TooLong {
            tree: "log",
            key: kind.name().to_owned(),
            bytes: payload.len(),
        });
    }
    Ok(())
}
