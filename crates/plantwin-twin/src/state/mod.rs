//! The thinking of a twin, without actors, sockets or clocks: mail in, effects out.

mod command;
mod frame;
mod link;
mod observe;
mod quarantine;
mod telemetry;
#[cfg(test)]
mod tests;
mod vital;

use std::{sync::Arc, time::Duration};

use plantwin_energy::{Joules, Ledger};
use plantwin_model::{Flaw, Outcome, PointIx, Quality, Timestamp, TwinState};
use plantwin_physics::Predictor;
use plantwin_watch::{AlarmBank, Changes, Condition};
use smallvec::SmallVec;

use crate::{Session, Taken, TwinEvent, TwinMail, TwinPlan, session::is_past};
pub use vital::Vital;

/// Something the shell must carry out.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Write points of the device; the result comes back as [`TwinMail::Written`].
    Write {
        /// The command's key.
        key: u64,
        /// Points and values in their units.
        writes: SmallVec<[(PointIx, f64); 2]>,
    },
    /// Tell the station.
    Tell(TwinEvent),
    /// Confine the device: drop its session and begin none, after the writes that bring it to its
    /// safe state.
    Confine {
        /// Points and values in their units; empty for a device without a safe state.
        safe: SmallVec<[(PointIx, f64); 2]>,
    },
    /// The device may begin a session again.
    Unconfine,
    /// Values with these receipts are not kept and will not be confirmed.
    LetGo {
        /// As the line named them.
        receipts: Vec<u64>,
    },
    /// Tell the device up to where its durable values were received: it keeps them until then.
    TellTaken(Option<Taken>),
    /// Feed the neighbours: values by outlet, SI base units.
    Feed,
}

/// Effects of one letter.
pub type Effects = SmallVec<[Effect; 4]>;

/// Shortest time between two observations of the same twin, in wall time.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

/// Everything a twin knows that changes.
#[derive(Debug)]
pub struct TwinCore {
    phase: TwinState,
    reason: Reason,
    since: Timestamp,
    session: Session,
    /// Why the device is confined, if it is.
    confined: Option<String>,
    /// When the confined device said that it is in its safe state.
    safe_since: Option<Timestamp>,
    /// When the device was last let go: what was received before is marked, whenever it comes.
    free_since: Timestamp,
    path: Option<(u16, String, u32)>,
    points: Vec<PointState>,
    predictor: Option<Predictor>,
    /// When the predictor's state holds.
    model_time: Option<Timestamp>,
    /// Last value of each flow into this twin.
    inflows: Vec<f64>,
    alarms: AlarmBank,
    ledger: Ledger,
    paid_until: Option<Timestamp>,
    /// Whether the path in use sends datagrams (UDP) rather than a stream (TCP).
    datagrams: bool,
    /// How long the line waits for a word of the device before it gives the path up.
    patience: Duration,
    /// When the path in use came up.
    up_at: Timestamp,
    /// Nothing came lately, and until then the line may say why.
    silent_until: Option<Timestamp>,
    restarts: u32,
    waiting: SmallVec<[PendingWrite; 1]>,
    /// Frames that wait for the session to open: the newest one, or all of a device of durable
    /// delivery.
    held: Vec<Held>,
    /// Commands of which a second letter must have no effect, until they expire.
    known: Vec<(u64, Timestamp)>,
    /// Frames lost since the last telemetry.
    missing: u64,
    dirty: bool,
    observed_at: Timestamp,
    save_at: Option<Timestamp>,
    /// What the station could not take; told again, in order, at `retell_at`.
    untold: Vec<TwinEvent>,
    retell_at: Option<Timestamp>,
    /// The runtime is about to stop.
    draining: bool,
}

/// A frame, with what travels beside it.
#[derive(Clone, PartialEq, Debug)]
struct Held {
    frame: plantwin_adapter::Frame,
    receipt: Option<u64>,
    origin: Vec<Option<plantwin_seal::OriginDigest>>,
    replaced: bool,
}

