//! The [`AuditSink`] that the plant is given.
//!
//! [`AuditSink::record`] never waits for the disk: an entry goes behind those that wait, and a
//! thread writes them ([`super::worker`]); a lone entry is safe within the time of one sync.
//! **Overload:** at most [`BACKLOG_ENTRIES`] wait; beyond that entries are counted, and the count
//! becomes a gap record in their place, so a loss is told for good. If the disk cannot be written,
//! or does not answer for [`HUNG`], [`AuditWriter::is_blocked`] says so. After an error it is tried
//! again every 250 ms. Absent: alarms, deciding what to refuse while it is blocked.

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use plantwin_model::{AuditEntry, AuditSink, Clock};

use super::{
    fail,
    trail::AuditTrail,
    worker::{Answer, Ask, Shared, State, Worker},
};
use crate::StoreError;

/// Entries that wait in memory while the disk cannot be written.
pub const BACKLOG_ENTRIES: usize = 65_536;
/// Wall time for which an entry may wait before the disk counts as hung.
pub const HUNG: Duration = Duration::from_secs(5);

/// Longest wait for the disk when the writer is closed.
const CLOSES_WITHIN: Duration = Duration::from_secs(30);

/// How the writer stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditStatus {
    /// Entries that are on the disk since this start.
    pub records: u64,
    /// Sequence of the last record on the disk, checkpoints included.
    pub last: u64,
    /// The disk cannot be written, or has kept an entry waiting for [`HUNG`].
    pub blocked: bool,
    /// Entries, and counts of lost ones, that wait in memory.
    pub waiting: u64,
    /// Entries that were lost since this start: the backlog was full, or the writer was closed.
    pub lost: u64,
    /// What went wrong last; a fragment fit for "failed to {error}". `None` if nothing is wrong.
    pub error: Option<String>,
}

/// Writes a trail from a thread of its own; dropping it closes the trail.
pub struct AuditWriter {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl AuditWriter {
    /// Starts the thread; `clock` stamps the entries.
    ///
    /// # Errors
    /// [`StoreError::File`] if the system gives no thread.
    pub fn start(trail: AuditTrail, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::default());
        let blocked = trail.is_waiting();
        let last = if blocked { 0 } else { trail.last() };
        shared.lock().status = AuditStatus { last, blocked, ..AuditStatus::default() };
        let worker = Worker { trail, clock: Arc::clone(&clock), shared: Arc::clone(&shared) };
        let thread = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || worker.run())
            .map_err(|e| fail("start a thread for", Path::new("audit"), e))?;
        Ok(Self { shared, clock, thread: Mutex::new(Some(thread)) })
    }

    /// How it stands.
    pub fn status(&self) -> AuditStatus {
        let state = self.shared.lock();
        let mut status = state.status.clone();
        status.waiting = state.waiting();
        if self.hangs(&state) {
            status.blocked = true;
            status.error.get_or_insert_with(|| {
                format!("write the audit trail: the disk has not answered for {} s", HUNG.as_secs())
            });
        }
        status
    }

    /// Whether the disk cannot be written: people's commands and configuration should be refused
    /// until it can, plant control never.
    pub fn is_blocked(&self) -> bool {
        let state = self.shared.lock();
        state.status.blocked || self.hangs(&state)
    }

    fn hangs(&self, state: &State) -> bool {
        // The disk knows nothing of a plant's time that passes faster.
        let limit = HUNG.as_secs_f64() * self.clock.speed().max(1.0);
        state.oldest.is_some_and(|since| self.clock.now().since(since).as_secs_f64() >= limit)
    }

    /// Returns when everything recorded before is on the disk.
    ///
    /// # Errors
    /// [`StoreError::File`] with the trail's own words, if it cannot be written now.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.ask(Ask::Flush)
    }

    /// Signs the end of this boot and returns when everything is on the disk. Call it when nobody
    /// records any more: what is recorded afterwards is lost, and counted.
    ///
    /// # Errors
    /// As [`Self::flush`]; what could not be written is lost with the process.
    pub fn close(&self) -> Result<(), StoreError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else { return Ok(()) };
        let answered = self.send(Ask::Close);
        match answered.recv_timeout(CLOSES_WITHIN) {
            // A disk that hangs must not keep the plant from ending.
            Err(RecvTimeoutError::Timeout) => {
                let text = format!("the disk has not answered for {} s", CLOSES_WITHIN.as_secs());
                Err(failed(text))
            }
            Ok(answer) => {
                let _ = thread.join();
                answer.map_err(failed)
            }
            // It is gone; a panic of it was told by the missing answer.
            Err(RecvTimeoutError::Disconnected) => {
                let _ = thread.join();
                Err(failed("it is closed".to_owned()))
            }
        }
    }

    /// Asks the thread and waits for its answer.
    fn ask(&self, ask: impl FnOnce(SyncSender<Answer>) -> Ask) -> Result<(), StoreError> {
        let answer = self.send(ask).recv().unwrap_or_else(|_| Err("it is closed".to_owned()));
        answer.map_err(failed)
    }

    fn send(&self, ask: impl FnOnce(SyncSender<Answer>) -> Ask) -> Receiver<Answer> {
        let (answer, answered) = sync_channel(1);
        {
            let ask = ask(answer);
            let mut state = self.shared.lock();
            // A thread that is gone answers nothing: then the question goes here, and says so.
            if !state.closed {
                state.asks.push(ask);
            }
        }
        self.shared.wake();
        answered
    }
}

fn failed(text: String) -> StoreError {
    fail("write", Path::new("audit"), io::Error::other(text))
}

impl AuditSink for AuditWriter {
    /// Leaves the entry to the thread; waits for no disk.
    fn record(&self, entry: AuditEntry) {
        let now = self.clock.now();
        let mut state = self.shared.lock();
        if state.closed {
            state.status.lost += 1;
            state.status.blocked = true;
            state.status.error = Some("write the audit trail: it is closed".to_owned());
            return;
        }
        state.keep(now, entry);
        drop(state);
        self.shared.wake();
    }

    fn is_blocked(&self) -> bool {
        Self::is_blocked(self)
    }
}

impl fmt::Debug for AuditWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditWriter").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Drop for AuditWriter {
    fn drop(&mut self) {
        // Whoever wants to know calls `close` first.
        let _ = self.close();
    }
}
