//! Stores for tests and simulation, here and in other crates.
//!
//! [`MemoryStore`] models crashes; [`FaultyStore`] puts errors in the way of any store. Absent:
//! damage to files, which `examples/damage.rs` does to the real one.

use std::{
    fmt, io,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use plantwin_model::Timestamp;

pub use crate::MemoryStore;
use crate::{LogKind, LogRecord, OpenReport, Store, StoreError, Tree, Write};

/// A call of [`Store`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "named as the calls they stand for")]
pub enum Operation {
    Get,
    PutBatch,
    Scan,
    ScanFrom,
    Append,
    ReadLog,
    PruneLog,
    FlushLog,
    Flush,
    Mend,
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is carried out.
    None,
    /// It fails and does nothing.
    Before(io::ErrorKind),
    /// It is carried out and then reported as failed, as when an acknowledgement gets lost.
    After(io::ErrorKind),
}

type Choose = dyn Fn(u64, Operation) -> Fault + Send + Sync;
type Renew<S> = dyn Fn(&S) + Send + Sync;

/// A store whose calls fail as it is told.
pub struct FaultyStore<S> {
    inner: S,
    calls: AtomicU64,
    choose: Box<Choose>,
    /// If faults stick: what opening anew does to the store behind it.
    renew: Option<Box<Renew<S>>>,
    /// The fault that sticks.
    stuck: Mutex<Option<io::ErrorKind>>,
}

impl<S: Store> FaultyStore<S> {
    /// `choose` is asked for each call, with its number from 0, what becomes of it.
    pub fn new(inner: S, choose: impl Fn(u64, Operation) -> Fault + Send + Sync + 'static) -> Self {
        Self {
            inner,
            calls: AtomicU64::new(0),
            choose: Box::new(choose),
            renew: None,
            stuck: Mutex::new(None),
        }
    }

    /// As [`Self::new`], but as with sled a write of a batch or a flush that failed lets all later
    /// ones fail as well, until [`Store::mend`], which lets `renew` do what opening anew does.
    pub fn sticking(
        inner: S,
        renew: impl Fn(&S) + Send + Sync + 'static,
        choose: impl Fn(u64, Operation) -> Fault + Send + Sync + 'static,
    ) -> Self {
        Self { renew: Some(Box::new(renew)), ..Self::new(inner, choose) }
    }

    /// The `n`-th call, from 0, finds the disk full and does nothing.
    pub fn failing_at(inner: S, n: u64) -> Self {
        Self::new(inner, move |call, _| {
            if call == n { Fault::Before(io::ErrorKind::StorageFull) } else { Fault::None }
        })
    }

    /// The store behind it.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn stuck(&self) -> std::sync::MutexGuard<'_, Option<io::ErrorKind>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(
        &self,
        operation: Operation,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let sticks =
            self.renew.is_some() && matches!(operation, Operation::PutBatch | Operation::Flush);
        let fail = |kind: io::ErrorKind| {
            if sticks {
                self.stuck().get_or_insert(kind);
            }
            let path = PathBuf::from("faulty store");
            Err(StoreError::File { action: "use the", path, source: kind.into() })
        };
        let stuck = *self.stuck();
        match (self.choose)(call, operation) {
            _ if sticks && stuck.is_some() => fail(stuck.unwrap_or(io::ErrorKind::Other)),
            Fault::None => work(),
            Fault::Before(kind) => fail(kind),
            Fault::After(kind) => work().and_then(|_| fail(kind)),
        }
    }
}

impl<S: Store> Store for FaultyStore<S> {
    fn get(&self, tree: Tree, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(Operation::Get, || self.inner.get(tree, key))
    }

    fn put_batch(&self, tree: Tree, writes: &[Write<'_>]) -> Result<(), StoreError> {
        self.run(Operation::PutBatch, || self.inner.put_batch(tree, writes))
    }

    fn scan(&self, tree: Tree) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.run(Operation::Scan, || self.inner.scan(tree))
    }

    fn scan_from(
        &self,
        tree: Tree,
        prefix: &str,
        from_key: &str,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.run(Operation::ScanFrom, || self.inner.scan_from(tree, prefix, from_key, limit))
    }

    fn lost(&self, tree: Tree) -> u64 {
        self.inner.lost(tree)
    }

    fn mend(&self) -> Result<Option<OpenReport>, StoreError> {
        self.run(Operation::Mend, || match &self.renew {
            Some(renew) if self.stuck().is_some() => {
                renew(&self.inner);
                *self.stuck() = None;
                Ok(Some(OpenReport::default()))
            }
            Some(_) => Ok(None),
            None => self.inner.mend(),
        })
    }

    fn append(&self, kind: LogKind, time: Timestamp, payload: &[u8]) -> Result<u64, StoreError> {
        self.run(Operation::Append, || self.inner.append(kind, time, payload))
    }

    fn read_log(
        &self,
        from: u64,
        visit: &mut dyn FnMut(LogRecord<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.run(Operation::ReadLog, || self.inner.read_log(from, visit))
    }

    fn prune_log(&self, before: u64) -> Result<(), StoreError> {
        self.run(Operation::PruneLog, || self.inner.prune_log(before))
    }

    fn flush_log(&self) -> Result<(), StoreError> {
        self.run(Operation::FlushLog, || self.inner.flush_log())
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.run(Operation::Flush, || self.inner.flush())
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}