/// Why a twin is in its state; turned into text only when shown.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Reason {
    NotYetReached,
    AwaitingSession,
    AwaitingValues,
    Current,
    /// Nothing came for so long that values are stale; whether the device hangs is not known yet.
    Silent,
    Stale(PointIx),
    BadValue(PointIx, Flaw),
    Diverged(PointIx),
    Text(String),
}

/// A command that is under way to the device.
#[derive(Clone, PartialEq, Debug)]
struct PendingWrite {
    key: u64,
    writes: SmallVec<[(PointIx, f64); 2]>,
}

/// What is known of one point.
#[derive(Clone, Copy, Debug)]
struct PointState {
    value: Option<f64>,
    quality: Quality,
    source_time: Timestamp,
    received: Timestamp,
    /// When the device last confirmed the value; from then it grows stale.
    confirmed: Timestamp,
    predicted: Option<f64>,
    residual: Option<f64>,
    desired: Option<(f64, Timestamp)>,
}

impl PointState {
    /// Source time of a value of the past that does not say when it was measured.
    const NO_TIME: Timestamp = Timestamp(i64::MIN);

    /// Whether it has a value, and that is the device's word and not one of the past.
    const fn is_measured(&self) -> bool {
        self.value.is_some() && !is_past(self.quality)
    }

    /// Whether the device has said nothing of it yet over its path: what is shown of it is nothing,
    /// or of an earlier run, or from before communication was lost.
    const fn is_awaited(&self) -> bool {
        matches!(self.quality, Quality::Bad(Flaw::NoValue | Flaw::CommLost))
            || (self.confirmed.0 == i64::MIN && matches!(self.quality, Quality::Bad(Flaw::Stale)))
    }

    /// Whether its value is fit for use now, and grows stale unless it is confirmed.
    const fn is_current(&self) -> bool {
        self.is_measured() && !self.quality.is_bad()
    }

    /// A point about which nothing is known.
    const UNKNOWN: Self = Self {
        value: None,
        quality: Quality::Bad(Flaw::NoValue),
        source_time: Self::NO_TIME,
        received: Timestamp(i64::MIN),
        confirmed: Timestamp(i64::MIN),
        predicted: None,
        residual: None,
        desired: None,
    };
}

impl TwinCore {
    /// A twin that has not met its device yet.
    pub fn new(plan: &TwinPlan, now: Timestamp) -> Self {
        Self {
            phase: if plan.native() { TwinState::Enrolled } else { TwinState::Unbound },
            reason: Reason::NotYetReached,
            since: now,
            session: Session::new(),
            confined: None,
            safe_since: None,
            free_since: Timestamp(i64::MIN),
            path: None,
            points: vec![PointState::UNKNOWN; plan.device.kind.points.len()],
            predictor: plan.model.as_ref().map(|m| Predictor::new(m, &plan.device)),
            model_time: None,
            inflows: vec![f64::NAN; plan.inflows.len()],
            alarms: AlarmBank::new(Arc::clone(&plan.alarms), plan.device.id.clone()),
            ledger: Ledger::new(plan.device.budget_joules.and_then(|j| Joules::new(j).ok())),
            paid_until: None,
            datagrams: false,
            patience: Duration::ZERO,
            up_at: now,
            silent_until: None,
            restarts: 0,
            waiting: SmallVec::new(),
            held: Vec::new(),
            known: Vec::new(),
            missing: 0,
            dirty: true,
            observed_at: Timestamp(i64::MIN),
            save_at: None,
            untold: Vec::new(),
            retell_at: None,
            draining: false,
        }
    }

