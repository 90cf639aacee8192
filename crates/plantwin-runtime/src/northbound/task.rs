//! The task that connects, sends and hears.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use plantwin_adapter::{ForwardContext, ForwardRecord, LinkError, Outbound, Protocol};
use plantwin_model::{Clock, DeviceId, NorthboundView, Timestamp};
use plantwin_store::StoreError;
use tokio::time::Instant;

use super::{Forwarder, body};
use crate::{guardian::text_of, keeper::Keeper};

/// Longest wait for a connection or an acknowledgement.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest wait before a way out that failed is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Longest sleep: the spool is looked at again at least this often.
const LOOK: Duration = Duration::from_secs(1);

/// Shared with the station.
pub(crate) type NorthboundStatus = Arc<Mutex<NorthboundView>>;

/// All that the way out needs.
pub(crate) struct Way {
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) context: ForwardContext,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) status: NorthboundStatus,
    /// Panics of adapters, over all that share it.
    pub(crate) panics: Arc<AtomicU64>,
    /// Spreads retries.
    pub(crate) chance: u64,
}

type Sent = BoxFuture<'static, (DeviceId, u64, Result<(), LinkError>)>;

/// What the spool refuses. Each trouble is logged once, and the spool is asked again now and then:
/// it may take long until it is mended.
#[derive(Default)]
struct Troubles {
    /// Logged already.
    told: BTreeSet<String>,
    /// Seen since the spool was asked again.
    seen: BTreeSet<String>,
    /// When it is.
    again: Option<Instant>,
}

impl Troubles {
    /// Whether what could not be read is to be read again.
    fn is_over(&mut self) -> bool {
        let over = self.again.is_some_and(|at| Instant::now() >= at);
        if over {
            self.again = None;
            self.told = std::mem::take(&mut self.seen);
        }
        over
    }

    fn note(&mut self, error: &StoreError) {
        let text = error.to_string();
        if !self.told.contains(&text) && !self.seen.contains(&text) {
            tracing::error!("failed to {text}");
        }
        self.seen.insert(text);
        self.again.get_or_insert_with(|| Instant::now() + LOOK);
    }
}

/// Runs for ever; dropped with its arbiter.
///
/// A panic of the adapter ends its connection and nothing else: it is tried again like any that
/// failed, and what was not acknowledged is sent again.
pub(crate) async fn forward(mut way: Way) {
    let target = &way.context.target;
    let mut state = Forwarder::new(target.rate, target.window, way.clock.now());
    let mut wait = RETRY.0;
    loop {
        // Unwind safety: the connection is gone with the unwinding, and `lost` brings the state to
        // where it stands without one.
        let turn = AssertUnwindSafe(way.connect_and_serve(&mut state, &mut wait)).catch_unwind();
        let reason = match turn.await {
            Ok(Some(error)) => format!("failed to {error}"),
            Ok(None) => {
                way.tell(false, "this protocol cannot carry telemetry out", None);
                return;
            }
            Err(payload) => {
                let text = text_of(&*payload);
                tracing::error!("the adapter of the way out panicked: {text}");
                way.panics.fetch_add(1, Relaxed);
                format!("the adapter panicked: {text}")
            }
        };
        state.lost();
        way.tell(false, &reason, None);
        tokio::time::sleep(wait.mul_f64(1.0 + 0.25 * way.jitter())).await;
        wait = wait.saturating_mul(2).min(RETRY.1);
    }
}

impl Way {
    /// One connection; why it ended, or `None` if there can be none.
    async fn connect_and_serve(
        &mut self,
        state: &mut Forwarder,
        wait: &mut Duration,
    ) -> Option<LinkError> {
        let connecting = self.protocol.forward(self.context.clone())?;
        let limit = TIMEOUT + Duration::from_secs(1);
        let late = || LinkError::Closed("it took too long to connect".to_owned());
        let connected = tokio::time::timeout(limit, connecting).await;
        match connected.unwrap_or_else(|_| Err(late())) {
            Ok(outbound) => {
                *wait = RETRY.0;
                self.tell(true, "", Some(&outbound.endpoint));
                Some(self.serve(outbound, state).await)
            }
            Err(error) => Some(error),
        }
    }

