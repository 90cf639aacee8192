//! The thread that writes the trail, and the [`AuditSink`] that the plant is given.
//!
//! A queue of 1,024 leads to the thread. It appends what has gathered and syncs once (a group
//! commit: while the disk is busy the next group gathers), so a lone entry is safe within the time
//! of one sync. **Overload:** a full queue blocks [`AuditSink::record`] for as long as one sync
//! takes; nothing is dropped there. If the disk cannot be written, entries wait in a backlog of
//! [`BACKLOG_ENTRIES`], [`AuditWriter::is_blocked`] says so, and it is tried again every 250 ms.
//! Beyond the backlog entries are counted, and the count becomes a gap record in their place, so a
//! loss is told for good. Absent: alarms, deciding what to refuse while it is blocked.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use plantwin_model::{AuditEntry, AuditSink, Clock, Timestamp};

use super::{
    fail,
    trail::{AuditTrail, CHECKPOINT_TIME},
};
use crate::StoreError;

/// Entries that wait in memory while the disk cannot be written.
pub const BACKLOG_ENTRIES: usize = 65_536;
/// Length of the queue to the thread.
const QUEUE: usize = 1_024;
/// How long until writing is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// How the writer stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditStatus {
    /// Entries that are on the disk since this start.
    pub records: u64,
    /// Sequence of the last record on the disk, checkpoints included.
    pub last: u64,
    /// The disk cannot be written.
    pub blocked: bool,
    /// Entries that wait in memory.
    pub waiting: u64,
    /// Entries that were lost since this start, because the backlog was full.
    pub lost: u64,
    /// What went wrong last; a fragment fit for "failed to {error}". `None` if nothing is wrong.
    pub error: Option<String>,
}

enum Message {
    Entry(Timestamp, AuditEntry),
    Flush(SyncSender<Result<(), String>>),
    Close(SyncSender<Result<(), String>>),
}

enum Item {
    Entry(Timestamp, AuditEntry),
    Lost(u64, Timestamp),
}

/// Writes a trail from a thread of its own; dropping it closes the trail.
#[derive(Debug)]
pub struct AuditWriter {
    queue: SyncSender<Message>,
    status: Arc<Mutex<AuditStatus>>,
    clock: Arc<dyn Clock>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Worker {
    trail: AuditTrail,
    clock: Arc<dyn Clock>,
    backlog: VecDeque<Item>,
    /// Entries that were appended and are not on the disk yet.
    appended: u64,
    status: Arc<Mutex<AuditStatus>>,
    tried: Timestamp,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AuditWriter {
    /// Starts the thread; `clock` stamps the entries.
    ///
    /// # Errors
    /// [`StoreError::File`] if the system gives no thread.
    pub fn start(trail: AuditTrail, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (queue, entries) = sync_channel(QUEUE);
        let blocked = trail.is_waiting();
        let last = if blocked { 0 } else { trail.last() };
        let status = Arc::new(Mutex::new(AuditStatus { last, blocked, ..AuditStatus::default() }));
        let worker = Worker {
            trail,
            clock: Arc::clone(&clock),
            backlog: VecDeque::new(),
            appended: 0,
            status: Arc::clone(&status),
            tried: clock.now(),
        };
        let thread = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || worker.run(&entries))
            .map_err(|e| fail("start a thread for", Path::new("audit"), e))?;
        Ok(Self { queue, status, clock, thread: Mutex::new(Some(thread)) })
    }

    /// How it stands.
    pub fn status(&self) -> AuditStatus {
        lock(&self.status).clone()
    }

    /// Whether the disk cannot be written: people's commands and configuration should be refused
    /// until it can, plant control never.
    pub fn is_blocked(&self) -> bool {
        lock(&self.status).blocked
    }

    /// Returns when everything recorded before is on the disk.
    ///
    /// # Errors
    /// [`StoreError::File`] with the trail's own words, if it cannot be written now.
    pub fn flush(&self) -> Result<(), StoreError> {
        let (answer, answered) = sync_channel(1);
        let sent = self.queue.send(Message::Flush(answer)).map_err(drop);
        outcome(sent.and_then(|()| answered.recv().map_err(drop)))
    }

    /// Signs the end of this boot and returns when everything is on the disk. Call it when nobody
    /// records any more: what is recorded afterwards is lost, and counted.
    ///
    /// # Errors
    /// As [`Self::flush`]; what could not be written is lost with the process.
    pub fn close(&self) -> Result<(), StoreError> {
        let Some(thread) = lock(&self.thread).take() else { return Ok(()) };
        let (answer, answered) = sync_channel(1);
        let sent = self.queue.send(Message::Close(answer)).map_err(drop);
        let outcome = outcome(sent.and_then(|()| answered.recv().map_err(drop)));
        // It has answered or it is gone; a panic of it was told by the missing answer.
        let _ = thread.join();
        outcome
    }
}

impl AuditSink for AuditWriter {
    /// Queues the entry; waits for the thread, for about one sync, if the queue is full.
    fn record(&self, entry: AuditEntry) {
        if self.queue.send(Message::Entry(self.clock.now(), entry)).is_err() {
            let mut status = lock(&self.status);
            status.lost += 1;
            status.blocked = true;
            status.error = Some("write the audit trail: it is closed".to_owned());
        }
    }

