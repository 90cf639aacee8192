//! The store on disk.
//!
//! Every call into sled is guarded: a panic becomes an error, and after one the trees refuse to
//! go on, because nothing they say can be trusted; after an error, which sled 0.34 repeats for
//! ever, they refuse to be written to. [`Store::mend`] opens them anew (`mend.rs`). The log, which
//! is not sled's, goes on. Absent: choosing what to write and when.

use std::{
    collections::BTreeMap,
    fmt,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use plantwin_model::Timestamp;

use crate::{
    LogKind, LogRecord, OpenReport, Store, StoreError, Tree, Write,
    files::SledFiles,
    head::{HEAD_KEY, Head},
    key::Keys,
    lock::DirLock,
    log::Log,
    marks::{Marks, MarksFile},
    open, record,
    state::panic_text,
    store::check_lengths,
};

/// Records and log in a directory of their own. Dropping it flushes, then frees the directory.
///
/// Locks are taken in the order marks, data base, trees, log.
pub struct SledStore {
    pub(crate) dir: PathBuf,
    pub(crate) keys: Keys,
    boot: u64,
    pub(crate) lost: Mutex<BTreeMap<String, u64>>,
    // Order matters: fields drop in order, and the directory is free only when the data base is closed.
    pub(crate) trees: Mutex<Trees>,
    /// `None` after it was closed to be opened anew, and could not be. Held for reading by every
    /// call that uses it.
    pub(crate) db: RwLock<Option<sled::Db>>,
    log: Mutex<Log>,
    /// Held through a flush: who comes second finds that nothing is left to do.
    pub(crate) marks: Mutex<Flushed>,
    pub(crate) health: Mutex<Health>,
    _lock: DirLock,
}

/// How the data base does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    /// Well.
    Well,
    /// A write or a flush failed: nothing more is written, because what sled has in memory may be
    /// half a batch, and must not get to the disk. The reason.
    Refused(String),
    /// A panic, or it could not be opened anew: nothing it says can be trusted.
    Failed,
}

/// The heads of the trees; the lock keeps batches in the order of their sequences.
pub(crate) struct Trees {
    pub(crate) heads: BTreeMap<String, Head>,
    /// Batches since opening.
    pub(crate) version: u64,
}

pub(crate) struct Flushed {
    pub(crate) file: MarksFile,
    pub(crate) files: SledFiles,
    /// Batches since opening that are safe.
    pub(crate) version: u64,
}

/// What a call does to the data base.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Read,
    Write,
}

/// What [`open::open`] puts together.
pub(crate) struct Parts {
    pub(crate) keys: Keys,
    pub(crate) boot: u64,
    pub(crate) lost: BTreeMap<String, u64>,
    pub(crate) heads: BTreeMap<String, Head>,
    pub(crate) db: sled::Db,
    pub(crate) files: SledFiles,
    pub(crate) log: Log,
    pub(crate) marks: MarksFile,
    pub(crate) lock: DirLock,
}