    /// Sends until the connection ends; returns why it did.
    async fn serve(&mut self, mut outbound: Outbound, state: &mut Forwarder) -> LinkError {
        let mut sent: FuturesUnordered<Sent> = FuturesUnordered::new();
        let stored = self.keeper.stored();
        let mut troubles = Troubles::default();
        state.release();
        loop {
            if troubles.is_over() {
                state.release();
            }
            self.offer(state);
            self.send(&outbound, state, &mut sent, &mut troubles);
            let now = self.clock.now();
            let wait = state.wait(now).unwrap_or(LOOK).div_f64(self.clock.speed().max(1e-6));
            let wait = wait.clamp(Duration::from_millis(1), LOOK);
            tokio::select! {
                biased;
                closed = &mut outbound.closed => {
                    let gone = || LinkError::Closed("the connection ended".to_owned());
                    return closed.unwrap_or_else(|_| gone());
                }
                Some((device, sequence, result)) = sent.next() => {
                    if let Err(error) = result {
                        return error;
                    }
                    self.acknowledge(state, &device, sequence, &mut troubles);
                }
                () = stored.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// What is in the spool and safe may be sent.
    fn offer(&self, state: &mut Forwarder) {
        let safe = {
            let mut status = self.keeper.status();
            std::mem::take(&mut status.safe)
        };
        let spool = self.keeper.spool();
        for (device, end) in safe {
            if let Some(stats) = spool.queue(device.as_str()) {
                state.offer(&device, stats.upto + 1, end);
            }
        }
    }

    fn send(
        &self,
        outbound: &Outbound,
        state: &mut Forwarder,
        sent: &mut FuturesUnordered<Sent>,
        troubles: &mut Troubles,
    ) {
        let now = self.clock.now();
        while let Some((device, from, count)) = state.next(now) {
            let records = self.keeper.spool().peek(device.as_str(), from, count);
            let mut records = match records {
                Ok(records) => records,
                Err(error) => {
                    troubles.note(&error);
                    state.hold(&device);
                    continue;
                }
            };
            // A gap is one record for many: behind it stands what is not safe yet.
            let end = state.end(&device);
            records.retain(|record| record.sequence < end);
            if records.is_empty() {
                state.skip(&device);
                continue;
            }
            for record in records {
                let sequence = record.sequence;
                let body = body(device.as_str(), &record);
                let sending = outbound.sink.send(ForwardRecord { device: device.clone(), body });
                state.sent(&device, sequence);
                let device = device.clone();
                sent.push(Box::pin(async move {
                    let late = |_| {
                        Err(LinkError::Closed("a record was not acknowledged in time".to_owned()))
                    };
                    let result = tokio::time::timeout(TIMEOUT, sending).await;
                    (device, sequence, result.unwrap_or_else(late))
                }));
            }
        }
    }

    fn acknowledge(
        &self,
        state: &mut Forwarder,
        device: &DeviceId,
        sequence: u64,
        troubles: &mut Troubles,
    ) {
        let deleted = state.acknowledged(device, sequence);
        if let Some(upto) = deleted {
            // Flushed with the next group: after a crash they are sent again.
            let result = self.keeper.spool().acknowledge(device.as_str(), upto);
            if let Err(error) = result {
                // It goes with those that are acknowledged later, or is sent again.
                troubles.note(&error);
            }
            self.keeper.recount(std::iter::once(device.clone()));
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.sent += 1;
    }

    fn tell(&self, up: bool, reason: &str, endpoint: Option<&str>) {
        let now: Timestamp = self.clock.now();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.up != up {
            status.since = now;
        }
        status.up = up;
        reason.clone_into(&mut status.reason);
        if let Some(endpoint) = endpoint {
            endpoint.clone_into(&mut status.endpoint);
        }
    }

    fn jitter(&mut self) -> f64 {
        // An LCG (Knuth, MMIX) is enough to spread retries; nothing secret hangs on it.
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 11) as f64 / (1_u64 << 53) as f64
    }
}
