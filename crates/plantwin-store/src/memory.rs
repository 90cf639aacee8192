//! A store that forgets with its process: for tests, simulation and `run` without a data directory.
//!
//! It models crashes: [`MemoryStore::crash`] takes back everything since the last flush, and
//! [`MemoryStore::crash_keeping`] leaves the first few of those operations, as a disk may. Absent:
//! damage, so also checksums.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
};

use plantwin_model::Timestamp;

use crate::{
    LogKind, LogRecord, Store, StoreError, Tree, Write,
    store::{check_lengths, check_payload},
};

/// Records and log in memory. Between two flushes it remembers how to take back each operation:
/// whoever writes flushes now and then.
#[derive(Debug)]
pub struct MemoryStore(Mutex<Contents>);

#[derive(Clone, Debug)]
struct Contents {
    trees: BTreeMap<Tree, BTreeMap<String, Vec<u8>>>,
    log: BTreeMap<u64, Kept>,
    /// Sequence of the next log record.
    next: u64,
    boot: u64,
    /// How to take back what is not safe, in the order it was done.
    undo: Vec<Undo>,
}

#[derive(Clone, Debug)]
struct Kept {
    boot: u64,
    time: Timestamp,
    kind: LogKind,
    payload: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Undo {
    /// What the keys of a batch held before it.
    Batch(Tree, Vec<(String, Option<Vec<u8>>)>),
    /// A log record of that sequence was added.
    Append(u64),
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self(Mutex::new(Contents {
            trees: BTreeMap::new(),
            log: BTreeMap::new(),
            next: 1,
            boot: 1,
            undo: Vec::new(),
        }))
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process or the power fails, and the store is opened again: nothing written since the
    /// last flush is there.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// What a crash at this moment would leave, as a store of its own; this one goes on.
    #[must_use]
    pub fn after_crash(&self) -> Self {
        let copy = Self(Mutex::new(self.contents().clone()));
        copy.crash();
        copy
    }

    /// As [`Self::crash`], but the first `operations` since the last flush did reach the disk. A
    /// batch counts as one and is there as a whole or not at all.
    pub fn crash_keeping(&self, operations: usize) {
        let mut contents = self.contents();
        let kept = operations.min(contents.undo.len());
        for undo in contents.undo.split_off(kept).into_iter().rev() {
            contents.take_back(undo);
        }
        contents.undo.clear();
        contents.boot += 1;
    }

    /// The trees are closed and opened anew, as when a store is mended: batches since the last
    /// flush are gone, but for the first few; the log stays.
    pub fn lose_batches(&self, keeping: usize) {
        let mut contents = self.contents();
        let is_batch = |undo: &Undo| matches!(undo, Undo::Batch(..));
        let (batches, appends): (Vec<_>, Vec<_>) =
            std::mem::take(&mut contents.undo).into_iter().partition(is_batch);
        contents.undo = appends;
        for undo in batches.into_iter().skip(keeping).rev() {
            contents.take_back(undo);
        }
    }

    /// Operations since the last flush.
    pub fn unsafe_operations(&self) -> usize {
        self.contents().undo.len()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        // No code that runs under the lock can leave the maps half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn take_back(&mut self, undo: Undo) {
        match undo {
            Undo::Batch(tree, before) => {
                let records = self.trees.entry(tree).or_default();
                for (key, value) in before.into_iter().rev() {
                    match value {
                        Some(value) => records.insert(key, value),
                        None => records.remove(&key),
                    };
                }
            }
            Undo::Append(sequence) => {
                self.log.remove(&sequence);
                self.next = sequence;
            }
        }
    }
}

impl Store for MemoryStore {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.contents().trees.get(&tree).and_then(|t| t.get(key)).cloned())
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        check_lengths(tree, writes)?;
        let mut contents = self.contents();
        let records = contents.trees.entry(tree).or_default();
        let mut before = Vec::with_capacity(writes.len());
        for write in writes {
            let key = write.key().to_owned();
            let old = match write {
                Write::Put(_, value) => records.insert(key.clone(), value.to_vec()),
                Write::Delete(_) => records.remove(&key),
            };
            before.push((key, old));
        }
        contents.undo.push(Undo::Batch(tree, before));
        Ok(())
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.scan_from(tree, "", "", usize::MAX)
    }

    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let contents = self.contents();
        let Some(records) = contents.trees.get(&tree) else { return Ok(Vec::new()) };
        let found = records.range(prefix.max(from_key).to_owned()..);
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn append(&self, kind: LogKind, time: Timestamp, payload: &[u8]) -> Result<u64, StoreError> {
        check_payload(kind, payload)?;
        let mut contents = self.contents();
        let (sequence, boot) = (contents.next, contents.boot);
        contents.log.insert(sequence, Kept { boot, time, kind, payload: payload.to_vec() });
        contents.next += 1;
        contents.undo.push(Undo::Append(sequence));
        Ok(sequence)
    }

    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut next = from;
        loop {
            // One at a time: whoever is shown a record may append.
            let (sequence, boot, time, kind, payload) = {
                let contents = self.contents();
                let Some((sequence, kept)) = contents.log.range(next..).next() else { break };
                (*sequence, kept.boot, kept.time, kept.kind, kept.payload.clone())
            };
            let record = LogRecord { sequence, boot, time, kind, payload: &payload };
            if visit(record).is_break() {
                break;
            }
            next = sequence + 1;
        }
        Ok(())
    }

    fn prune_log(&self, before: u64) -> Result<(), StoreError> {
        let mut contents = self.contents();
        // Only what is safe can be let go: taking back an append must find the record.
        let unsafe_from = contents.undo.iter().find_map(|undo| match undo {
            Undo::Append(sequence) => Some(*sequence),
            Undo::Batch(..) => None,
        });
        let before = before.min(unsafe_from.unwrap_or(contents.next));
        contents.log = contents.log.split_off(&before);
        Ok(())
    }

    fn flush_log(&self) -> Result<(), StoreError> {
        self.contents().undo.retain(|undo| matches!(undo, Undo::Batch(..)));
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.contents().undo.clear();
        Ok(())
    }
}
