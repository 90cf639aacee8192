//! A device's line: the task that connects it, changes its path and carries its mail.
//!
//! It is the twin's hand on the wire: what comes off the wire it seals and posts, what the twin
//! orders it carries out. Its promises, by lane:
//! - latest values (T0): it never stops reading; while the twin has no room, newer values replace
//!   older ones of the same point, counted;
//! - durable values (T1): nothing is replaced; at most [`plantwin_twin::MAX_RECEIPTS`] may wait to
//!   be recorded, and as many of those that nobody acknowledges, then it stops taking events, so
//!   that the adapter stops reading its socket;
//! - commands (C): journalled as sent before a byte leaves, answered truly, and never behind
//!   values.
//!
//! A dead device costs nobody else anything: every wait has an end, tries are spread and go on
//! for ever, and the twin hears of a change only. An adapter that panics is a device that is not
//! there for a while. Absent: judging values, sessions and alarms (the twin).

mod carrier;
mod confine;
mod confirm;
mod errand;
mod merge;
mod opening;
mod outbox;
mod session;
#[cfg(test)]
mod tests;
mod unsealed;
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
use plantwin_authority::pws::RevocationList;
use plantwin_model::{Clock, DeviceSpec, PathSpec, PointIx, PointSpec, ZoneId};
use plantwin_twin::{Taken, TwinMail};
use tokio::sync::{mpsc, watch};

pub(crate) use carrier::Carrier;
pub(crate) use confine::{Confinement, Confiner};
pub(crate) use confirm::{Burden, Confirmed};

use crate::{guardian::text_of, trust::Trust};
use work::Worker;

/// Longest wait for a connection or an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a line is asked to do.
#[derive(Debug)]
pub(crate) enum LineOrder {
    /// Post this to the twin.
    Post(Box<TwinMail>),
    /// Write points.
    Write { key: u64, writes: Vec<(PointIx, f64)> },
    /// Tell the device what was received of its durable values.
    TellTaken(Option<Taken>),
    /// Have the device confined: there is this evidence against it, a lowercase fragment.
    Accuse { reason: String },
}

/// The journal of commands, asked before anything is sent.
pub(crate) trait SendGate: Send + Sync {
    /// Resolves when it is on record that the write `key` is being sent, or with the reason why
    /// it must not be: then nothing leaves.
    fn sending(&self, key: u64) -> BoxFuture<'static, Result<(), String>>;
}

/// Says which paths may be taken. Asked before each attempt, before each write and about once a
/// second while a path is in use, so that a policy that was swapped holds at once.
pub(crate) trait PathPermit: Send + Sync {
    /// Why the path of this rank must not be taken, if so.
    fn refusal(&self, rank: usize) -> Option<String>;

    /// Why nothing may be written on the path of this rank, if so.
    fn write_refusal(&self, rank: usize) -> Option<String>;
}

/// All that a line needs.
pub(crate) struct Line {
    pub(crate) device: Arc<DeviceSpec>,
    /// Its zone.
    pub(crate) zone: ZoneId,
    pub(crate) points: Arc<[PointSpec]>,
    pub(crate) paths: Vec<PathSpec>,
    pub(crate) registry: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) orders: mpsc::Receiver<LineOrder>,
    /// Whether the device is confined, as its twin says.
    pub(crate) confinement: watch::Receiver<Confinement>,
    /// Who judges the device's proofs; `None` where it must prove nothing.
    pub(crate) trust: Option<Trust>,
    /// Keys that were taken out of use.
    pub(crate) revoked: Option<watch::Receiver<Arc<RevocationList>>>,
    /// Paths that the policy permits now.
    pub(crate) permits: Option<Arc<dyn PathPermit>>,
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