    fn is_blocked(&self) -> bool {
        Self::is_blocked(self)
    }
}

impl Drop for AuditWriter {
    fn drop(&mut self) {
        // Whoever wants to know calls `close` first.
        let _ = self.close();
    }
}

fn outcome(answer: Result<Result<(), String>, ()>) -> Result<(), StoreError> {
    let text = match answer {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(text)) => text,
        Err(()) => "it is closed".to_owned(),
    };
    Err(fail("write", Path::new("audit"), io::Error::other(text)))
}

impl Worker {
    fn run(mut self, queue: &Receiver<Message>) {
        loop {
            let first = match self.patience() {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => queue.recv_timeout(wait),
            };
            let idle = matches!(first, Err(RecvTimeoutError::Timeout));
            let gone = matches!(first, Err(RecvTimeoutError::Disconnected));
            let (mut waiting, mut closing) = (Vec::new(), None);
            let more = first.into_iter().chain(queue.try_iter().take(QUEUE));
            for message in more {
                match message {
                    Message::Entry(time, entry) => self.keep(time, entry),
                    Message::Flush(answer) => waiting.push(answer),
                    Message::Close(answer) => closing = Some(answer),
                }
            }
            let now = self.clock.now();
            let asked = !waiting.is_empty() || closing.is_some() || gone;
            let blocked = lock(&self.status).blocked;
            let done = if !blocked || idle || asked || now.since(self.tried) >= RETRY {
                self.tried = now;
                if idle && !blocked {
                    self.trail.checkpoint(now);
                } else {
                    self.trail.tick(now);
                }
                self.write()
            } else {
                Ok(())
            };
            self.tell(&done);
            for answer in waiting {
                // Whoever asked may have gone.
                let _ = answer.send(done.as_ref().copied().map_err(ToString::to_string));
            }
            if closing.is_some() || gone {
                let left = self.backlog.len();
                if left > 0 {
                    // If space has come back just now, at least the loss is told for good.
                    let _ = self.trail.append_lost(now, left as u64);
                }
                let mut done = self.trail.close(now).map_err(|e| e.to_string());
                if left > 0 && done.is_ok() {
                    done = Err(format!("{left} entries could not be written"));
                }
                if let Some(answer) = closing {
                    let _ = answer.send(done);
                }
                return;
            }
        }
    }

    /// How long to wait for the next entry.
    fn patience(&self) -> Option<Duration> {
        if lock(&self.status).blocked {
            Some(RETRY)
        } else {
            self.trail.is_unsigned().then_some(CHECKPOINT_TIME)
        }
    }

    fn keep(&mut self, time: Timestamp, entry: AuditEntry) {
        if self.backlog.len() < BACKLOG_ENTRIES {
            return self.backlog.push_back(Item::Entry(time, entry));
        }
        match self.backlog.back_mut() {
            Some(Item::Lost(count, _)) => *count += 1,
            // One more than the limit: the place where the loss will be told.
            _ => self.backlog.push_back(Item::Lost(1, time)),
        }
        lock(&self.status).lost += 1;
    }

    /// Appends what waits and syncs.
    fn write(&mut self) -> Result<(), StoreError> {
        while let Some(item) = self.backlog.front() {
            match item {
                Item::Entry(time, entry) => {
                    self.trail.append(*time, entry)?;
                    self.appended += 1;
                }
                Item::Lost(count, time) => {
                    self.trail.append_lost(*time, *count)?;
                }
            }
            self.backlog.pop_front();
        }
        self.trail.flush()
    }

    fn tell(&mut self, done: &Result<(), StoreError>) {
        let mut status = lock(&self.status);
        match done {
            Err(error) => {
                status.blocked = true;
                status.error = Some(error.to_string());
            }
            Ok(()) if !self.trail.is_waiting() && self.backlog.is_empty() => {
                status.blocked = false;
                status.error = None;
                status.records += std::mem::take(&mut self.appended);
                status.last = self.trail.last();
            }
            Ok(()) => {}
        }
        status.waiting = self.backlog.len() as u64 + self.appended;
    }
}
