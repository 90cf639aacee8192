//! Requests that are under way to the device.
//!
//! A write is journalled as sent before its bytes leave, and what became of it is said in the
//! only way that is true: refused, not sent, or unknown. Each step has a deadline of its own,
//! whatever the adapter does, and an adapter that panics has failed the one request. A device that
//! keeps its durable values until they are safe is told what was received of them.
//! Absent: what a command is, and its journal.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use plantwin_adapter::{Connection, Control, LinkError, PointWrite};
use plantwin_authority::{native::NativeAnswer, pws::Purpose};
use plantwin_model::{Clock, PointIx};
use plantwin_twin::{Taken, TwinMail, WriteError, WrittenMail};

use super::{
    SendGate, TIMEOUT,
    session::{self, Keys},
};
use crate::guardian::text_of;

/// Longest wait for the device's answer: more than the adapter is given, which tells the better
/// reason.
const ANSWER_WITHIN: Duration = TIMEOUT.saturating_add(Duration::from_secs(1));
/// Longest wait for the journal.
const JOURNAL_WITHIN: Duration = Duration::from_secs(2);
/// How often a device is told to be safe over one connection, and how long after the last time.
const SAFE_TRIES: u32 = 3;
const SAFE_AGAIN: Duration = Duration::from_secs(1);
/// How often a device is told what was received, and how long apart: longer than it is away for a
/// moment, shorter than it waits for that word.
const TOLD_TRIES: u32 = 5;
const TOLD_AGAIN: Duration = Duration::from_secs(1);
/// Requests that may be under way to one device.
const UNDER_WAY: usize = 32;

/// A write that has no answer yet.
struct Pending {
    errand: u64,
    key: u64,
    /// Whether its bytes may have left.
    sent: Arc<AtomicBool>,
}

/// The way to the device over one connection: in the open, or sealed.
pub(super) struct Way {
    control: Arc<dyn Control>,
    endpoint: String,
    keys: Option<Keys>,
    layout: [u8; 8],
}

impl Way {
    /// Over `connection`, sealed if there are keys.
    pub(super) fn to(connection: &Connection, keys: Option<Keys>, layout: [u8; 8]) -> Self {
        let control = Arc::clone(&connection.control);
        Self { control, endpoint: connection.endpoint.clone(), keys, layout }
    }
}

/// The requests of one line.
pub(super) struct Errands {
    running: FuturesUnordered<BoxFuture<'static, (u64, Option<TwinMail>)>>,
    writes: Vec<Pending>,
    next: u64,
    /// Of those running: words that nobody waits for.
    words: usize,
    /// Panics of adapters.
    panics: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl Errands {
    pub(super) fn new(panics: Arc<AtomicU64>, clock: Arc<dyn Clock>) -> Self {
        let running = FuturesUnordered::new();
        Self { running, writes: Vec::new(), next: 0, words: 0, panics, clock }
    }

    /// Whether nobody waits for an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.running.len() == self.words
    }

    /// Brings a device to its safe state as far as it listens, and tells whether it said so.
    pub(super) fn make_safe(&mut self, way: Way, writes: Vec<(PointIx, f64)>) {
        let errand = self.number();
        let (panics, clock) = (Arc::clone(&self.panics), Arc::clone(&self.clock));
        self.running.push(Box::pin(async move {
            let mut tries = 1;
            let result = loop {
                let sent = send(&way, Purpose::Safety, writes.clone(), &*clock, &panics).await;
                match sent {
                    Err(_) if tries < SAFE_TRIES => tries += 1,
                    sent => break sent.map_err(|error| error.to_string()),
                }
                tokio::time::sleep(SAFE_AGAIN).await;
            };
            (errand, Some(TwinMail::MadeSafe(result)))
        }));
    }

    /// Tells a device what was received of it, and as long as `discard` says so, that what it said
    /// before is not wanted.
    pub(super) fn tell_taken(&mut self, way: Way, taken: Option<Taken>, discard: Arc<AtomicBool>) {
        if self.running.len() >= UNDER_WAY {
            // It waits for that word, and says so; then it is asked anew.
            return;
        }
        let errand = self.number();
        self.words += 1;
        let (panics, clock) = (Arc::clone(&self.panics), Arc::clone(&self.clock));
        self.running.push(Box::pin(async move {
            let unwanted = discard.load(Relaxed);
            for _ in 0..TOLD_TRIES {
                match tell(&way, taken, unwanted, &*clock, &panics).await {
                    Ok(()) => {
                        discard.fetch_and(!unwanted, Relaxed);
                        break;
                    }
                    Err(why) => tracing::debug!("a device did not hear what was received: {why}"),
                }
                tokio::time::sleep(TOLD_AGAIN).await;
            }
            (errand, None)
        }));
    }

