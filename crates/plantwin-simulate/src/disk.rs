//! The simulated disk: a store in memory that loses what was not flushed, fails when it is told
//! to, and may take the whole process down between any two operations.
//!
//! A [`Planted`] fault makes it lie: a control that shows the simulation finds what it looks for.
//! Absent: damage to what was flushed (see the store's own images of damage).

use std::{
    io::ErrorKind,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plantwin_model::Timestamp;
use plantwin_store::{
    LogKind, LogRecord, Store, StoreError, Tree, Write,
    testing::{Fault, FaultyStore, MemoryStore, Operation},
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{journal::SharedJournal, net::Net, world::Planted};

/// What the disk is about to do wrong.
#[derive(Default)]
struct Mood {
    /// The process is dead: nothing it still tries has an effect.
    dead: bool,
    full: bool,
    /// Operations so far.
    count: u64,
    error_at: Option<(u64, bool)>,
    crash_at: Option<u64>,
    /// When it last refused something.
    refused: Option<Instant>,
}

/// After a refusal the disk is asked again within this time.
const ASKED_AGAIN_WITHIN: Duration = Duration::from_secs(1);

/// Shared by the store and by whoever disturbs it.
pub(crate) struct Disk {
    mood: Mutex<Mood>,
    /// Whether it answers nobody.
    hangs: watch::Sender<bool>,
    /// Told when an operation kills the process.
    pub(crate) died: Notify,
    net: Net,
    journal: SharedJournal,
}

/// The store of a simulation.
pub(crate) type SimStore = FaultyStore<Liar>;

impl Disk {
    /// An empty disk and its store.
    pub(crate) fn new(
        net: Net,
        journal: SharedJournal,
        planted: Option<Planted>,
    ) -> (Arc<Self>, Arc<SimStore>) {
        let hangs = watch::Sender::new(false);
        let disk = Self { mood: Mutex::default(), hangs, died: Notify::new(), net, journal };
        let disk = Arc::new(disk);
        let mine = Arc::clone(&disk);
        let liar = Liar { inner: MemoryStore::new(), planted };
        let store = FaultyStore::new(liar, move |_, operation| mine.next(operation));
        (disk, Arc::new(store))
    }

    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, operation: Operation) -> Fault {
        let mut mood = self.mood();
        if mood.dead {
            return Fault::Before(ErrorKind::BrokenPipe);
        }
        let number = mood.count;
        mood.count += 1;
        if mood.crash_at == Some(number) {
            mood.dead = true;
            mood.crash_at = None;
            drop(mood);
            self.net.set_alive(false);
            self.died.notify_one();
            self.journal.open().count("crashes_at_the_disk");
            return Fault::Before(ErrorKind::BrokenPipe);
        }
        if let Some((_, done)) = mood.error_at.take_if(|(at, _)| *at <= number) {
            mood.refused = Some(Instant::now());
            self.journal.open().count("disk_errors");
            let kind = ErrorKind::StorageFull;
            return if done { Fault::After(kind) } else { Fault::Before(kind) };
        }
        let reads = [Operation::Get, Operation::Scan, Operation::ScanFrom, Operation::ReadLog];
        if mood.full && !reads.contains(&operation) {
            mood.refused = Some(Instant::now());
            return Fault::Before(ErrorKind::StorageFull);
        }
        Fault::None
    }

    /// Whether an operation killed the process.
    pub(crate) fn is_dead(&self) -> bool {
        self.mood().dead
    }

    /// Whether it refuses to write, is about to, or did a moment ago: what it refused may not have
    /// been tried again.
    pub(crate) fn fails(&self) -> bool {
        let mood = self.mood();
        let lately = |at: Instant| at.elapsed() < ASKED_AGAIN_WITHIN;
        mood.full
            || *self.hangs.borrow()
            || mood.error_at.is_some()
            || mood.refused.is_some_and(lately)
    }

    /// The process ends here.
    pub(crate) fn die(&self) {
        self.mood().dead = true;
    }

    /// A new process begins.
    pub(crate) fn begin(&self) {
        self.mood().dead = false;
    }

    /// One operation fails, so many from now; `done`: after it was carried out.
    pub(crate) fn fail_after(&self, operations: u64, done: bool) {
        let mut mood = self.mood();
        mood.error_at = Some((mood.count + operations, done));
    }

    /// The process dies at an operation, so many from now.
    pub(crate) fn crash_after(&self, operations: u64) {
        let mut mood = self.mood();
        mood.crash_at = Some(mood.count + operations);
    }

    pub(crate) fn set_hanging(&self, hangs: bool) {
        let hung = self.hangs.send_replace(hangs);
        let mut mood = self.mood();
        if hung && !hangs && !mood.dead {
            // What was told that it hangs is tried again from now on.
            mood.refused = Some(Instant::now());
        }
    }

    /// Whether it hangs now.
    pub(crate) fn hanging(&self) -> watch::Receiver<bool> {
        self.hangs.subscribe()
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.mood().full = full;
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.set_hanging(false);
        let mut mood = self.mood();
        (mood.full, mood.error_at, mood.crash_at) = (false, None, None);
    }
}

/// A store in memory, with a lie if one was planted.
#[derive(Debug)]
pub(crate) struct Liar {
    pub(crate) inner: MemoryStore,
    planted: Option<Planted>,
}

impl Store for Liar {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(tree, key)
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        self.inner.put_batch(tree, writes)
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner.scan(tree)
    }

    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner.scan_from(tree, prefix, from_key, limit)
    }

    fn append(&self, kind: LogKind, time: Timestamp, payload: &[u8]) -> Result<u64, StoreError> {
        self.inner.append(kind, time, payload)
    }

    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let forgotten = match self.planted {
            Some(Planted::ForgottenCommands) => Some(LogKind::Command),
            _ => None,
        };
        self.inner.read_log(from, &mut |record| {
            if Some(record.kind) == forgotten { ControlFlow::Continue(()) } else { visit(record) }
        })
    }

    fn prune_log(&self, before: u64) -> Result<(), StoreError> {
        self.inner.prune_log(before)
    }

    fn flush_log(&self) -> Result<(), StoreError> {
        if self.planted == Some(Planted::EarlyConfirmation) {
            Ok(())
        } else {
            self.inner.flush_log()
        }
    }

    fn flush(&self) -> Result<(), StoreError> {
        if self.planted == Some(Planted::EarlyConfirmation) { Ok(()) } else { self.inner.flush() }
    }
}
