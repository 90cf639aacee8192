//! The router for requests: who may, to whom, and what became of it.
//!
//! A compiled table from device name to line, not a station that letters pass through. Flows
//! between twins do not come here at all: their recipients are resolved when the tree is built,
//! and those that cross zones ask the policy before every message. Every request is decided by
//! the policy in force and put on record with the rule and the outcome, whether it was allowed or
//! not.

mod account;
mod front;
mod permit;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use plantwin_authority::{
    policy::{Errand, PolicyDesk, Principal, Ruling, errand_of},
    registry::PolicyStamp,
    service::AuthorityPort,
};
use plantwin_model::{
    AlarmId, AlarmState, AuditSink, Clock, CommandKey, CommandSender, DeviceId, DeviceIx, Outcome,
    PlantSpec, PlantView, PointIx, Request, Timestamp, TwinState,
};
use plantwin_twin::TwinMail;
use tokio::sync::{mpsc::Sender, watch};

use account::Account;
pub(crate) use account::Reply;
pub use front::{Deed, FrontDesk, NotTaken, Reloaded};
pub(crate) use permit::Permits;

use crate::{
    commands::CommandDesk,
    line::LineOrder,
    station::{GAVE_UP, Notes, StationNote},
};

/// A command that was not sent within this time expires.
const EXPIRES_AFTER: Duration = Duration::from_secs(2);
/// Longest wait for an outcome; then it is reported as unknown.
const OUTCOME_WITHIN: Duration = Duration::from_secs(8);
/// Outcomes that may be awaited at the same time.
const MAX_AWAITED: usize = 4096;

/// Who waits for which outcome.
pub(crate) struct Outcomes {
    waiting: Mutex<HashMap<u64, (Timestamp, Reply)>>,
    next: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Outcomes {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { waiting: Mutex::new(HashMap::new()), next: AtomicU64::new(1), clock }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, (Timestamp, Reply)>> {
        // The table stays usable whatever panicked while it was held: entries are independent.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn await_one(&self, reply: Reply) -> Option<u64> {
        let mut table = self.table();
        if table.len() >= MAX_AWAITED {
            return None;
        }
        let key = self.next.fetch_add(1, Relaxed);
        table.insert(key, (self.clock.now(), reply));
        Some(key)
    }

    /// Awaits the end of a drain, whatever the number of twins.
    fn await_drain(&self, reply: Reply) -> u64 {
        let key = self.next.fetch_add(1, Relaxed);
        self.table().insert(key, (self.clock.now(), reply));
        key
    }

    pub(crate) fn complete(&self, key: u64, outcome: Outcome) {
        if let Some((_, reply)) = self.table().remove(&key) {
            reply.tell(outcome);
        }
    }

    /// Whether somebody still waits for it.
    pub(crate) fn is_awaited(&self, key: u64) -> bool {
        self.table().contains_key(&key)
    }

    fn forget(&self, key: u64) {
        self.table().remove(&key);
    }

    pub(crate) fn expire(&self) {
        let now = self.clock.now();
        let limit = OUTCOME_WITHIN.mul_f64(self.clock.speed().max(1.0));
        self.table().retain(|_, (asked, reply)| {
            let late = now.since(*asked) > limit;
            if late {
                let reason = "the device did not answer; whether it acted is unknown".to_owned();
                reply.tell(Outcome::Failed { reason });
            }
            !late
        });
    }
}

/// Where requests to one device go.
pub(crate) struct Entry {
    pub(crate) ix: DeviceIx,
    pub(crate) orders: Sender<LineOrder>,
    pub(crate) revive: Box<dyn Fn() + Send + Sync>,
}

/// The compiled table.
pub(crate) struct Router {
    pub(crate) spec: Arc<PlantSpec>,
    pub(crate) table: BTreeMap<DeviceId, Entry>,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) commands: Arc<CommandDesk>,
    pub(crate) notes: Notes,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Arc<PolicyDesk>,
    pub(crate) audit: Arc<dyn AuditSink>,
    /// Told of each policy, so that tokens name it.
    pub(crate) authority: Arc<dyn AuthorityPort>,
    pub(crate) view: watch::Receiver<Arc<PlantView>>,
}

