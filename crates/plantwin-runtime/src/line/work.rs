//! The line at work: connecting, and serving a connection.
//!
//! Every choice between things that are ready at the same time has a fixed order, so that a
//! simulation with the same seed runs the same way.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use plantwin_adapter::{Connection, Frame, LinkContext, LinkError, LinkEvent, TrafficSnapshot};
use plantwin_model::Delivery;
use plantwin_seal::Lane;
use plantwin_twin::{FrameMail, LinkDownMail, LinkUpMail, TwinMail, WriteError};
use tokio::time::Instant;

use super::{
    Line, LineOrder, TIMEOUT,
    errand::{Errands, written},
    merge::since,
    opening::{Cause, Fault, Opened, Opening, is_life, open},
    outbox::Outbox,
};
use crate::path::PathChooser;

/// How often a better path is considered.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Shortest silence that counts as one, in wall time.
const SILENCE_MIN: Duration = Duration::from_secs(3);
/// What is said to a write while there is no link.
const NO_PATH: &str = "no path to the device is up";

/// A line, with what it remembers from connection to connection.
pub(super) struct Worker {
    pub(super) line: Line,
    chooser: PathChooser,
    outbox: Outbox,
    errands: Errands,
    /// The path that is being tried or served.
    at: usize,
    came_from: Option<usize>,
    /// What each path last died of.
    faults: Vec<Option<Fault>>,
    /// What the twin was told of the paths when it was told that all is down.
    told: Option<Vec<Option<Cause>>>,
    /// What the adapter calls the values behind our receipts, on the connection in use.
    receipts: BTreeMap<u64, u64>,
    /// Traffic of the connection in use that was told.
    counted: TrafficSnapshot,
}

impl Worker {
    pub(super) fn new(line: Line) -> Self {
        Self {
            chooser: PathChooser::new(line.paths.len()),
            outbox: Outbox::new(line.device.delivery),
            errands: Errands::new(Arc::clone(&line.panics)),
            at: 0,
            came_from: None,
            faults: vec![None; line.paths.len()],
            told: None,
            receipts: BTreeMap::new(),
            counted: TrafficSnapshot::default(),
            line,
        }
    }

    /// Works until nobody orders anything any more.
    pub(super) async fn work(&mut self) {
        loop {
            let Some(opened) = self.connect().await else { return };
            let Some((fault, lively)) = self.serve(opened).await else { return };
            self.lost(fault, lively);
        }
    }

    /// The adapter panicked, and the connection went with it.
    pub(super) fn on_panic(&mut self, text: &str) {
        tracing::error!(device = %self.line.device.id, "the adapter panicked: {text}");
        self.lost(Fault::panicked(text), true);
    }

    /// Tries the paths until one is up; `None` when the line is to end.
    async fn connect(&mut self) -> Option<Opened> {
        loop {
            let now = self.line.clock.now();
            match self.chooser.next_attempt(now) {
                Ok(rank) => {
                    self.at = rank;
                    let opening = self.opening(rank, self.chooser.needs_life(rank));
                    match self.meanwhile(opening).await? {
                        Ok(opened) => return Some(opened),
                        Err((rank, fault)) => self.failed(rank, fault, false),
                    }
                }
                Err(until) => {
                    let wait = self.wall(until.since(now));
                    self.meanwhile(tokio::time::sleep(wait)).await?;
                }
            }
        }
    }

