//! The store as others know it.
//!
//! Absent: transactions over several trees, watching for changes.

use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;

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
    /// At compile time, where it is used in a constant: if the name is empty or starts with `_`,
    /// which the data base keeps for itself.
    pub const fn new(name: &'static str) -> Self {
        assert!(!name.is_empty() && name.as_bytes()[0] != b'_', "no name for a tree");
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

/// Keeps records by tree and key. Object safe; calls may block on the disk.
pub trait Store: Send + Sync {
    /// The value of `key`, checked; `None` if there is none.
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Applies all changes or none. Not safe before [`Self::flush`].
    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError>;

    /// All records of a tree, in the order of their keys, checked.
    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// Returns when everything written before is on the disk.
    fn flush(&self) -> Result<(), StoreError>;
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
