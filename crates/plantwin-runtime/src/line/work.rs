//! The line at work: connecting, and serving a connection.
//!
//! Every choice between things that are ready at the same time has a fixed order, so that a
//! simulation with the same seed runs the same way.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use plantwin_adapter::{Connection, LinkContext, LinkError, LinkEvent, TrafficSnapshot};
use plantwin_authority::pws::RevocationList;
use plantwin_model::{AuditResult, Delivery, PointIx};
use plantwin_seal::Lane;
use plantwin_twin::{
    FrameMail, LinkDownMail, LinkUpMail, SessionMail, Taken, TwinMail, WriteError,
};
use tokio::{sync::watch, time::Instant};

use super::{
    Line, LineOrder, TIMEOUT,
    confine::Confinement,
    errand::{Errands, Way, written},
    merge::since,
    opening::{Cause, Fault, Opened, Opening, is_life, open},
    outbox::Outbox,
    session::{DeviceSession, Early, OpenedFrame, Unsealed},
    unsealed::{Unconfirmed, mark},
};
use crate::path::PathChooser;

/// How often a better path is considered.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Shortest silence that counts as one, in wall time.
const SILENCE_MIN: Duration = Duration::from_secs(3);
/// Longer than any wait.
const FOR_EVER: Duration = Duration::from_hours(24);
/// What is said to a write while there is no link.
const NO_PATH: &str = "no path to the device is up";

/// Waits until the list of revoked keys changes; for ever where there is none.
async fn revoked(list: &mut Option<watch::Receiver<Arc<RevocationList>>>) {
    let changed = match list {
        Some(list) => list.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        // There is none, or it went with the plant.
        std::future::pending::<()>().await;
    }
}

/// A line, with what it remembers from connection to connection.
pub(super) struct Worker {
    pub(super) line: Line,
    chooser: PathChooser,
    outbox: Outbox,
    errands: Errands,
    session: DeviceSession,
    /// The path that is being tried or served.
    at: usize,
    came_from: Option<usize>,
    /// What each path last died of.
    faults: Vec<Option<Fault>>,
    /// A try of the path ended early, and may have begun a session anew at whoever keeps values
    /// for us: that the next one finds one there says nothing.
    doubtful: Vec<bool>,
    /// What the twin was told of the paths when it was told that all is down.
    told: Option<Vec<Option<Cause>>>,
    /// What the adapter calls the values behind our receipts, on the connection in use.
    receipts: BTreeMap<u64, u64>,
    /// Values out of envelopes with such a receipt.
    unconfirmed: Unconfirmed,
    /// Traffic of the connection in use that was told.
    counted: TrafficSnapshot,
    /// Evidence is on its way to the twin: more of it changes nothing.
    accused: bool,
    /// What the confined device said last of its safe state.
    made_safe: Option<bool>,
}

