//! The thread that writes the trail, and what it shares with those who record.
//!
//! It takes what has gathered, appends it and syncs once (a group commit: while the disk is busy the
//! next group gathers). No lock is held while it waits for the disk. Absent: the handle that the
//! plant is given ([`super::writer`]).

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc::SyncSender},
    time::Duration,
};

use plantwin_model::{AuditEntry, Clock, Timestamp};

use super::{
    trail::{AuditTrail, CHECKPOINT_TIME},
    writer::{AuditStatus, BACKLOG_ENTRIES},
};
use crate::StoreError;

/// How long until writing is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// What became of what somebody asked for.
pub(super) type Answer = Result<(), String>;

pub(super) enum Ask {
    Flush(SyncSender<Answer>),
    Close(SyncSender<Answer>),
}

enum Item {
    Entry(Timestamp, AuditEntry),
    /// So many entries were lost here.
    Lost(u64, Timestamp),
}

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) status: AuditStatus,
    /// Nothing is taken any more.
    pub(super) closed: bool,
    pub(super) asks: Vec<Ask>,
    backlog: VecDeque<Item>,
    /// Entries that left the backlog and are not on the disk yet.
    appended: u64,
    /// When the oldest entry that is not on the disk was recorded.
    pub(super) oldest: Option<Timestamp>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread look at what it was given.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl State {
    /// Takes an entry behind those that wait, or counts it.
    pub(super) fn keep(&mut self, time: Timestamp, entry: AuditEntry) {
        self.oldest.get_or_insert(time);
        if self.backlog.len() < BACKLOG_ENTRIES {
            return self.backlog.push_back(Item::Entry(time, entry));
        }
        match self.backlog.back_mut() {
            Some(Item::Lost(count, _)) => *count += 1,
            // One more than the limit: the place where the loss will be told.
            _ => self.backlog.push_back(Item::Lost(1, time)),
        }
        self.status.lost += 1;
    }

    /// Entries that wait in memory.
    pub(super) fn waiting(&self) -> u64 {
        self.backlog.len() as u64 + self.appended
    }

    fn next(&mut self) -> Option<Item> {
        let item = self.backlog.pop_front()?;
        self.appended += u64::from(matches!(item, Item::Entry(..)));
        Some(item)
    }

    /// Puts back what could not be appended.
    fn put_back(&mut self, item: Item) {
        self.appended -= u64::from(matches!(item, Item::Entry(..)));
        self.backlog.push_front(item);
    }

    /// Gives up what waits; returns how many entries are missing from the trail by that.
    fn give_up(&mut self) -> u64 {
        let mut missing = 0;
        for item in self.backlog.drain(..) {
            missing += match item {
                Item::Entry(..) => {
                    self.status.lost += 1;
                    1
                }
                Item::Lost(count, _) => count,
            };
        }
        missing
    }
}

pub(super) struct Worker {
    pub(super) trail: AuditTrail,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
}

/// However the thread ends: whoever waits for an answer hears of it, and what comes is counted.
struct Gone(Arc<Shared>);

impl Drop for Gone {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let in_order = state.closed;
        state.closed = true;
        state.asks.clear();
        state.give_up();
        if !in_order {
            // What left the backlog and is not on the disk is gone as well.
            state.status.lost += std::mem::take(&mut state.appended);
            state.status.blocked = true;
            state.status.error = Some("write the audit trail: its thread ended".to_owned());
        }
    }
}

/// What a round has to do.
struct Round {
    items: usize,
    asks: Vec<Ask>,
    /// The last one failed.
    failed: bool,
}

impl Worker {
    pub(super) fn run(mut self) {
        let _gone = Gone(Arc::clone(&self.shared));
        loop {
            let Round { items, asks, failed } = self.wait();
            let now = self.clock.now();
            if items == 0 && asks.is_empty() && !failed {
                self.trail.checkpoint(now);
            } else {
                self.trail.tick(now);
            }
            let done = self.write(items);
            self.tell(&done);
            let mut closing = None;
            for ask in asks {
                match ask {
                    // Whoever asked may have gone.
                    Ask::Flush(answer) => {
                        let _ = answer.send(done.as_ref().copied().map_err(ToString::to_string));
                    }
                    Ask::Close(answer) => closing = Some(answer),
                }
            }
            if let Some(answer) = closing {
                let _ = answer.send(self.close(now));
                return;
            }
        }
    }

    /// Waits for something to do.
    fn wait(&self) -> Round {
        let mut state = self.shared.lock();
        let failed = state.status.blocked;
        let patience =
            if failed { Some(RETRY) } else { self.trail.is_unsigned().then_some(CHECKPOINT_TIME) };
        // After an error what comes in is no reason to try again.
        let quiet = |s: &mut State| s.asks.is_empty() && (failed || s.backlog.is_empty());
        let wake = &self.shared.wake;
        state = match patience {
            None => wake.wait_while(state, quiet).unwrap_or_else(PoisonError::into_inner),
            Some(wait) => {
                let waited = wake.wait_timeout_while(state, wait, quiet);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        let asks = std::mem::take(&mut state.asks);
        // From here on nothing is taken that will not be written.
        state.closed |= asks.iter().any(|ask| matches!(ask, Ask::Close(_)));
        Round { items: state.backlog.len(), asks, failed }
    }

    /// Appends so many of what waits and syncs.
    fn write(&mut self, items: usize) -> Result<(), StoreError> {
        for _ in 0..items {
            let Some(item) = self.shared.lock().next() else { break };
            let appended = match &item {
                Item::Entry(time, entry) => self.trail.append(*time, entry),
                Item::Lost(count, time) => self.trail.append_lost(*time, *count),
            };
            if let Err(error) = appended {
                self.shared.lock().put_back(item);
                return Err(error);
            }
        }
        self.trail.flush()
    }

    fn tell(&self, done: &Result<(), StoreError>) {
        let mut state = self.shared.lock();
        let appended = state.appended;
        let status = &mut state.status;
        if let Err(error) = done {
            status.blocked = true;
            status.error = Some(error.to_string());
            return;
        }
        status.blocked = false;
        status.error = None;
        status.records += appended;
        status.last = self.trail.last();
        state.appended = 0;
        state.oldest = state.backlog.front().map(|item| match item {
            Item::Entry(time, _) | Item::Lost(_, time) => *time,
        });
    }

    fn close(mut self, now: Timestamp) -> Answer {
        let left = self.shared.lock().give_up();
        if left > 0 {
            // If space has come back just now, at least the loss is told for good.
            let _ = self.trail.append_lost(now, left);
        }
        self.trail.close(now).map_err(|e| e.to_string())?;
        if left > 0 { Err(format!("{left} entries could not be written")) } else { Ok(()) }
    }
}
