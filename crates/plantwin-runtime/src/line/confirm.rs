//! Receipts of durable values: handed out by the line, confirmed by whoever stored them.
//!
//! A line has at most [`WINDOW`] receipts out; beyond that it takes nothing more from its
//! connection, as beyond as many values without a receipt (of protocols that acknowledge nothing)
//! that wait for the disk. So a word of bits says which of them are confirmed, and a confirmation neither
//! blocks nor gets lost. Absent: what the adapter calls the values, and the store.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use plantwin_twin::MAX_RECEIPTS;

use tokio::sync::Notify;

/// Most receipts of a line that are not confirmed at the same time.
const WINDOW: u64 = MAX_RECEIPTS as u64;
/// One word of bits holds the window.
const _: () = assert!(WINDOW == u64::BITS as u64);

/// The receipts of one line, shared with whoever confirms them.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    state: Mutex<State>,
    /// Values without a receipt that wait for the disk.
    unreceipted: AtomicUsize,
    told: Notify,
}

/// Values without a receipt that wait for the disk: while too many of one line do, it takes
/// nothing more from its connection. Over when dropped.
#[derive(Debug)]
pub(crate) struct Burden(Arc<Confirmed>);

impl Burden {
    pub(crate) fn on(confirmed: &Arc<Confirmed>) -> Self {
        confirmed.unreceipted.fetch_add(1, Relaxed);
        Self(Arc::clone(confirmed))
    }
}

impl Drop for Burden {
    fn drop(&mut self) {
        self.0.unreceipted.fetch_sub(1, Relaxed);
        self.0.told.notify_one();
    }
}

#[derive(Debug, Default)]
struct State {
    /// The lowest receipt that is out.
    first: u64,
    /// The next to be handed out; less than `first + WINDOW` when it is.
    next: u64,
    /// Bit i: receipt `first + i` is confirmed.
    done: u64,
    /// Bit i: and the line has not collected it.
    fresh: u64,
    /// Let go by the twin, and not collected by the line.
    gone: Vec<u64>,
}

impl Confirmed {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values with this receipt are safe. Never blocks for longer than a few instructions
    /// take; what is not out (any more) is left alone.
    pub(crate) fn confirm(&self, receipt: u64) {
        let mut state = self.state();
        if !(state.first..state.next).contains(&receipt) {
            return;
        }
        let bit = 1 << (receipt - state.first);
        if state.done & bit == 0 {
            state.done |= bit;
            state.fresh |= bit;
            drop(state);
            self.told.notify_one();
        }
    }

    /// The values with these receipts are not kept, and nobody will confirm them: they hold nothing
    /// up any longer, and come again over the next connection.
    pub(crate) fn let_go(&self, receipts: &[u64]) {
        let mut state = self.state();
        for &receipt in receipts {
            if !(state.first..state.next).contains(&receipt) {
                continue;
            }
            let bit = 1 << (receipt - state.first);
            if state.done & bit == 0 {
                state.done |= bit;
                state.gone.push(receipt);
            }
        }
        drop(state);
        self.told.notify_one();
    }

    /// What was let go since it was last asked; [`Self::collect`] makes room.
    pub(crate) fn collect_gone(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().gone)
    }

    /// Whether more may be taken: a receipt can be handed out, and not too much waits without one.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.state();
        state.next - state.first < WINDOW && self.unreceipted.load(Relaxed) < MAX_RECEIPTS
    }

    /// A receipt, one higher than the last one ever; `None` without room.
    pub(crate) fn hand_out(&self) -> Option<u64> {
        let mut state = self.state();
        if state.next - state.first >= WINDOW {
            return None;
        }
        let receipt = state.next;
        state.next += 1;
        Some(receipt)
    }

    /// What was confirmed since it was last asked, lowest first; makes room.
    pub(crate) fn collect(&self) -> Vec<u64> {
        let mut state = self.state();
        let fresh = std::mem::take(&mut state.fresh);
        let first = state.first;
        let receipts = (0..WINDOW).filter(|i| fresh >> i & 1 == 1).map(|i| first + i).collect();
        while state.done & 1 == 1 {
            state.done >>= 1;
            state.first += 1;
        }
        receipts
    }

    /// Waits for a confirmation. Cancel safe.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    /// Forgets all that is out: the connection they belong to is gone.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        *state = State { first: state.next, next: state.next, ..State::default() };
    }
}