impl Router {
    /// Tells the authority which policy is in force.
    pub(crate) fn stamp(&self) {
        let policy = self.policy.policy();
        let plant = policy.plant();
        // Its own words: they need only differ where the rules do.
        let text = format!("{:?}{:?}", plant.policy, plant.conduits);
        let digest = plantwin_seal::hash(&[b"plantwin v1 policy", text.as_bytes()]);
        self.authority.set_policy(PolicyStamp { epoch: self.policy.epoch(), digest });
    }

    /// Has every twin save what must survive. Resolves one by one through the receiver, which
    /// yields as many outcomes as this returns.
    pub(crate) fn drain(&self) -> (usize, Receiver<Outcome>) {
        let (reply, outcomes) = sync_channel(self.table.len());
        let mut asked = 0;
        for entry in self.table.values() {
            let key = self.outcomes.await_drain(Reply::plain(reply.clone()));
            let order = LineOrder::Post(Box::new(TwinMail::Drain { key }));
            match entry.orders.try_send(order) {
                Ok(()) => asked += 1,
                Err(_) => {
                    self.outcomes.forget(key);
                }
            }
        }
        (asked, outcomes)
    }

    fn answer(
        &self,
        who: &Principal,
        key: Option<CommandKey>,
        request: Request,
        reply: SyncSender<Outcome>,
    ) {
        let find = |device: &DeviceId| self.table.get(device).map(|entry| entry.ix);
        let errand = match errand_of(&self.spec, &find, &request) {
            Ok(errand) => errand,
            Err(reason) => {
                let account = Account::of(who, &request, String::new());
                let reply = Reply::accounted(reply, &self.audit, account);
                return reply.tell(Outcome::Refused { reason });
            }
        };
        let now = self.clock.now();
        let repeat = key.is_some_and(|key| self.is_known(key, &errand));
        let Ruling { answer, rule } = self.policy.rule(who, &errand, repeat, now);
        let account = Account::of(who, &request, format!("{}, by {rule}", errand.text));
        let reply = Reply::accounted(reply, &self.audit, account);
        let answer = answer.and_then(|()| self.accountable(&request));
        let refused = match answer.and_then(|()| self.dispatch(key, request, &errand, &reply)) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return,
            Err(reason) => Outcome::Refused { reason },
        };
        reply.tell(refused);
    }

    /// What nobody could account for is not done for people.
    fn accountable(&self, request: &Request) -> Result<(), String> {
        if account::must_be_on_record(request) { self.on_record() } else { Ok(()) }
    }

    fn on_record(&self) -> Result<(), String> {
        if self.audit.is_blocked() {
            return Err("the audit trail cannot be written; see that the disk has room, and ask \
                        again"
                .to_owned());
        }
        Ok(())
    }

    /// Whether this very command was let through before.
    fn is_known(&self, key: CommandKey, errand: &Errand) -> bool {
        let device = errand.device.map(|ix| &self.spec.devices[ix.index()]);
        device.is_some_and(|device| self.commands.knows(key, device, &errand.writes()))
    }

    fn dispatch(
        &self,
        key: Option<CommandKey>,
        request: Request,
        errand: &Errand,
        reply: &Reply,
    ) -> Result<Option<Outcome>, String> {
        match request {
            Request::Command { device, .. } | Request::Write { device, .. } => {
                self.command(key, &device, errand.writes(), reply)
            }
            Request::Acknowledge { alarm } => self.acknowledge(&alarm, reply),
            Request::Restart { device } => {
                (self.entry(&device)?.revive)();
                Ok(Some(Outcome::Done))
            }
            Request::Retry { device, letter } => {
                self.ask_twin(&device, reply, |key| TwinMail::Retry { key, letter })
            }
            Request::Drop { device, letter } => {
                self.ask_twin(&device, reply, |key| TwinMail::Drop { key, letter })
            }
            Request::Quarantine { device, reason } => {
                self.ask_twin(&device, reply, |key| TwinMail::Quarantine { key: Some(key), reason })
            }
            Request::Release { device } => {
                self.ask_twin(&device, reply, |key| TwinMail::Release { key })
            }
        }
    }

    /// Answered when the alarm is shown as acknowledged, or not any more.
    fn acknowledge(&self, alarm: &AlarmId, reply: &Reply) -> Result<Option<Outcome>, String> {
        let (device, name) = alarm
            .as_str()
            .split_once('.')
            .ok_or_else(|| format!("an alarm is named DEVICE.ALARM, not {alarm}"))?;
        let plants = device == self.spec.name && !self.table.contains_key(&device.into());
        let entry = if plants { None } else { Some(self.entry(&device.into())?) };
        let twin = entry.filter(|_| name != GAVE_UP);
        if !is_open(&self.view.borrow(), alarm, twin.map(|entry| entry.ix))? {
            return Ok(Some(Outcome::Done));
        }
        let key = self.outcomes.await_one(reply.clone()).ok_or_else(busy)?;
        let letter = TwinMail::Acknowledge(name.to_owned());
        let posted =
            twin.is_none_or(|twin| twin.orders.try_send(LineOrder::Post(Box::new(letter))).is_ok());
        let note = StationNote::Acknowledge { alarm: alarm.clone(), key, own: twin.is_none() };
        if !posted || !self.notes.leave(note) {
            self.outcomes.complete(key, Outcome::Refused { reason: busy() });
        }
        Ok(None)
    }

    fn command(
        &self,
        key: Option<CommandKey>,
        device: &DeviceId,
        writes: Vec<(PointIx, f64)>,
        reply: &Reply,
    ) -> Result<Option<Outcome>, String> {
        let entry = self.entry(device)?;
        let device = &self.spec.devices[entry.ix.index()];
        let key = match key {
            Some(key) => key,
            None => CommandKey(u128::from_le_bytes(
                plantwin_seal::random_bytes().map_err(|e| format!("make a key: {e}"))?,
            )),
        };
        let now = self.clock.now();
        let expires = now.plus(EXPIRES_AFTER.mul_f64(self.clock.speed().max(1.0)));
        self.commands.ask(key, device, writes, (now, expires), reply.clone());
        Ok(None)
    }

    /// A request that the twin itself answers.
    fn ask_twin(
        &self,
        device: &DeviceId,
        reply: &Reply,
        letter: impl FnOnce(u64) -> TwinMail,
    ) -> Result<Option<Outcome>, String> {
        let entry = self.entry(device)?;
        let key = self.outcomes.await_one(reply.clone()).ok_or_else(busy)?;
        if entry.orders.try_send(LineOrder::Post(Box::new(letter(key)))).is_err() {
            self.outcomes.complete(key, Outcome::Refused { reason: busy() });
        }
        Ok(None)
    }

    fn entry(&self, device: &DeviceId) -> Result<&Entry, String> {
        self.table.get(device).ok_or_else(|| format!("there is no device {device}"))
    }
}

/// Whether there is such an alarm that nobody has acknowledged; `twin` is who keeps it.
fn is_open(view: &PlantView, alarm: &AlarmId, twin: Option<DeviceIx>) -> Result<bool, String> {
    let Some(shown) = view.alarms.iter().find(|shown| shown.id == *alarm) else {
        return Err(format!("there is no alarm {alarm} now"));
    };
    if shown.state == AlarmState::Acknowledged {
        return Ok(false);
    }
    let twin = twin.and_then(|ix| view.twins.get(ix.index()));
    match twin.filter(|twin| twin.state == TwinState::GaveUp) {
        Some(twin) => Err(format!("{0} was given up: restart {0}, then acknowledge", twin.id)),
        None => Ok(true),
    }
}

fn busy() -> String {
    "too many requests are under way; try again".to_owned()
}

/// The router as somebody holds it.
pub(crate) struct Desk {
    pub(crate) router: Arc<Router>,
    pub(crate) who: Principal,
}

impl CommandSender for Desk {
    fn send_keyed(&self, key: Option<CommandKey>, request: Request) -> Receiver<Outcome> {
        let (reply, outcome) = sync_channel(1);
        self.router.answer(&self.who, key, request, reply);
        outcome
    }
}