impl SledStore {
    /// Opens or makes the store in `dir` and reads all of it once. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if somebody has it, [`StoreError::Key`] if its key is not the right
    /// one (nothing is touched then), [`StoreError::File`] if the directory cannot be used. Damage
    /// is no error: see [`OpenReport`].
    pub fn open(dir: &Path) -> Result<(Self, OpenReport), StoreError> {
        let (parts, report) = open::open(dir)?;
        let store = Self {
            dir: dir.to_owned(),
            keys: parts.keys,
            boot: parts.boot,
            lost: Mutex::new(parts.lost),
            trees: Mutex::new(Trees { heads: parts.heads, version: 0 }),
            db: RwLock::new(Some(parts.db)),
            log: Mutex::new(parts.log),
            marks: Mutex::new(Flushed { file: parts.marks, files: parts.files, version: 0 }),
            health: Mutex::new(Health::Well),
            _lock: parts.lock,
        };
        Ok((store, report))
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How often it was opened, this time included.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Encrypts what shall lie on a disk, under a key that comes from the store's; `context` says
    /// what it is and must be given again to [`Self::open_at_rest`]. 40 bytes longer than `plain`.
    pub fn seal_at_rest(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(plantwin_seal::seal_at_rest(&self.keys.rest, context.as_bytes(), plain)?)
    }

    /// A key for one purpose of the owner, the same at every opening of this store.
    pub fn key_for(&self, context: &'static str) -> plantwin_seal::Secret {
        plantwin_seal::derive_key(context, &[self.keys.rest.expose()])
    }

    /// Decrypts what [`Self::seal_at_rest`] made.
    ///
    /// # Errors
    /// [`StoreError::Seal`] if it was altered, or made for another context or by another store.
    pub fn open_at_rest(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(plantwin_seal::open_at_rest(&self.keys.rest, context.as_bytes(), sealed)?)
    }

    /// What the marks say.
    #[cfg(test)]
    pub(crate) fn promised(&self) -> Marks {
        lock(&self.marks).file.written().clone()
    }

    /// Makes the marks say something else.
    #[cfg(test)]
    pub(crate) fn promise(&self, marks: Marks) {
        for _ in 0..2 {
            let mut flushed = lock(&self.marks);
            flushed.file.put(&self.keys, &marks).unwrap();
        }
    }

    /// Runs `work`; a panic becomes an error, and the last thing the trees do before they are
    /// mended. So does an error of a write.
    fn guard<T>(
        &self,
        action: &'static str,
        does: Does,
        work: impl FnOnce(&sled::Db) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let health = lock(&self.health).clone();
        let db = match (&health, &*db) {
            (Health::Refused(reason), _) if does == Does::Write => {
                return Err(StoreError::Backend { action, reason: reason.clone() });
            }
            (Health::Failed, _) | (_, None) => return Err(StoreError::Failed),
            (_, Some(db)) => db,
        };
        match catch_unwind(AssertUnwindSafe(|| work(db))) {
            Ok(outcome) => {
                let reason = match &outcome {
                    Err(StoreError::Backend { reason, .. }) => Some(reason.clone()),
                    Err(error @ StoreError::File { .. }) => Some(error.to_string()),
                    // A record that is damaged, or too long: nothing was written.
                    _ => None,
                };
                let mut health = lock(&self.health);
                if let (Health::Well, Does::Write, Some(reason)) = (&*health, does, reason) {
                    *health = Health::Refused(reason);
                }
                outcome
            }
            Err(panic) => {
                *lock(&self.health) = Health::Failed;
                Err(StoreError::Backend { action, reason: panic_text(&*panic) })
            }
        }
    }

    /// Runs `work` on the data base itself.
    #[cfg(test)]
    pub(crate) fn with_db<T>(&self, work: impl FnOnce(&sled::Db) -> T) -> Result<T, StoreError> {
        self.guard("test the store", Does::Read, |db| Ok(work(db)))
    }

    fn check<'r>(
        &self,
        tree: Tree,
        key: &[u8],
        bytes: &'r [u8],
    ) -> Result<(u64, &'r [u8]), StoreError> {
        record::decode(&self.keys.record, tree.name(), key, bytes).map_err(|reason| {
            let key = String::from_utf8_lossy(key).into_owned();
            StoreError::Damaged { tree: tree.name().to_owned(), key, reason }
        })
    }

    fn collect(
        &self,
        tree: Tree,
        action: &'static str,
        (prefix, from): (&str, &str),
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.guard(action, Does::Read, |db| {
            let records = db.open_tree(tree.name()).map_err(backend(action))?;
            let mut found = Vec::new();
            for entry in records.range(prefix.max(from).as_bytes()..HEAD_KEY) {
                let (key, bytes) = entry.map_err(backend(action))?;
                if found.len() == limit || !key.starts_with(prefix.as_bytes()) {
                    break;
                }
                let (_, value) = self.check(tree, &key, &bytes)?;
                // Keys are written from text only, and the MAC covers them.
                found.push((String::from_utf8_lossy(&key).into_owned(), value.to_vec()));
            }
            Ok(found)
        })
    }

    /// Makes the trees safe, if anything was written, and says their heads.
    fn flush_trees(
        &self,
        flushed: &mut Flushed,
    ) -> Result<Option<BTreeMap<String, Head>>, StoreError> {
        const ACTION: &str = "flush the store";
        self.guard(ACTION, Does::Write, |db| {
            let (heads, version) = {
                let trees = lock(&self.trees);
                if trees.version == flushed.version {
                    return Ok(None);
                }
                (trees.heads.clone(), trees.version)
            };
            db.flush().map_err(backend(ACTION))?;
            flushed.files.sync()?;
            flushed.version = version;
            Ok(Some(heads))
        })
    }