impl Worker {
    pub(super) fn new(line: Line) -> Self {
        Self {
            chooser: PathChooser::new(line.paths.len()),
            outbox: Outbox::new(line.device.delivery),
            errands: Errands::new(Arc::clone(&line.panics), Arc::clone(&line.clock)),
            session: DeviceSession::new(
                line.trust.clone(),
                &line.device,
                line.zone.clone(),
                Arc::clone(&line.clock),
            ),
            at: 0,
            came_from: None,
            faults: vec![None; line.paths.len()],
            doubtful: vec![false; line.paths.len()],
            told: None,
            receipts: BTreeMap::new(),
            unconfirmed: Unconfirmed::default(),
            counted: TrafficSnapshot::default(),
            accused: false,
            made_safe: None,
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
            self.session.retire(now);
            match self.chooser.next_attempt(now) {
                Ok(rank) => {
                    self.at = rank;
                    if let Some(fault) = self.refused(rank) {
                        self.failed(rank, fault, false);
                        continue;
                    }
                    let opening = self.opening(rank, self.chooser.needs_life(rank));
                    // A path that hung has time until it is the turn of one that did not.
                    let until = self.chooser.next_good(rank).map(|until| until.since(now));
                    let time = until.map_or(FOR_EVER, |until| self.wall(until));
                    match self.meanwhile(tokio::time::timeout(time, opening)).await? {
                        Ok(Ok(opened)) => return Some(opened),
                        Ok(Err((rank, fault))) => self.failed(rank, fault, false),
                        Err(_) => {
                            let (now, jitter) = (self.line.clock.now(), self.jitter());
                            self.chooser.on_cut(rank, now, jitter);
                            self.doubtful[rank] = true;
                        }
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
                        LineOrder::Write { key, .. } => {
                            let error = WriteError::NotSent(NO_PATH.to_owned());
                            self.push(written(key, Err(error)));
                        }
                        LineOrder::Accuse { reason } => self.accuse(reason),
                        // Its session went with the link; the next one begins with that word.
                        LineOrder::TellTaken(_) => {}
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
            // Who does not listen cannot complain of silence, nor who owes acknowledgements: the
            // device, or the broker before it, sends no more than it may until they come.
            let our_turn = held_back || !self.receipts.is_empty();
            if our_turn {
                heard = Instant::now();
            }
            tokio::select! {
                biased;
                Ok(()) = self.line.confinement.changed() => self.on_confinement(&connection),
                () = revoked(&mut self.line.revoked) => self.on_revocations(&connection),
                () = self.line.confirmed.told(), if durable => {
                    for receipt in self.line.confirmed.collect_gone() {
                        self.receipts.remove(&receipt);
                        self.unconfirmed.let_go(receipt);
                    }
                    for receipt in self.line.confirmed.collect() {
                        self.unconfirmed.confirmed(receipt);
                        if let Some(receipt) = self.receipts.remove(&receipt) {
                            connection.control.confirm(receipt);
                        }
                    }
                }
                order = self.line.orders.recv(), if self.outbox.takes_orders() => {
                    let answer = match order? {
                        LineOrder::Post(letter) => Some(*letter),
                        LineOrder::Write { key, writes } => self.write(&connection, key, writes),
                        LineOrder::Accuse { reason } => {
                            self.accuse(reason);
                            None
                        }
                        LineOrder::TellTaken(taken) => {
                            self.tell_taken(&connection, taken);
                            None
                        }
                    };
                    if let Some(letter) = answer {
                        self.push(letter);
                    }
                }
                Some(letter) = self.errands.next() => {
                    match letter {
                        TwinMail::MadeSafe(result) => {
                            self.session.ask_no_more();
                            self.tell_safe(result);
                        }
                        letter => self.push(letter),
                    }
                }
                due = self.session.due() => {
                    if let Some(news) = self.session.on_due(due, &connection) {
                        self.push(TwinMail::Session(news));
                    }
                    for early in self.session.take_early() {
                        self.open(early, &connection);
                    }
                    self.settle_lost(&connection);
                    self.judge();
                }
                () = self.outbox.room(&self.line.carrier.mailbox), if !self.outbox.is_empty() => {}
                // Not while a write is under way, which would lose its answer.
                found = async { match probe.as_mut() {
                    Some(probe) => probe.await,
                    None => std::future::pending().await,
                } }, if self.errands.is_empty() => {
                    probe = None;
                    match found {
                        // The policy may have been swapped meanwhile.
                        Ok(better) if self.refused(better.rank).is_some() => {}
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
                _ = probe_timer.tick() => {
                    self.session.retire(self.line.clock.now());
                    if let Some(fault) = self.refused(self.at) {
                        return Some((fault, lively));
                    }
                    // The chooser knows no better path than the first one.
                    let better = match &probe {
                        None => self.chooser.probe(self.line.clock.now()),
                        Some(_) => None,
                    };
                    if let Some(better) = better.filter(|b| self.refused(*b).is_none()) {
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
                () = tokio::time::sleep_until(heard + silence), if !our_turn => {
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
            patience: self.patience(),
        }));
        let changed = self.line.confinement.has_changed().unwrap_or(false);
        let confined = self.line.confinement.borrow_and_update().confined;
        let durable = self.line.device.delivery == Delivery::Durable;
        let doubtful = std::mem::take(&mut self.doubtful[rank]);
        if confined {
            // It may have been anywhere meanwhile, and forgotten what it was told.
            self.on_confinement(&connection);
        } else {
            // It may have been confined and let go while nobody here listened.
            self.accused = false;
            if changed {
                self.session.forget_past();
                self.unconfirmed.forget();
            }
            if durable && (!connection.resumed || doubtful) {
                self.session.nothing_held();
            }
            self.session.begin(&connection);
        }
        let lively = !early.is_empty();
        for event in early {
            self.take(event, &connection);
        }
        (connection, lively)
    }

    /// Passes on what the device said.
    fn take(&mut self, event: LinkEvent, connection: &Connection) {
        match event {
            // One that speaks in envelopes only says nothing in the open: this is somebody else,
            // and nobody's word but the device's makes its values good for longer.
            LinkEvent::Frame(_) | LinkEvent::Durable { .. } | LinkEvent::Alive
                if self.session.is_sealed() => {}
            LinkEvent::Frame(frame) => self.take_frame(frame.into(), None, connection),
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
                self.take_frame(frame.into(), ours, connection);
            }
            LinkEvent::Sealed { received, envelope, receipt } => {
                self.open(Early { received, envelope, receipt }, connection);
                self.judge();
            }
            LinkEvent::Alive => self.push(TwinMail::Alive),
            LinkEvent::Closed(_) => {}
        }
    }

    fn take_frame(&mut self, opened: OpenedFrame, receipt: Option<u64>, connection: &Connection) {
        let traffic = since(&mut self.counted, connection.traffic.snapshot());
        let OpenedFrame { frame, origin, replaced } = opened;
        self.push(TwinMail::Frame(FrameMail { frame, traffic, receipt, origin, replaced }));
    }

    /// Opens an envelope and passes on what is in it. What does not open is acknowledged all the
    /// same, since nobody will ever have the keys to open it; so is what its own digest refutes.
    /// Either is counted. What was opened on an earlier connection and never confirmed is passed on
    /// once more.
    fn open(&mut self, early: Early, connection: &Connection) {
        let (theirs, received) = (early.receipt, early.received);
        let durable = theirs.is_some() && self.line.device.delivery == Delivery::Durable;
        let mark = durable.then(|| mark(&early.envelope));
        let opened = match self.session.open(early, self.line.clock.now()) {
            Unsealed::Opened(opened) => opened,
            Unsealed::Waits => return self.count_shed(),
            Unsealed::Never => {
                if self.session.take_waiting() && !self.is_durable() {
                    // It keeps its values, and waits for a word that only those need here.
                    self.tell_taken(connection, None);
                }
                let again = mark.and_then(|mark| self.unconfirmed.again(&mark));
                let Some(mut opened) = again else {
                    if let Some(receipt) = theirs {
                        connection.control.confirm(receipt);
                    }
                    return self.count_shed();
                };
                opened.frame.received = received;
                opened
            }
        };
        let ours = match theirs {
            Some(receipt) if self.line.device.delivery == Delivery::Durable => {
                let ours = self.line.confirmed.hand_out();
                if let Some(ours) = ours {
                    self.receipts.insert(ours, receipt);
                    if let Some(mark) = mark {
                        self.unconfirmed.add(ours, mark, opened.clone());
                    }
                }
                ours
            }
            Some(receipt) => {
                connection.control.confirm(receipt);
                None
            }
            None => None,
        };
        self.take_frame(opened, ours, connection);
    }

    /// Evidence against the device goes to its twin; what does not fit to the log.
    fn judge(&mut self) {
        if let Some(reason) = self.session.evidence.verdict() {
            self.accuse(reason);
        }
        if let Some(why) = self.session.evidence.complaint() {
            tracing::warn!(device = %self.line.device.id, "{why}");
        }
    }

    /// Has the twin confine the device, and puts on record why.
    fn accuse(&mut self, reason: String) {
        if self.accused || self.line.confinement.borrow().confined {
            return;
        }
        self.accused = true;
        if let Some(trust) = &self.line.trust {
            trust.quarantine(self.line.device.id.as_str(), &reason);
        }
        self.push(TwinMail::Quarantine { key: None, reason });
    }

    fn write(
        &mut self,
        connection: &Connection,
        key: u64,
        writes: Vec<(PointIx, f64)>,
    ) -> Option<TwinMail> {
        if self.line.confinement.borrow().confined {
            let why = "the device is in quarantine".to_owned();
            return Some(written(key, Err(WriteError::NotSent(why))));
        }
        let permits = self.line.permits.as_ref();
        if let Some(why) = permits.and_then(|p| p.write_refusal(self.at)) {
            return Some(written(key, Err(WriteError::NotSent(why))));
        }
        let layout = self.session.layout();
        match self.session.keys() {
            Ok(keys) => {
                let way = Way::to(connection, keys, layout);
                self.errands.write(way, self.line.gate.clone(), key, writes)
            }
            Err(why) => Some(written(key, Err(WriteError::NotSent(why.to_owned())))),
        }
    }

    fn is_durable(&self) -> bool {
        self.line.device.delivery == Delivery::Durable
    }

    /// Tells a device that speaks in envelopes what was received of it. Where each value need not
    /// count here, what it said before is not wanted.
    fn tell_taken(&mut self, connection: &Connection, taken: Option<Taken>) {
        if let Ok(Some(keys)) = self.session.keys() {
            let way = Way::to(connection, Some(keys), self.session.layout());
            let discard = self.session.discard();
            discard.fetch_or(!self.is_durable(), Relaxed);
            self.errands.tell_taken(way, taken, discard);
        }
    }

    /// Why the policy keeps a path from being taken, if it does.
    fn refused(&self, rank: usize) -> Option<Fault> {
        let reason = self.line.permits.as_ref()?.refusal(rank)?;
        Some(Fault { cause: Cause::Settings, reason })
    }

    /// The twin confines its device, or lets it go.
    fn on_confinement(&mut self, connection: &Connection) {
        let Confinement { confined, safe } = self.line.confinement.borrow_and_update().clone();
        self.accused = false;
        if !confined {
            self.made_safe = None;
        }
        // No command may follow the word about safety, and no such word a release.
        for letter in self.errands.break_off() {
            self.push(letter);
        }
        match self.session.safety_keys() {
            _ if safe.is_empty() => {}
            Ok(keys) => {
                // Under the keys that are about to go: there is no other way to a sealed device.
                let way = Way::to(connection, keys, self.session.layout());
                self.errands.make_safe(way, safe);
            }
            // It said that it is safe before its keys went.
            Err(_) if self.made_safe == Some(true) => {}
            Err(why) => self.tell_safe(Err(format!("it cannot be told: {why}"))),
        }
        self.session.confine(confined, Some(connection));
        self.unconfirmed.forget();
        if self.errands.is_empty() {
            self.session.ask_no_more();
        }
        self.settle_lost(connection);
    }

    /// Acknowledges what nobody will ever open.
    fn settle_lost(&mut self, connection: &Connection) {
        for receipt in self.session.take_lost() {
            connection.control.confirm(receipt);
        }
        self.count_shed();
    }

    fn count_shed(&mut self) {
        let lane = match self.line.device.delivery {
            Delivery::Latest => Lane::Latest,
            Delivery::Durable => Lane::Durable,
        };
        let shed = self.session.take_shed();
        if shed > 0 {
            self.line.carrier.mailbox.note_shed(lane, shed);
        }
    }

    /// The twin hears whether its confined device said that it is safe, the record if that is news.
    fn tell_safe(&mut self, result: Result<(), String>) {
        let before = self.made_safe.replace(result.is_ok());
        if before != Some(result.is_ok())
            && let Some(trust) = &self.line.trust
        {
            trust.safe_state(self.line.device.id.as_str(), &result);
        }
        self.push(TwinMail::MadeSafe(result));
    }

    /// Ends the session of a device whose key is worth nothing any more.
    fn on_revocations(&mut self, connection: &Connection) {
        let Some(list) = &self.line.revoked else { return };
        let list = Arc::clone(&list.borrow());
        if let Some(trust) = &self.line.trust {
            // Whoever judges the device's proof, this one or the next, may not have heard of the
            // list yet. An older one is refused, and then it knows all this.
            let _ = trust.gateway.revoked().adopt(Arc::clone(&list), self.line.clock.now());
        }
        if !self.session.is_revoked(|cnf| list.revoked.contains(cnf)) {
            return;
        }
        if let Some(trust) = &self.line.trust {
            let device = self.line.device.id.as_str();
            trust.session(device, &connection.endpoint, AuditResult::Refused, "revoked");
        }
        let reason = "the device's key was revoked".to_owned();
        self.push(TwinMail::Session(SessionMail::Ended { reason }));
        self.session.revoke(connection);
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
        self.session.end();
        self.count_shed();
        self.outbox.forget_receipted();
        self.line.confirmed.forget();
        self.receipts.clear();
        self.unconfirmed.broke();
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
        self.doubtful[rank] |= fault.needs_life() && self.chooser.current() != Some(rank);
        if fault.needs_life() && !mute && self.chooser.current() == Some(rank) {
            self.chooser.on_silence(rank, now, jitter);
        } else if mute || fault.needs_life() {
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
            sealed: self.session.is_sealed(),
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

    /// How long it may take from the device's last word until it is known to hang, in plant time:
    /// a silence, and one attempt on each other path.
    fn patience(&self) -> Duration {
        let others = u32::try_from(self.line.paths.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let wall = self.silence().saturating_add(TIMEOUT.saturating_mul(others));
        Duration::try_from_secs_f64(wall.as_secs_f64() * self.line.clock.speed())
            .unwrap_or(Duration::MAX / 4)
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
