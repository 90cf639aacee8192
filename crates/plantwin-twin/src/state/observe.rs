//! What the twin shows of itself, and when.

use plantwin_model::{PointIx, PointView, Timestamp};

use super::{Effect, Effects, OBSERVE_EVERY, PointState, Reason, TwinCore};
use crate::{Observed, TwinEvent, TwinPlan};

impl TwinCore {
    /// Shows a change now, unless it showed one a moment ago: then [`TwinCore::next_deadline`]
    /// brings it later.
    pub(super) fn observe_if_due(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        if self.dirty && now >= self.observed_at.plus(OBSERVE_EVERY) {
            self.observe_now(plan, now, out);
        }
    }

    pub(super) fn observe_now(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        self.dirty = false;
        self.observed_at = now;
        out.push(Effect::Tell(TwinEvent::Observed(Box::new(self.observed(plan)))));
    }

    /// The station's mailbox was full: what must not be lost is told again.
    pub fn not_told(&mut self, event: TwinEvent, now: Timestamp) {
        match event {
            TwinEvent::Observed(_) => self.dirty = true,
            TwinEvent::Save(_) => self.save_at = Some(now.plus(OBSERVE_EVERY)),
            // A newer list of alarms stands for the older.
            TwinEvent::Alarms(_) => {
                self.untold.retain(|e| !matches!(e, TwinEvent::Alarms(_)));
                self.untold.push(event);
            }
            TwinEvent::Outcome { .. } => self.untold.push(event),
        }
        self.observed_at = now;
    }

    pub(super) fn retell(&mut self, out: &mut Effects) {
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
            mailbox: (0, 0, 0),
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
