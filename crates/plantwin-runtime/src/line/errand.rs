//! Requests that are under way to the device.
//!
//! A write is journalled as sent before its bytes leave, and what became of it is said in the
//! only way that is true: refused, not sent, or unknown. Each step has a deadline of its own,
//! whatever the adapter does, and an adapter that panics has failed the one request. Absent: what
//! a command is, and its journal.

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
use plantwin_model::PointIx;
use plantwin_twin::{SessionMail, TwinMail, WriteError, WrittenMail};

use super::{SendGate, TIMEOUT};
use crate::guardian::text_of;

/// Longest wait for the device's answer: more than the adapter is given, which tells the better
/// reason.
const ANSWER_WITHIN: Duration = TIMEOUT.saturating_add(Duration::from_secs(1));
/// Longest wait for the journal.
const JOURNAL_WITHIN: Duration = Duration::from_secs(2);
/// Requests that may be under way to one device.
const UNDER_WAY: usize = 32;

/// A write that has no answer yet.
struct Pending {
    errand: u64,
    key: u64,
    /// Whether its bytes may have left.
    sent: Arc<AtomicBool>,
}

/// The requests of one line.
#[derive(Default)]
pub(super) struct Errands {
    running: FuturesUnordered<BoxFuture<'static, (u64, TwinMail)>>,
    writes: Vec<Pending>,
    next: u64,
    /// Panics of adapters.
    panics: Arc<AtomicU64>,
}

impl Errands {
    pub(super) fn new(panics: Arc<AtomicU64>) -> Self {
        Self { panics, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Sends session bytes; the answer instead if it cannot be now.
    pub(super) fn exchange(&mut self, connection: &Connection, bytes: Vec<u8>) -> Option<TwinMail> {
        if self.running.len() >= UNDER_WAY {
            return Some(no_answer(TOO_MANY));
        }
        let errand = self.number();
        let control = Arc::clone(&connection.control);
        let endpoint = connection.endpoint.clone();
        let panics = Arc::clone(&self.panics);
        self.running.push(Box::pin(async move {
            let answer = guarded(async { control.exchange(bytes).await }, &endpoint, &panics).await;
            let answer = answer.map_err(|e| format!("failed to {e}"));
            (errand, TwinMail::Session(SessionMail { answer }))
        }));
        None
    }

    /// Writes points; the answer instead if it cannot be now.
    pub(super) fn write(
        &mut self,
        connection: &Connection,
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
        let control = Arc::clone(&connection.control);
        let endpoint = connection.endpoint.clone();
        let panics = Arc::clone(&self.panics);
        self.running.push(Box::pin(async move {
            let result = match pass(gate, key).await {
                Ok(()) => {
                    sent.store(true, Relaxed);
                    send(&*control, writes, &endpoint, &panics).await
                }
                Err(reason) => Err(WriteError::NotSent(reason)),
            };
            (errand, written(key, result))
        }));
        None
    }

    /// The next answer; `None` at once if nothing is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<TwinMail> {
        let (errand, letter) = self.running.next().await?;
        self.writes.retain(|p| p.errand != errand);
        Some(letter)
    }

    /// The connection is gone: an answer for each write that has none. What was asked of the
    /// session needs none, since a word of the link follows that ends the session or begins it
    /// anew.
    pub(super) fn break_off(&mut self) -> Vec<TwinMail> {
        self.running.clear();
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
    control: &dyn Control,
    writes: Vec<(PointIx, f64)>,
    endpoint: &str,
    panics: &AtomicU64,
) -> Result<(), WriteError> {
    let writes = writes.into_iter().map(|(point, value)| PointWrite { point, value }).collect();
    let result = guarded(async { control.write(writes).await }, endpoint, panics).await;
    result.map_err(|error| {
        let reason = format!("failed to {error}");
        match error {
            LinkError::Refused(_) | LinkError::Unsupported(_) => WriteError::Refused(reason),
            // Whatever else happened, some of it may have reached the device.
            _ => WriteError::Unknown(reason),
        }
    })
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

/// That the session's question found no answer.
fn no_answer(reason: &str) -> TwinMail {
    TwinMail::Session(SessionMail { answer: Err(reason.to_owned()) })
}