    /// Awaits something while there is no link; `None` when the line is to end.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        loop {
            self.outbox.flush(&mut self.line.carrier);
            tokio::select! {
                biased;
                order = self.line.orders.recv(), if self.outbox.takes_orders() => {
                    match order? {
                        LineOrder::Post(letter) => self.push(*letter),
                        // A word of the link has ended the session, or will before it begins
                        // anew: an answer could only be taken for one to a later question.
                        LineOrder::Exchange(_) => {}
                        LineOrder::Write { key, .. } => {
                            let error = WriteError::NotSent(NO_PATH.to_owned());
                            self.push(written(key, Err(error)));
                        }
                    }
                }
                () = self.outbox.room(&self.line.carrier.mailbox), if !self.outbox.is_empty() => {}
                result = &mut what => return Some(result),
            }
        }
    }

    /// Carries mail both ways until the link ends, and says of what and whether the device ever
    /// spoke on it; `None` when the line is to end.
    async fn serve(&mut self, opened: Opened) -> Option<(Fault, bool)> {
        let (mut connection, mut lively) = self.came_up(opened);
        let mut probe: Option<Opening> = None;
        let mut probe_timer = tokio::time::interval(PROBE_EVERY);
        probe_timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let silence = self.silence();
        let durable = self.line.device.delivery == Delivery::Durable;
        let mut heard = Instant::now();
        loop {
            self.outbox.flush(&mut self.line.carrier);
            let held_back = self.holds_back();
            if held_back {
                // Who does not listen cannot complain of silence.
                heard = Instant::now();
            }
            tokio::select! {
                biased;
                () = self.line.confirmed.told(), if durable => {
                    for receipt in self.line.confirmed.collect() {
                        if let Some(receipt) = self.receipts.remove(&receipt) {
                            connection.control.confirm(receipt);
                        }
                    }
                }
                order = self.line.orders.recv(), if self.outbox.takes_orders() => {
                    let answer = match order? {
                        LineOrder::Post(letter) => Some(*letter),
                        LineOrder::Exchange(bytes) => self.errands.exchange(&connection, bytes),
                        LineOrder::Write { key, writes } => {
                            let gate = self.line.gate.clone();
                            self.errands.write(&connection, gate, key, writes)
                        }
                    };
                    if let Some(letter) = answer {
                        self.push(letter);
                    }
                }
                Some(letter) = self.errands.next() => self.push(letter),
                () = self.outbox.room(&self.line.carrier.mailbox), if !self.outbox.is_empty() => {}
                // Not while a write is under way, which would lose its answer.
                found = async { match probe.as_mut() {
                    Some(probe) => probe.await,
                    None => std::future::pending().await,
                } }, if self.errands.is_empty() => {
                    probe = None;
                    match found {
                        Ok(better) => {
                            self.came_from = Some(self.at);
                            self.at = better.rank;
                            self.leave();
                            (connection, lively) = self.came_up(better);
                            heard = Instant::now();
                        }
                        Err((rank, fault)) => self.note_failure(rank, fault, false),
                    }
                }
                _ = probe_timer.tick(), if self.at > 0 && probe.is_none() => {
                    if let Some(better) = self.chooser.probe(self.line.clock.now()) {
                        probe = Some(self.opening(better, true));
                    }
                }
                event = connection.events.recv(), if !held_back => match event {
                    Some(LinkEvent::Closed(error)) => return Some((error.into(), lively)),
                    Some(event) => {
                        if is_life(&event) {
                            lively = true;
                            heard = Instant::now();
                        }
                        self.take(event, &connection);
                    }
                    None => {
                        let error = LinkError::Closed("the link ended".to_owned());
                        return Some((error.into(), lively));
                    }
                },
                () = tokio::time::sleep_until(heard + silence), if !held_back => {
                    return Some((Fault::hung(silence), lively));
                }
            }
        }
    }

    /// A connection counts as up: the twin is told, and then what came on it so far.
    fn came_up(&mut self, opened: Opened) -> (Connection, bool) {
        let Opened { rank, connection, early } = opened;
        self.chooser.on_up(rank, self.line.clock.now(), self.came_from.take());
        self.faults[rank] = None;
        self.told = None;
        self.counted = TrafficSnapshot::default();
        let protocol = self.line.registry.get(self.line.paths[rank].protocol);
        self.push(TwinMail::LinkUp(LinkUpMail {
            rank: rank as u16,
            endpoint: connection.endpoint.clone(),
            switches: self.chooser.switches(),
            datagrams: protocol.is_some_and(|p| p.schema().datagrams),
        }));
        let lively = !early.is_empty();
        for event in early {
            self.take(event, &connection);
        }
        (connection, lively)
    }

    /// Passes on what the device said.
    fn take(&mut self, event: LinkEvent, connection: &Connection) {
        match event {
            LinkEvent::Frame(frame) => self.take_frame(frame, None, connection),
            LinkEvent::Durable { frame, receipt } => {
                let ours = if self.line.device.delivery == Delivery::Durable {
                    self.line.confirmed.hand_out()
                } else {
                    // Nobody was promised that it is kept.
                    connection.control.confirm(receipt);
                    None
                };
                if let Some(ours) = ours {
                    self.receipts.insert(ours, receipt);
                }
                self.take_frame(frame, ours, connection);
            }
            LinkEvent::Alive => self.push(TwinMail::Alive),
            LinkEvent::Closed(_) => {}
        }
    }

    fn take_frame(&mut self, frame: Frame, receipt: Option<u64>, connection: &Connection) {
        let traffic = since(&mut self.counted, connection.traffic.snapshot());
        self.push(TwinMail::Frame(FrameMail { frame, traffic, receipt }));
    }

    fn push(&mut self, letter: TwinMail) {
        let replaced = self.outbox.push(letter);
        if replaced > 0 {
            self.line.carrier.mailbox.note_coalesced(Lane::Latest, replaced);
        }
    }

    /// Whether nothing more is taken from the connection.
    fn holds_back(&self) -> bool {
        self.line.device.delivery == Delivery::Durable
            && (self.outbox.holds_values() || !self.line.confirmed.has_room())
    }

    /// The connection is left or gone: what hung on it is settled.
    fn leave(&mut self) {
        for letter in self.errands.break_off() {
            self.push(letter);
        }
        self.outbox.forget_receipted();
        self.line.confirmed.forget();
        self.receipts.clear();
    }

    /// The connection in use ended.
    fn lost(&mut self, fault: Fault, lively: bool) {
        tracing::debug!(device = %self.line.device.id, reason = fault.reason, "path lost");
        self.leave();
        self.came_from = Some(self.at);
        self.failed(self.at, fault, !lively);
    }

    /// A path failed, and none is up: the twin is told once no good one is left to try.
    fn failed(&mut self, rank: usize, fault: Fault, mute: bool) {
        self.note_failure(rank, fault, mute);
        if !self.chooser.is_one_at_hand(self.line.clock.now()) {
            self.tell_down();
        }
    }

    /// A path failed; `mute` if it was up and the device never spoke on it.
    fn note_failure(&mut self, rank: usize, fault: Fault, mute: bool) {
        let (now, jitter) = (self.line.clock.now(), self.jitter());
        if mute || fault.needs_life() {
            self.chooser.on_hang(rank, now, jitter);
        } else {
            self.chooser.on_failure(rank, now, jitter);
        }
        self.faults[rank] = Some(fault);
    }

    /// Tells the twin that all is down, unless it knows, and of what.
    fn tell_down(&mut self) {
        let causes = self.faults.iter().map(|f| f.as_ref().map(|f| f.cause.told()));
        let causes: Vec<_> = causes.collect();
        if self.told.as_ref() == Some(&causes) {
            return;
        }
        self.told = Some(causes);
        let known = self.faults.iter().zip(&self.line.paths);
        let known = known.filter_map(|(f, path)| Some((f.as_ref()?, path)));
        let reason = if self.line.paths.len() == 1 {
            known.map(|(fault, _)| fault.reason.clone()).collect()
        } else {
            let each = known.map(|(fault, path)| format!("{}: {}", path.protocol, fault.reason));
            each.collect::<Vec<_>>().join("; ")
        };
        self.push(TwinMail::LinkDown(LinkDownMail { reason }));
    }

    fn opening(&self, rank: usize, needs_life: bool) -> Opening {
        let line = &self.line;
        let context = LinkContext {
            device: line.device.id.clone(),
            points: Arc::clone(&line.points),
            path: line.paths[rank].clone(),
            period: self.wall(line.device.period),
            timeout: TIMEOUT,
            clock: Arc::clone(&line.clock),
            delivery: line.device.delivery,
        };
        let protocol = line.registry.get(context.path.protocol).cloned();
        let patience = needs_life.then(|| self.silence());
        open(rank, protocol, context, patience, Arc::clone(&line.panics))
    }

    /// How long a link may say nothing at all: five periods, at least [`SILENCE_MIN`].
    fn silence(&self) -> Duration {
        self.wall(self.line.device.period.saturating_mul(5)).max(SILENCE_MIN)
    }

    /// Plant time as wall time.
    fn wall(&self, plant: Duration) -> Duration {
        plant.div_f64(self.line.clock.speed().max(1e-6))
    }

    fn jitter(&mut self) -> f64 {
        // An LCG (Knuth, MMIX) is enough to spread retries; nothing secret hangs on it.
        self.line.chance = self
            .line
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.line.chance >> 11) as f64 / (1_u64 << 53) as f64
    }
}