    /// Writes points; the answer instead if it cannot be now.
    pub(super) fn write(
        &mut self,
        way: Way,
        gate: Option<Arc<dyn SendGate>>,
        key: u64,
        writes: Vec<(PointIx, f64)>,
    ) -> Option<TwinMail> {
        if self.running.len() >= UNDER_WAY {
            return Some(written(key, Err(WriteError::NotSent(TOO_MANY.to_owned()))));
        }
        let errand = self.number();
        let sent = Arc::new(AtomicBool::new(false));
        self.writes.push(Pending { errand, key, sent: Arc::clone(&sent) });
        let (panics, clock) = (Arc::clone(&self.panics), Arc::clone(&self.clock));
        self.running.push(Box::pin(async move {
            let result = match pass(gate, key).await {
                Ok(()) => {
                    sent.store(true, Relaxed);
                    send(&way, Purpose::Command, writes, &*clock, &panics).await
                }
                Err(reason) => Err(WriteError::NotSent(reason)),
            };
            (errand, Some(written(key, result)))
        }));
        None
    }

    /// The next answer; `None` at once if nothing is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<TwinMail> {
        loop {
            let (errand, letter) = self.running.next().await?;
            self.writes.retain(|p| p.errand != errand);
            if letter.is_some() {
                return letter;
            }
            self.words -= 1;
        }
    }

    /// The connection is gone: an answer for each write that has none. What was asked of the
    /// session needs none, since a word of the link follows that ends the session or begins it
    /// anew.
    pub(super) fn break_off(&mut self) -> Vec<TwinMail> {
        self.running.clear();
        self.words = 0;
        let answer = |pending: Pending| {
            let error = if pending.sent.load(Relaxed) {
                WriteError::Unknown("the connection ended before the device answered".to_owned())
            } else {
                WriteError::NotSent("the connection ended".to_owned())
            };
            written(pending.key, Err(error))
        };
        self.writes.drain(..).map(answer).collect()
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

const TOO_MANY: &str = "too many requests are under way to the device";

/// Asks the journal whether a write may be sent.
async fn pass(gate: Option<Arc<dyn SendGate>>, key: u64) -> Result<(), String> {
    let Some(gate) = gate else { return Ok(()) };
    tokio::time::timeout(JOURNAL_WITHIN, gate.sending(key))
        .await
        .unwrap_or_else(|_| Err("it could not be put on record in time".to_owned()))
}

async fn send(
    way: &Way,
    purpose: Purpose,
    writes: Vec<(PointIx, f64)>,
    clock: &dyn Clock,
    panics: &AtomicU64,
) -> Result<(), WriteError> {
    let Some(keys) = &way.keys else {
        let writes = writes.into_iter().map(|(point, value)| PointWrite { point, value }).collect();
        let sent = guarded(async { way.control.write(writes).await }, &way.endpoint, panics).await;
        return sent.map_err(outcome);
    };
    let (number, bytes) =
        session::sealed(keys, purpose, way.layout, writes, clock).map_err(WriteError::NotSent)?;
    let answer = guarded(async { way.control.exchange(bytes).await }, &way.endpoint, panics).await;
    let answer = answer.map_err(outcome)?;
    match session::opened(keys, number, &answer, clock.now()).map_err(WriteError::Unknown)? {
        NativeAnswer::Done => Ok(()),
        NativeAnswer::Refused(reason) => Err(WriteError::Refused(reason)),
    }
}

async fn tell(
    way: &Way,
    taken: Option<Taken>,
    discard: bool,
    clock: &dyn Clock,
    panics: &AtomicU64,
) -> Result<(), String> {
    let Some(keys) = &way.keys else { return Ok(()) };
    let (number, bytes) = session::sealed_word(keys, taken, discard, clock.now())?;
    let answer = guarded(async { way.control.exchange(bytes).await }, &way.endpoint, panics).await;
    let answer = answer.map_err(|e| format!("failed to {e}"))?;
    match session::opened(keys, number, &answer, clock.now())? {
        NativeAnswer::Done => Ok(()),
        NativeAnswer::Refused(reason) => Err(reason),
    }
}

/// What a write came to that the adapter says failed.
fn outcome(error: LinkError) -> WriteError {
    let reason = format!("failed to {error}");
    match error {
        LinkError::Refused(_) | LinkError::Unsupported(_) => WriteError::Refused(reason),
        // Whatever else happened, some of it may have reached the device.
        _ => WriteError::Unknown(reason),
    }
}

/// Runs an adapter's code under a deadline, and survives its panic.
async fn guarded<T>(
    call: impl Future<Output = Result<T, LinkError>>,
    endpoint: &str,
    panics: &AtomicU64,
) -> Result<T, LinkError> {
    let call = AssertUnwindSafe(call).catch_unwind();
    match tokio::time::timeout(ANSWER_WITHIN, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(payload)) => {
            panics.fetch_add(1, Relaxed);
            Err(LinkError::Closed(format!("the adapter panicked: {}", text_of(&*payload))))
        }
        Err(_) => {
            let millis = u64::try_from(ANSWER_WITHIN.as_millis()).unwrap_or(u64::MAX);
            Err(LinkError::Timeout { endpoint: endpoint.to_owned(), millis })
        }
    }
}

/// The result of a write.
pub(super) fn written(key: u64, result: Result<(), WriteError>) -> TwinMail {
    TwinMail::Written(WrittenMail { key, result })
}
