//! Containment: a device against which there is hard evidence counts for nothing until somebody
//! with the security role lets it go.
//!
//! Its session ends, commands to it are refused, it is brought to its declared safe state, and
//! what it goes on saying is recorded with a mark and reaches neither model, neighbours nor
//! alarms. Confinement survives the process. Absent: finding evidence (the line and the router),
//! who may confine and release (the policy).

use plantwin_model::{Access, Flaw, Outcome, PointIx, PointSpec, Quality, Timestamp, TwinState};
use plantwin_watch::{Changes, Condition};
use smallvec::SmallVec;

use super::{Effect, Effects, Held, Reason, TwinCore};
use crate::{Telemetry, TwinEvent, TwinPlan, session::Admission};

impl TwinCore {
    /// Whether the device is confined, and why.
    pub fn confined(&self) -> Option<&str> {
        self.confined.as_deref()
    }

    pub(super) fn on_quarantine(
        &mut self,
        plan: &TwinPlan,
        key: Option<u64>,
        reason: String,
        now: Timestamp,
        out: &mut Effects,
    ) {
        if self.confined.is_none() {
            self.confine(plan, reason, now, out);
        }
        if let Some(key) = key {
            out.push(Effect::Tell(TwinEvent::Outcome { key, outcome: Outcome::Done }));
        }
        self.observe_now(plan, now, out);
    }

    fn confine(&mut self, plan: &TwinPlan, reason: String, now: Timestamp, out: &mut Effects) {
        let text = format!("quarantined: {reason}");
        self.confined = Some(text.clone());
        self.safe_since = None;
        for write in std::mem::take(&mut self.waiting) {
            Self::unknown(write.key, "the device was confined before it answered", out);
        }
        out.push(Effect::Confine { safe: safe_state(plan) });
        self.session.end();
        for point in &mut self.points {
            point.desired = None;
            if point.value.is_some() {
                point.quality = Quality::Bad(Flaw::Quarantined);
            }
        }
        self.enter(TwinState::Quarantined, Reason::Text(text.clone()), now);
        // What waited for its session is recorded with the mark, like all that it says from now on.
        for held in std::mem::take(&mut self.held).iter().filter(|_| plan.durable()) {
            self.take_marked(plan, held, now, out);
        }
        let mut changes = Changes::new();
        self.alarms.raise(Condition::Quarantine, &text, now, &mut changes);
        if self.path.is_none() {
            self.doubt_safety(plan, now, &mut changes);
        }
        self.on_alarms(plan, &changes, now, out);
        self.save_at = plan.saves.then_some(now);
    }

    /// No path leads to a confined device that has not said that it is safe.
    pub(super) fn doubt_safety(&mut self, plan: &TwinPlan, now: Timestamp, changes: &mut Changes) {
        if self.confined.is_some() && self.safe_since.is_none() && !safe_state(plan).is_empty() {
            let text = "its safe state is not confirmed, and no path to it is up";
            self.alarms.raise(Condition::SafeState, text, now, changes);
        }
    }

    /// What became of telling a confined device to be safe.
    pub(super) fn on_made_safe(
        &mut self,
        plan: &TwinPlan,
        result: &Result<(), String>,
        now: Timestamp,
        out: &mut Effects,
    ) {
        let mut changes = Changes::new();
        match result {
            _ if self.confined.is_none() => return,
            Ok(()) => {
                self.safe_since = Some(now);
                self.alarms.clear(Condition::SafeState, "", now, &mut changes);
            }
            Err(reason) => {
                let text = format!("did not confirm its safe state: {reason}");
                self.alarms.raise(Condition::SafeState, &text, now, &mut changes);
            }
        }
        self.on_alarms(plan, &changes, now, out);
        self.observe_now(plan, now, out);
    }

    pub(super) fn on_release(
        &mut self,
        plan: &TwinPlan,
        key: u64,
        now: Timestamp,
        out: &mut Effects,
    ) {
        if self.confined.take().is_none() {
            return Self::refuse(key, "it is not in quarantine", out);
        }
        self.free_since = now;
        let mut changes = Changes::new();
        self.alarms.clear(Condition::Quarantine, "", now, &mut changes);
        self.alarms.clear(Condition::SafeState, "", now, &mut changes);
        self.on_alarms(plan, &changes, now, out);
        out.push(Effect::Unconfine);
        match (&self.path, plan.native()) {
            (None, _) => {
                let reason = Reason::Text("no path to the device is up".to_owned());
                self.enter(TwinState::Down, reason, now);
            }
            (Some(_), native) => {
                self.session.begin(plan);
                let next = if native {
                    (TwinState::Enrolled, Reason::AwaitingSession)
                } else {
                    (TwinState::Bound, Reason::AwaitingValues)
                };
                self.enter(next.0, next.1, now);
            }
        }
        self.save_at = plan.saves.then_some(now);
        out.push(Effect::Tell(TwinEvent::Outcome { key, outcome: Outcome::Done }));
        self.observe_now(plan, now, out);
    }

    /// What a device said while it was confined: shown unless newer is known and, where delivery is
    /// durable, recorded with its mark; nothing else comes of it.
    pub(super) fn take_marked(
        &mut self,
        plan: &TwinPlan,
        held: &Held,
        now: Timestamp,
        out: &mut Effects,
    ) {
        let frame = &held.frame;
        let mark = Quality::Bad(Flaw::Quarantined);
        let admission = self.session.note(frame, self.manner(held, now));
        for sample in &frame.samples {
            let point = self.points.get_mut(sample.point.index());
            let Some(point) = point.filter(|p| p.received <= frame.received) else { continue };
            point.value = Some(sample.value).filter(|v| v.is_finite()).or(point.value);
            point.quality = mark;
            point.received = frame.received.min(now);
            point.source_time = sample.source_time.unwrap_or(point.received);
        }
        if plan.durable() {
            let mut telemetry = Telemetry::of(frame, held.receipt);
            match admission {
                Admission::Duplicate => telemetry.duplicate = true,
                Admission::Fresh { missing } => telemetry.missing = missing,
                Admission::Late | Admission::Unauthenticated => {}
            }
            if !telemetry.duplicate {
                telemetry.recorded = self.session.recorded();
                telemetry.record(plan, held);
            }
            for sample in &mut telemetry.samples {
                // A digest is of the device's own word on the quality, which the mark replaces.
                sample.origin = sample.origin.filter(|_| sample.quality == Quality::Good);
                sample.quality = mark;
            }
            self.tell_telemetry(telemetry, out);
        }
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }
}

/// What brings the device to its declared safe state.
pub(super) fn safe_state(plan: &TwinPlan) -> SmallVec<[(PointIx, f64); 2]> {
    let writable = |spec: &PointSpec| spec.safe.filter(|_| spec.access == Access::ReadWrite);
    let points = plan.device.kind.points.iter().enumerate();
    points.filter_map(|(i, spec)| Some((PointIx(i as u16), writable(spec)?))).collect()
}