    fn flush_parts(&self, with_trees: bool) -> Result<(), StoreError> {
        let mut flushed = lock(&self.marks);
        let mut marks = flushed.file.written().clone();
        let log = {
            let mut log = lock(&self.log);
            let outcome = log.flush();
            (marks.log_first, marks.log_last, marks.log_mac) = log.marks();
            outcome
        };
        let trees = if with_trees { self.flush_trees(&mut flushed) } else { Ok(None) };
        let trees =
            trees.map(|heads| marks.trees = heads.unwrap_or(std::mem::take(&mut marks.trees)));
        // Whatever failed, what is safe is marked.
        let written = flushed.file.write(&self.keys, marks);
        log.and(trees).and(written)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under a lock comes from sled only, and is kept in `health`.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts what sled says into our words.
fn backend(action: &'static str) -> impl Fn(sled::Error) -> StoreError {
    move |error| StoreError::Backend { action, reason: error.to_string() }
}

impl Store for SledStore {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        const ACTION: &str = "read from the store";
        self.guard(ACTION, Does::Read, |db| {
            let found =
                db.open_tree(tree.name()).and_then(|t| t.get(key)).map_err(backend(ACTION))?;
            let value = |bytes: sled::IVec| {
                self.check(tree, key.as_bytes(), &bytes).map(|(_, value)| value.to_vec())
            };
            found.map(value).transpose()
        })
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        const ACTION: &str = "write to the store";
        check_lengths(tree, writes)?;
        if writes.is_empty() {
            return Ok(());
        }
        self.guard(ACTION, Does::Write, |db| {
            let mut trees = lock(&self.trees);
            let name = tree.name();
            let mut head = trees.heads.get(name).copied().unwrap_or_default();
            head.sequence += 1;
            head.writes += writes.len() as u64;
            let records = db.open_tree(name).map_err(backend(ACTION))?;
            let mut batch = sled::Batch::default();
            let last: BTreeMap<&str, &Write<'_>> = writes.iter().map(|w| (w.key(), w)).collect();
            for (key, write) in last {
                if let Some(old) = records.get(key).map_err(backend(ACTION))? {
                    let (sequence, _) = self.check(tree, key.as_bytes(), &old)?;
                    head.remove(&self.keys, name, key.as_bytes(), sequence);
                }
                match write {
                    Write::Put(_, value) => {
                        let sequence = head.sequence;
                        head.add(&self.keys, name, key.as_bytes(), sequence);
                        batch.insert(
                            key,
                            record::encode(
                                &self.keys.record,
                                name,
                                key.as_bytes(),
                                sequence,
                                value,
                            ),
                        );
                    }
                    Write::Delete(_) => batch.remove(key),
                }
            }
            let mark =
                record::encode(&self.keys.record, name, HEAD_KEY, head.sequence, &head.encode());
            batch.insert(HEAD_KEY, mark);
            records.apply_batch(batch).map_err(backend(ACTION))?;
            trees.heads.insert(name.to_owned(), head);
            trees.version += 1;
            Ok(())
        })
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.collect(tree, "read from the store", ("", ""), usize::MAX)
    }

    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.collect(tree, "read from the store", (prefix, from_key), limit)
    }

    fn lost(&self, tree: Tree) -> u64 {
        lock(&self.lost).get(tree.name()).copied().unwrap_or(0)
    }

    fn mend(&self) -> Result<Option<OpenReport>, StoreError> {
        self.open_anew()
    }

    fn append(&self, kind: LogKind, time: Timestamp, payload: &[u8]) -> Result<u64, StoreError> {
        lock(&self.log).append(self.boot, kind, time, payload)
    }

    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        // Read without the lock: whoever is shown a record may append.
        let view = lock(&self.log).view(from);
        view.read(from, visit)
    }

    fn prune_log(&self, before: u64) -> Result<(), StoreError> {
        let mut flushed = lock(&self.marks);
        let first = lock(&self.log).prunable(before);
        let marks = Marks { log_first: first, ..flushed.file.written().clone() };
        // First the promise, then the deed: a legal pruning must never look like a loss.
        flushed.file.write(&self.keys, marks)?;
        let mut log = lock(&self.log);
        log.set_first(first);
        log.remove()
    }

    fn flush_log(&self) -> Result<(), StoreError> {
        self.flush_parts(false)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.flush_parts(true)
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
