//! The store on disk.
//!
//! Every call into sled is guarded: a panic becomes an error, and after one the store refuses to
//! go on, because nothing it says can be trusted. Absent: choosing what to write and when.

use std::{
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    OpenReport, Store, StoreError, Tree, Write, head,
    lock::DirLock,
    open::{self, HEAD_KEY, HEAD_TREE, panic_text},
    record,
    store::check_lengths,
};

/// Records in a directory of their own. Dropping it flushes, then frees the directory.
pub struct SledStore {
    dir: PathBuf,
    // Order matters: fields drop in order, and the directory is free only when the data base is closed.
    pub(crate) db: sled::Db,
    /// Sequence of the last batch; the lock also keeps batches in the order of their sequences.
    sequence: Mutex<u64>,
    failed: AtomicBool,
    _lock: DirLock,
}

impl SledStore {
    /// Opens or makes the store in `dir` and reads all of it once. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if somebody has it, [`StoreError::File`] if the directory cannot be
    /// used. Damage is no error: see [`OpenReport`].
    pub fn open(dir: &Path) -> Result<(Self, OpenReport), StoreError> {
        fs::create_dir_all(dir).map_err(|source| StoreError::File {
            action: "create the directory",
            path: dir.to_owned(),
            source,
        })?;
        let lock = DirLock::take(dir)?;
        let (opened, report) = open::open(dir)?;
        // Sequences that were acknowledged once are never given again, even if their batch is gone.
        let sequence = opened.sequence.max(head::read(dir));
        let store = Self {
            dir: dir.to_owned(),
            db: opened.db,
            sequence: Mutex::new(sequence),
            failed: AtomicBool::new(false),
            _lock: lock,
        };
        Ok((store, report))
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs `work`; a panic becomes an error, and the last thing this store does.
    fn guard<T>(
        &self,
        action: &'static str,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(StoreError::Failed);
        }
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            self.failed.store(true, Ordering::Release);
            Err(StoreError::Backend { action, reason: panic_text(&*panic) })
        })
    }
}

/// Puts what sled says into our words.
fn backend(action: &'static str) -> impl Fn(sled::Error) -> StoreError {
    move |error| StoreError::Backend { action, reason: error.to_string() }
}

fn check<'r>(tree: Tree, key: &[u8], bytes: &'r [u8]) -> Result<&'r [u8], StoreError> {
    let (_, value) = record::decode(tree.name(), key, bytes).map_err(|reason| {
        let key = String::from_utf8_lossy(key).into_owned();
        StoreError::Damaged { tree: tree.name().to_owned(), key, reason }
    })?;
    Ok(value)
}

impl Store for SledStore {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        const ACTION: &str = "read from the store";
        self.guard(ACTION, || {
            let found =
                self.db.open_tree(tree.name()).and_then(|t| t.get(key)).map_err(backend(ACTION))?;
            found.map(|bytes| check(tree, key.as_bytes(), &bytes).map(<[u8]>::to_vec)).transpose()
        })
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        const ACTION: &str = "write to the store";
        check_lengths(tree, writes)?;
        if writes.is_empty() {
            return Ok(());
        }
        self.guard(ACTION, || {
            let mut last = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
            let sequence = *last + 1;
            let mut batch = sled::Batch::default();
            for write in writes {
                let key = write.key();
                match write {
                    Write::Put(_, value) => {
                        batch.insert(
                            key,
                            record::encode(tree.name(), key.as_bytes(), sequence, value),
                        );
                    }
                    Write::Delete(_) => batch.remove(key),
                }
            }
            let mark = record::encode(HEAD_TREE, HEAD_KEY.as_bytes(), sequence, b"");
            let apply = || {
                self.db.open_tree(tree.name())?.apply_batch(batch)?;
                // After the batch: whoever finds the mark finds the batch in the log before it.
                self.db.open_tree(HEAD_TREE)?.insert(HEAD_KEY, mark)
            };
            apply().map_err(backend(ACTION))?;
            *last = sequence;
            Ok(())
        })
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        const ACTION: &str = "read from the store";
        self.guard(ACTION, || {
            let records = self.db.open_tree(tree.name()).map_err(backend(ACTION))?;
            let mut found = Vec::new();
            for entry in &records {
                let (key, bytes) = entry.map_err(backend(ACTION))?;
                let value = check(tree, &key, &bytes)?.to_vec();
                // Keys are written from text only, and the checksum covers them.
                found.push((String::from_utf8_lossy(&key).into_owned(), value));
            }
            Ok(found)
        })
    }

    fn flush(&self) -> Result<(), StoreError> {
        const ACTION: &str = "flush the store";
        self.guard(ACTION, || {
            // Batches wait meanwhile, so that the head never promises one that is not on disk.
            let last = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
            self.db.flush().map_err(backend(ACTION))?;
            head::write(&self.dir, *last)
        })
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; what mattered was flushed before it was acknowledged.
        let _ = self.flush();
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}