    /// Handles one letter. Effects are appended to `out`.
    pub fn apply(&mut self, plan: &TwinPlan, mail: TwinMail, now: Timestamp, out: &mut Effects) {
        match mail {
            TwinMail::Frame(mail) => self.on_frame(plan, mail, now, out),
            TwinMail::Flow(mail) => self.on_flow(plan, mail),
            TwinMail::Alive => self.on_alive(plan, now, out),
            TwinMail::LinkUp(mail) => self.on_link_up(plan, mail, now, out),
            TwinMail::LinkDown(mail) => self.on_link_down(plan, &mail.reason, now, out),
            TwinMail::Session(news) => self.on_session(plan, news, now, out),
            TwinMail::Command(mail) => self.on_command(plan, &mail, now, out),
            TwinMail::Written(mail) => self.on_written(plan, mail, now, out),
            TwinMail::Acknowledge(name) => {
                let mut changes = Changes::new();
                if let Err(error) = self.alarms.acknowledge(&name, now, &mut changes) {
                    // The console's picture was a moment old: nothing to do.
                    tracing::debug!(twin = %plan.device.id, "failed to {error}");
                }
                self.on_alarms(plan, &changes, now, out);
            }
            TwinMail::Drain { key } => {
                self.save_at = None;
                self.draining = true;
                self.observe_now(plan, now, out);
                out.push(Effect::Tell(TwinEvent::Save(self.vital(plan).to_bytes())));
                out.push(Effect::Tell(TwinEvent::Outcome { key, outcome: Outcome::Done }));
            }
            TwinMail::Quarantine { key, reason } => {
                self.on_quarantine(plan, key, reason, now, out);
            }
            TwinMail::MadeSafe(result) => self.on_made_safe(plan, &result, now, out),
            TwinMail::Release { key } => self.on_release(plan, key, now, out),
            TwinMail::Retry { key, .. } | TwinMail::Drop { key, .. } => {
                // The shell keeps what is set aside; here there is none.
                Self::refuse(key, "no such letter", out);
            }
        }
    }

    /// The time came that [`Self::next_deadline`] named.
    pub fn on_time(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        self.age(plan, now);
        let mut changes = Changes::new();
        self.alarms.tick(now, &mut changes);
        self.on_alarms(plan, &changes, now, out);
        self.retell(now, out);
        if self.save_at.is_some_and(|at| at <= now) {
            self.save_at = None;
            out.push(Effect::Tell(TwinEvent::Save(self.vital(plan).to_bytes())));
        }
        self.observe_if_due(plan, now, out);
    }

    /// When [`Self::on_time`] must be called next, whatever else comes in between.
    pub fn next_deadline(&self, plan: &TwinPlan) -> Option<Timestamp> {
        let mut next = self.alarms.next_deadline();
        let mut sooner = |t: Option<Timestamp>| {
            if let Some(t) = t {
                next = Some(next.map_or(t, |n: Timestamp| n.min(t)));
            }
        };
        sooner(self.next_age(plan));
        sooner(self.save_at);
        sooner(self.retell_at);
        sooner(self.dirty.then(|| self.observed_at.plus(OBSERVE_EVERY)));
        next
    }

    /// The guardian restarted the twin. `set_aside` is what the alarm says if a letter was put
    /// away.
    pub fn on_restarted(
        &mut self,
        plan: &TwinPlan,
        set_aside: Option<&str>,
        now: Timestamp,
        out: &mut Effects,
    ) {
        self.restarts += 1;
        if let Some(text) = set_aside {
            let mut changes = Changes::new();
            self.alarms.raise(Condition::Supervision, text, now, &mut changes);
            // Told also if it was active before: its text has changed.
            self.tell_alarms(plan, now, out);
        }
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }

    fn enter(&mut self, phase: TwinState, reason: Reason, now: Timestamp) {
        // Nothing the device or its link does brings it out of quarantine.
        let (phase, reason) = match &self.confined {
            Some(why) => (TwinState::Quarantined, Reason::Text(why.clone())),
            None => (phase, reason),
        };
        if self.phase != phase {
            self.phase = phase;
            self.since = now;
        }
        if self.reason != reason {
            self.reason = reason;
        }
        self.dirty = true;
    }

    fn on_alarms(&mut self, plan: &TwinPlan, changes: &Changes, now: Timestamp, out: &mut Effects) {
        if !changes.is_empty() {
            self.tell_alarms(plan, now, out);
        }
    }

