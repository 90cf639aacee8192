//! A store that forgets with its process: for tests and for `run` without a data directory.
//!
//! Absent: damage, so also checksums.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{Store, StoreError, Tree, Write, store::check_lengths};

type Records = BTreeMap<Tree, BTreeMap<String, Vec<u8>>>;

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Records>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // No code that runs under the lock can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.records().get(&tree).and_then(|t| t.get(key)).cloned())
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        check_lengths(tree, writes)?;
        let mut records = self.records();
        let tree = records.entry(tree).or_default();
        for write in writes {
            match write {
                Write::Put(key, value) => tree.insert((*key).to_owned(), value.to_vec()),
                Write::Delete(key) => tree.remove(*key),
            };
        }
        Ok(())
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let records = self.records();
        let tree = records.get(&tree).into_iter().flatten();
        Ok(tree.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
