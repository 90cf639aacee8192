//! The store on disk.
//!
//! Every call into sled is guarded: a panic becomes an error, and after one the trees refuse to
//! go on, because nothing they say can be trusted; after an error, which sled 0.34 repeats for
//! ever, they refuse to be written to. [`Store::mend`] opens them anew (`mend.rs`). The log, which
//! is not sled's, goes on. Absent: choosing what to write and when.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, ControlFlow},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use plantwin_model::Timestamp;

use crate::{
    LogKind, LogRecord, OpenReport, Store, StoreError, Tree, Write,
    files::SledFiles,
    head::{HEAD_KEY, Head},
    helper::panic_text,
    key::Keys,
    key_source::KeySource,
    lock::DirLock,
    log::Log,
    marks::{Marks, MarksFile},
    names::{self, NameId, Names},
    open,
    record::{self, Content},
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

/// The heads and names of the trees; the lock keeps batches in the order of their sequences.
pub(crate) struct Trees {
    pub(crate) heads: BTreeMap<String, Head>,
    pub(crate) names: BTreeMap<String, Names>,
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
    pub(crate) names: BTreeMap<String, Names>,
    pub(crate) db: sled::Db,
    pub(crate) files: SledFiles,
    pub(crate) log: Log,
    pub(crate) marks: MarksFile,
    pub(crate) lock: DirLock,
}

impl SledStore {
    /// As [`Self::open_with`], with a key that lies unwrapped in the directory.
    pub fn open(dir: &Path) -> Result<(Self, OpenReport), StoreError> {
        Self::open_with(dir, &KeySource::Plain)
    }

    /// Opens or makes the store in `dir` and reads all of it once. Blocks on the disk, and a
    /// passphrase takes a quarter of a second. A new store's key is wrapped by `source`.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`] if `source` does not unlock its key, [`StoreError::Key`] if that is
    /// not the right one (nothing is touched in both cases), [`StoreError::InUse`] if somebody has
    /// it, [`StoreError::File`] if the directory cannot be used. Damage is no error: see
    /// [`OpenReport`].
    pub fn open_with(dir: &Path, source: &KeySource) -> Result<(Self, OpenReport), StoreError> {
        let (parts, report) = open::open(dir, source)?;
        let store = Self {
            dir: dir.to_owned(),
            keys: parts.keys,
            boot: parts.boot,
            lost: Mutex::new(parts.lost),
            trees: Mutex::new(Trees { heads: parts.heads, names: parts.names, version: 0 }),
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

    fn check(
        &self,
        tree: Tree,
        key: &str,
        place: &[u8],
        bytes: &[u8],
    ) -> Result<(u64, Content), StoreError> {
        let damaged = |reason| StoreError::Damaged {
            tree: tree.name().to_owned(),
            key: key.to_owned(),
            reason,
        };
        let (sequence, content) =
            record::decode(&self.keys.record, tree.name(), place, bytes).map_err(damaged)?;
        // Two names of one hash: once in 2^64 names.
        if content.name() == names::split(key).0 {
            Ok((sequence, content))
        } else {
            Err(damaged("it belongs under another key"))
        }
    }

    /// Where the record of a key stands.
    pub(crate) fn place(&self, tree: Tree, key: &str) -> Vec<u8> {
        let (name, rest) = names::split(key);
        names::place(names::id_of(&self.keys, tree.name(), name), rest)
    }

    /// The first name of a tree from there on.
    fn first_name(&self, tree: Tree, from: Bound<&str>) -> Option<(Arc<str>, NameId)> {
        lock(&self.trees).names.get(tree.name())?.first(from)
    }

    fn collect(
        &self,
        tree: Tree,
        action: &'static str,
        (prefix, from): (&str, &str),
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let begin = prefix.max(from);
        let (begin_name, begin_rest) = names::split(begin);
        self.guard(action, Does::Read, |db| {
            let records = db.open_tree(tree.name()).map_err(backend(action))?;
            let mut found = Vec::new();
            let mut next = self.first_name(tree, Bound::Included(begin_name));
            while let Some((name, id)) = next {
                let rest = if *name == *begin_name { begin_rest } else { "" };
                for entry in records.range(names::place(id, rest)..) {
                    let (place, bytes) = entry.map_err(backend(action))?;
                    // What is not hidden is written from text only, and the seal covers it.
                    let Some(rest) = place.strip_prefix(&id) else { break };
                    let key = format!("{name}{}", String::from_utf8_lossy(rest));
                    if found.len() == limit || !key.starts_with(prefix) {
                        return Ok(found);
                    }
                    let (_, content) = self.check(tree, &key, &place, &bytes)?;
                    found.push((key, content.into_value()));
                }
                next = self.first_name(tree, Bound::Excluded(&name));
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
        let place = self.place(tree, key);
        self.guard(ACTION, Does::Read, |db| {
            let found =
                db.open_tree(tree.name()).and_then(|t| t.get(&place)).map_err(backend(ACTION))?;
            let value = |bytes: sled::IVec| {
                self.check(tree, key, &place, &bytes).map(|(_, content)| content.into_value())
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
            let (keys, tree_name) = (&self.keys, tree.name());
            let mut trees = lock(&self.trees);
            let mut head = trees.heads.get(tree_name).copied().unwrap_or_default();
            head.sequence += 1;
            head.writes += writes.len() as u64;
            let sequence = head.sequence;
            let records = db.open_tree(tree_name).map_err(backend(ACTION))?;
            let mut batch = sled::Batch::default();
            let (mut come, mut gone) = (Vec::new(), Vec::new());
            let last: BTreeMap<&str, &Write<'_>> = writes.iter().map(|w| (w.key(), w)).collect();
            for (key, write) in last {
                let (name, rest) = names::split(key);
                let id = names::id_of(keys, tree_name, name);
                let place = names::place(id, rest);
                let old = records.get(&place).map_err(backend(ACTION))?;
                if let Some(old) = &old {
                    let (sequence, _) = self.check(tree, key, &place, old)?;
                    head.remove(keys, tree_name, &place, sequence);
                }
                match (write, old) {
                    (Write::Put(_, value), old) => {
                        if old.is_none() {
                            come.push((name, id));
                        }
                        head.add(keys, tree_name, &place, sequence);
                        let at = (place.as_slice(), name);
                        let bytes = record::encode(&keys.record, tree_name, at, sequence, value)?;
                        batch.insert(place, bytes);
                    }
                    (Write::Delete(_), Some(_)) => {
                        gone.push(name);
                        batch.remove(place);
                    }
                    (Write::Delete(_), None) => {}
                }
            }
            let at = (HEAD_KEY, "");
            let mark = record::encode(&keys.record, tree_name, at, sequence, &head.encode())?;
            batch.insert(HEAD_KEY, mark);
            records.apply_batch(batch).map_err(backend(ACTION))?;
            let known = trees.names.entry(tree_name.to_owned()).or_default();
            for (name, id) in come {
                known.add(name, id);
            }
            for name in gone {
                known.remove(name);
            }
            trees.heads.insert(tree_name.to_owned(), head);
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
