//! What the twin shows of itself, and when.

use plantwin_model::{MailboxView, PointIx, PointView, Timestamp};
use plantwin_seal::Lane;

use super::{Effect, Effects, OBSERVE_EVERY, PointState, Reason, TwinCore};
use crate::{MAX_RECEIPTS, Observed, TwinEvent, TwinPlan};

/// Outcomes that wait to be told again.
const MAX_OUTCOMES: usize = 256;

impl TwinCore {
    /// Shows a change now, unless it showed one a moment ago: then [`TwinCore::next_deadline`]
    /// brings it later.
    pub(super) fn observe_if_due(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        if self.dirty && now >= self.observed_at.plus(OBSERVE_EVERY) {
            self.observe_now(plan, now, out);
        }
    }

    pub(super) fn observe_now(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        // The twin may have been away, or its letters may have waited: what is shown as good must
        // be so now.
        self.age(plan, now);
        self.dirty = false;
        self.observed_at = now;
        out.push(Effect::Tell(TwinEvent::Observed(Box::new(self.observed(plan)))));
    }

    /// The station's mailbox was full: what must not be lost is told again, in order. Returns how
    /// many frames were shed to stay within bounds; the next telemetry tells of them as missing.
    pub fn not_told(&mut self, event: TwinEvent, now: Timestamp) -> u64 {
        let mut shed = 0;
        match event {
            TwinEvent::Observed(_) => {
                self.dirty = true;
                self.observed_at = now;
                return 0;
            }
            // What was said before the end must be told before it is said that all was told.
            TwinEvent::Save(_) if self.draining => {
                self.untold.retain(|e| !matches!(e, TwinEvent::Save(_)));
            }
            TwinEvent::Save(_) => {
                self.save_at = Some(now.plus(OBSERVE_EVERY));
                return 0;
            }
            // A newer list of alarms stands for the older.
            TwinEvent::Alarms(_) => self.untold.retain(|e| !matches!(e, TwinEvent::Alarms(_))),
            TwinEvent::Telemetry(_) => shed = self.make_room(),
            TwinEvent::Outcome { .. } => self.forget_outcome(),
            TwinEvent::SetAside(_) | TwinEvent::Released { .. } => {}
        }
        self.untold.push(event);
        self.retell_at = Some(now.plus(OBSERVE_EVERY));
        shed
    }

    /// Whether something of this lane waits to be told again: what is new must wait behind it.
    pub(crate) fn is_untold(&self, lane: Lane) -> bool {
        self.untold.iter().any(|e| self.lane_of(e) == lane)
    }

    /// The lane in which an event travels now. At the end outcomes do not overtake telemetry and
    /// what is to be saved: the runtime stops when it has heard them.
    pub(crate) const fn lane_of(&self, event: &TwinEvent) -> Lane {
        match event {
            TwinEvent::Outcome { .. } if self.draining => Lane::Durable,
            event => event.lane(),
        }
    }

    /// Forgets the oldest untold outcome, if the bound is reached: whoever asked has long given up
    /// waiting when so many were not taken.
    fn forget_outcome(&mut self) {
        let mut outcomes =
            (0..self.untold.len()).filter(|&i| matches!(self.untold[i], TwinEvent::Outcome { .. }));
        if let (Some(oldest), true) = (outcomes.next(), outcomes.count() + 1 >= MAX_OUTCOMES) {
            self.untold.remove(oldest);
        }
    }

    /// Sheds the oldest untold frame that nobody keeps, if the bound is reached. Those with a
    /// receipt stay: the line never has more than [`MAX_RECEIPTS`] of them unconfirmed.
    fn make_room(&mut self) -> u64 {
        let frames = self.untold.iter().filter(|e| matches!(e, TwinEvent::Telemetry(_))).count();
        let unkept = |e: &TwinEvent| matches!(e, TwinEvent::Telemetry(t) if t.receipt.is_none());
        if frames < MAX_RECEIPTS {
            return 0;
        }
        let Some(place) = self.untold.iter().position(unkept) else { return 0 };
        let TwinEvent::Telemetry(gone) = self.untold.remove(place) else { return 0 };
        // The gap stands where the frame was: in the next one, or in the next to come.
        let lost = gone.missing + 1;
        let next = self.untold[place..].iter_mut().find_map(|e| match e {
            TwinEvent::Telemetry(t) => Some(t),
            _ => None,
        });
        match next {
            Some(next) => next.missing += lost,
            None => self.missing += lost,
        }
        1
    }

    pub(super) fn retell(&mut self, now: Timestamp, out: &mut Effects) {
        if self.retell_at.is_none_or(|at| now < at) {
            return;
        }
        self.retell_at = None;
        for event in std::mem::take(&mut self.untold) {
            // The list of alarms may be older than the alarms are now.
            let event = match event {
                TwinEvent::Alarms(_) => TwinEvent::Alarms(self.alarms.active().collect()),
                other => other,
            };
            out.push(Effect::Tell(event));
        }
    }

    /// The observable state. The mailbox counts are the shell's to fill in.
    pub fn observed(&self, plan: &TwinPlan) -> Observed {
        Observed {
            state: self.phase,
            reason: self.reason_text(plan),
            since: self.since,
            path: self.path.clone(),
            session: self.session.view(),
            mailbox: MailboxView::default(),
            energy_joules: self.ledger.total().get(),
            bytes: self.ledger.bytes(),
            restarts: self.restarts,
            points: self
                .points
                .iter()
                .enumerate()
                .map(|(i, p)| p.view(self.alarms.half_width(PointIx(i as u16))))
                .collect(),
        }
    }

    fn reason_text(&self, plan: &TwinPlan) -> String {
        let name = |ix: &PointIx| &*plan.device.kind.points[ix.index()].name;
        match &self.reason {
            Reason::NotYetReached => "not reached yet".to_owned(),
            Reason::AwaitingSession => "waiting for the device to prove who it is".to_owned(),
            Reason::AwaitingValues => "waiting for the first values".to_owned(),
            Reason::Current => "values are current".to_owned(),
            Reason::Silent => "nothing came lately, the values are stale".to_owned(),
            Reason::Stale(ix) => format!("{} is stale", name(ix)),
            Reason::BadValue(ix, flaw) => format!("{} is bad: {flaw}", name(ix)),
            Reason::Diverged(ix) => format!("{} does not follow what was asked", name(ix)),
            Reason::Text(text) => text.clone(),
        }
    }
}

impl PointState {
    fn view(&self, band: Option<f64>) -> PointView {
        let known = self.value.is_some();
        PointView {
            value: self.value,
            quality: self.quality,
            source_time: known.then_some(self.source_time).filter(|&t| t != Self::NO_TIME),
            received_time: known.then_some(self.received),
            predicted: self.predicted,
            residual: self.residual,
            band,
            desired: self.desired.map(|(v, _)| v),
        }
    }
}