    /// Alarms are told before anything else of the same letter, the newest list in place of an
    /// older one, and saved at once.
    fn tell_alarms(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        let told = Effect::Tell(TwinEvent::Alarms(self.alarms.active().collect()));
        match out.iter_mut().find(|e| matches!(e, Effect::Tell(TwinEvent::Alarms(_)))) {
            Some(older) => *older = told,
            None => out.insert(0, told),
        }
        if plan.saves {
            self.save_at = Some(now);
        }
    }

    fn fail(key: u64, reason: &str, out: &mut Effects) {
        let outcome = Outcome::Failed { reason: reason.to_owned() };
        out.push(Effect::Tell(TwinEvent::Outcome { key, outcome }));
    }

    fn refuse(key: u64, reason: &str, out: &mut Effects) {
        let outcome = Outcome::Refused { reason: reason.to_owned() };
        out.push(Effect::Tell(TwinEvent::Outcome { key, outcome }));
    }

    fn unknown(key: u64, reason: &str, out: &mut Effects) {
        let outcome = Outcome::Unknown { reason: reason.to_owned() };
        out.push(Effect::Tell(TwinEvent::Outcome { key, outcome }));
    }

    /// Values of the outflows, in the order of the plan, SI base units.
    pub fn outflow(&self, plan: &TwinPlan, outlet: usize) -> Option<f64> {
        let predictor = self.predictor.as_ref()?;
        let value = predictor.source(*plan.outflows.get(outlet)?);
        value.is_finite().then_some(value)
    }
}

impl Clone for TwinCore {
    fn clone(&self) -> Self {
        Self {
            phase: self.phase,
            reason: self.reason.clone(),
            since: self.since,
            session: self.session.clone(),
            confined: self.confined.clone(),
            safe_since: self.safe_since,
            free_since: self.free_since,
            path: self.path.clone(),
            points: self.points.clone(),
            predictor: self.predictor.clone(),
            model_time: self.model_time,
            inflows: self.inflows.clone(),
            alarms: self.alarms.clone(),
            ledger: self.ledger,
            paid_until: self.paid_until,
            datagrams: self.datagrams,
            patience: self.patience,
            up_at: self.up_at,
            silent_until: self.silent_until,
            restarts: self.restarts,
            waiting: self.waiting.clone(),
            held: self.held.clone(),
            known: self.known.clone(),
            missing: self.missing,
            dirty: self.dirty,
            observed_at: self.observed_at,
            save_at: self.save_at,
            untold: self.untold.clone(),
            retell_at: self.retell_at,
            draining: self.draining,
        }
    }

    /// Reuses every allocation: it runs after each letter, to keep what a restart goes back to.
    fn clone_from(&mut self, source: &Self) {
        self.phase = source.phase;
        self.reason.clone_from(&source.reason);
        self.since = source.since;
        self.session.clone_from(&source.session);
        self.confined.clone_from(&source.confined);
        self.safe_since = source.safe_since;
        self.free_since = source.free_since;
        self.path.clone_from(&source.path);
        self.points.clone_from(&source.points);
        match (&mut self.predictor, &source.predictor) {
            (Some(mine), Some(theirs)) => mine.clone_from(theirs),
            (mine, theirs) => mine.clone_from(theirs),
        }
        self.model_time = source.model_time;
        self.inflows.clone_from(&source.inflows);
        self.alarms.clone_from(&source.alarms);
        self.ledger = source.ledger;
        self.paid_until = source.paid_until;
        self.datagrams = source.datagrams;
        self.patience = source.patience;
        self.up_at = source.up_at;
        self.silent_until = source.silent_until;
        self.restarts = source.restarts;
        self.waiting.clone_from(&source.waiting);
        self.held.clone_from(&source.held);
        self.known.clone_from(&source.known);
        self.missing = source.missing;
        self.dirty = source.dirty;
        self.observed_at = source.observed_at;
        self.save_at = source.save_at;
        self.untold.clone_from(&source.untold);
        self.retell_at = source.retell_at;
        self.draining = source.draining;
    }
}
