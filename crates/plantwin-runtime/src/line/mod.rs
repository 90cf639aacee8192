//! A device's line: the task that connects it, changes its path and carries its mail.
//!
//! It is the twin's hand on the wire: what comes off the wire it seals and posts, what the twin
//! orders it carries out. Its promises, by lane:
//! - latest values (T0): it never stops reading; while the twin has no room, newer values replace
//!   older ones of the same point, counted;
//! - durable values (T1): nothing is replaced; at most [`plantwin_twin::MAX_RECEIPTS`] may wait to
//!   be recorded, then it stops taking events, so that the adapter stops reading its socket;
//! - commands (C): journalled as sent before a byte leaves, answered truly, and never behind
//!   values.
//!
//! A dead device costs nobody else anything: every wait has an end, tries are spread and go on
//! for ever, and the twin hears of a change only. An adapter that panics is a device that is not
//! there for a while. Absent: judging values, sessions and alarms (the twin).

mod carrier;
mod confirm;
mod errand;
mod merge;
mod opening;
mod outbox;
#[cfg(test)]
mod tests;
mod work;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::Registry;
use plantwin_model::{Clock, DeviceSpec, PathSpec, PointIx, PointSpec};
use plantwin_twin::TwinMail;
use tokio::sync::mpsc;

pub(crate) use carrier::Carrier;
pub(crate) use confirm::Confirmed;

use crate::guardian::text_of;
use work::Worker;

/// Longest wait for a connection or an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a line is asked to do.
#[derive(Debug)]
pub(crate) enum LineOrder {
    /// Post this to the twin.
    Post(Box<TwinMail>),
    /// Send session bytes.
    Exchange(Vec<u8>),
    /// Write points.
    Write { key: u64, writes: Vec<(PointIx, f64)> },
}

/// The journal of commands, asked before anything is sent.
pub(crate) trait SendGate: Send + Sync {
    /// Resolves when it is on record that the write `key` is being sent, or with the reason why
    /// it must not be: then nothing leaves.
    fn sending(&self, key: u64) -> BoxFuture<'static, Result<(), String>>;
}

/// All that a line needs.
pub(crate) struct Line {
    pub(crate) device: Arc<DeviceSpec>,
    pub(crate) points: Arc<[PointSpec]>,
    pub(crate) paths: Vec<PathSpec>,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) orders: mpsc::Receiver<LineOrder>,
    pub(crate) carrier: Carrier,
    /// Told by whoever records durable values.
    pub(crate) confirmed: Arc<Confirmed>,
    /// Asked before a write is sent; `None` where nothing is journalled.
    pub(crate) gate: Option<Arc<dyn SendGate>>,
    /// Panics of adapters, over all lines that share it.
    pub(crate) panics: Arc<AtomicU64>,
    /// Spreads retries; advanced by each use.
    pub(crate) chance: u64,
}

/// Runs a line until nobody orders anything any more.
///
/// A panic of the adapter ends its connection and nothing else: orders and mail that wait stay,
/// writes under way are answered, and the path is tried again like any that failed.
pub(crate) async fn keep_line(line: Line) {
    let mut worker = Worker::new(line);
    loop {
        // Unwind safety: the connection is gone with the unwinding, and `on_panic` brings the
        // worker to where it stands without one.
        match AssertUnwindSafe(worker.work()).catch_unwind().await {
            Ok(()) => return,
            Err(payload) => {
                let text = text_of(&*payload);
                worker.line.panics.fetch_add(1, Relaxed);
                worker.on_panic(&text);
            }
        }
    }
}
