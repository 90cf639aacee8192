//! Values: opened by the session, compared with the model, judged by the alarms, paid for.

use std::time::Duration;

use plantwin_adapter::{Sample, TrafficSnapshot};
use plantwin_energy::{Traffic, Transport};
use plantwin_model::{Access, Flaw, PointIx, Quality, Timestamp, TwinState};
use plantwin_watch::{Changes, Condition};

use super::{Effect, Effects, Held, PointState, Reason, TwinCore};
use crate::{
    FlowMail, FrameMail, LinkUpMail, Reading, Session, Telemetry, TwinPlan,
    session::{Admission, Manner, is_past},
};

/// A written setpoint that is not reported back after this time has not arrived.
const CONVERGE_WITHIN: Duration = Duration::from_secs(3);
/// Longest gap that the model bridges; after a longer one it starts from the measurement.
const MAX_BRIDGE: Duration = Duration::from_mins(1);

impl TwinCore {
    pub(super) fn on_frame(
        &mut self,
        plan: &TwinPlan,
        mail: FrameMail,
        now: Timestamp,
        out: &mut Effects,
    ) {
        self.pay(plan, &mail.traffic, now);
        // Values that were received since the last path broke come over another one. The word of
        // it lies aside, or was dropped there.
        let since_then = self.since < mail.frame.received && mail.frame.received <= now;
        if self.path.is_none() && !mail.frame.is_past() && since_then {
            let up = LinkUpMail {
                rank: 0,
                endpoint: "not told".to_owned(),
                switches: 0,
                datagrams: self.datagrams,
                patience: self.patience,
            };
            self.on_link_up(plan, up, now, out);
        }
        let FrameMail { frame, receipt, origin, replaced, .. } = mail;
        self.take_frame(plan, &Held { frame, receipt, origin, replaced }, now, out);
    }

    pub(super) fn take_frame(
        &mut self,
        plan: &TwinPlan,
        held: &Held,
        now: Timestamp,
        out: &mut Effects,
    ) {
        // The word that it is free may have overtaken what was said before.
        if self.confined.is_some() || held.frame.received < self.free_since {
            return self.take_marked(plan, held, now, out);
        }
        let frame = &held.frame;
        let past = frame.is_past();
        let mut telemetry = plan.durable().then(|| Telemetry::of(frame, held.receipt));
        let manner = self.manner(held, now);
        let admission = self.session.admit(frame, manner, now);
        if let Some(telemetry) = &mut telemetry {
            telemetry.recorded = self.session.recorded();
        }
        match admission {
            Admission::Fresh { missing } => {
                if let Some(telemetry) = &mut telemetry {
                    telemetry.missing = missing;
                }
            }
            Admission::Late => {
                if let Some(mut telemetry) = telemetry {
                    telemetry.record(plan, held);
                    self.tell_telemetry(telemetry, out);
                }
                return;
            }
            Admission::Duplicate => {
                if let Some(mut telemetry) = telemetry {
                    telemetry.duplicate = true;
                    telemetry.recorded = None;
                    self.tell_telemetry(telemetry, out);
                }
                return;
            }
            Admission::Unauthenticated => return self.hold(plan, held, out),
        }
        let mut changes = Changes::new();
        let mut not_finite = None;
        let mut seen_finite = false;
        // A store's word is not the device's, which may be dead.
        if !past {
            self.alarms.clear(Condition::CommLoss, "", now, &mut changes);
            let mut live = frame.samples.iter().filter(|s| !is_past(s.quality));
            let first_time = live.find_map(|s| s.source_time).unwrap_or(frame.received);
            self.advance_model(first_time.min(frame.received));
        }
        for (i, sample) in frame.samples.iter().enumerate() {
            let Some(spec) = plan.device.kind.points.get(sample.point.index()) else { continue };
            let opened = Session::open(sample, spec, frame.received);
            if let Some(telemetry) = &mut telemetry {
                telemetry.add(sample, &opened, held.origin.get(i).copied().flatten());
            }
            match opened {
                Ok(reading) if is_past(reading.quality()) => self.recall(sample, &reading, now),
                Ok(reading) => {
                    seen_finite = true;
                    self.compare(plan, &reading);
                    let point = &self.points[reading.point().index()];
                    let (value, quality) = (reading.value(), point.quality);
                    let residual = point.residual;
                    self.alarms.on_value(reading.point(), value, quality, now, &mut changes);
                    if let Some(residual) = residual {
                        self.alarms.on_residual(reading.point(), residual, now, &mut changes);
                    }
                }
                Err(refused) => {
                    if refused.flaw == Flaw::NotFinite {
                        not_finite = Some(refused.point);
                    }
                    let point = &mut self.points[refused.point.index()];
                    point.quality = Quality::Bad(refused.flaw);
                    point.received = frame.received;
                    point.confirmed = frame.received;
                }
            }
        }
        match not_finite {
            Some(point) => {
                let name = &plan.device.kind.points[point.index()].name;
                let text = format!("{name} is not a finite number; it was kept out of the model");
                self.alarms.raise(Condition::NotFinite, &text, now, &mut changes);
            }
            None if seen_finite => {
                self.alarms.clear(Condition::NotFinite, "", now, &mut changes);
            }
            None => {}
        }
        if past {
            self.judge_state(plan, now);
        } else {
            self.settle(plan, now);
        }
        self.on_alarms(plan, &changes, now, out);
        if let Some(telemetry) = telemetry {
            self.tell_telemetry(telemetry, out);
        }
        if !plan.outflows.is_empty() {
            out.push(Effect::Feed);
        }
        if plan.saves && self.save_at.is_none() {
            self.save_at = Some(now.plus(super::vital::SAVE_EVERY));
        }
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }

    /// How a frame came. A letter that lay aside bears values of its time, by which newer ones are
    /// not undone; one that is of a time to come lay aside in a run whose clock was ahead.
    pub(super) fn manner(&self, held: &Held, now: Timestamp) -> Manner {
        let frame = &held.frame;
        let newer = self.points.iter().any(|p| p.received > frame.received);
        if !frame.is_past() && (newer || frame.received > now) {
            Manner::Outdated
        } else if held.replaced {
            Manner::Replaced
        } else {
            Manner::Live
        }
    }

    /// Lets the model run up to `time`.
    fn advance_model(&mut self, time: Timestamp) {
        let Some(predictor) = &mut self.predictor else { return };
        match self.model_time {
            Some(before) if time > before => {
                let gap = time.since(before);
                if gap <= MAX_BRIDGE {
                    predictor.advance(gap);
                    self.model_time = Some(time);
                } else {
                    // Too long to foresee: the next measurement sets the state.
                    self.model_time = None;
                }
            }
            _ => {}
        }
    }

    /// Compares one reading with the model and lets the model learn from it.
    fn compare(&mut self, plan: &TwinPlan, reading: &Reading) {
        let ix = reading.point();
        let spec = &plan.device.kind.points[ix.index()];
        let point = &mut self.points[ix.index()];
        if let Some(predictor) = &mut self.predictor {
            let foreseen = predictor.point(ix).filter(|p| p.is_finite());
            if self.model_time.is_none() {
                // First contact, or after a long gap: nothing was foreseen.
                predictor.set_point(ix, reading.value());
                point.predicted = foreseen.map(|_| reading.value());
                point.residual = None;
            } else {
                let setpoint = spec.access == Access::ReadWrite;
                point.predicted = foreseen;
                point.residual = foreseen.filter(|_| !setpoint).map(|p| reading.value() - p);
                predictor.correct(ix, reading.value());
            }
        }
        point.value = Some(reading.value());
        point.quality = reading.quality();
        point.source_time = reading.source_time();
        point.received = reading.received();
        point.confirmed = reading.received();
        if let Some((desired, _)) = point.desired {
            let near = spec.resolution.max((spec.range.1 - spec.range.0).abs() * 1e-6);
            if (desired - reading.value()).abs() <= near {
                point.desired = None;
            }
        }
    }

    /// Takes a value of the past up unless as new a one is known. It is shown as stale, with its
    /// own time if it bears one; the model and the alarms learn nothing from it, and it confirms
    /// nothing.
    fn recall(&mut self, sample: &Sample, reading: &Reading, now: Timestamp) {
        let point = &mut self.points[reading.point().index()];
        let time = sample.source_time.filter(|&t| t <= reading.received().min(now));
        let known = match time {
            Some(time) if point.is_current() => time <= point.source_time,
            Some(time) => time < point.source_time,
            None => point.is_current(),
        };
        if known {
            return;
        }
        point.value = Some(reading.value());
        point.quality = reading.quality();
        point.source_time = time.unwrap_or(PointState::NO_TIME);
        point.received = reading.received().min(now);
        point.residual = None;
    }

    /// Marks the model's time and the twin's state after a frame.
    fn settle(&mut self, plan: &TwinPlan, now: Timestamp) {
        if self.model_time.is_none() && self.predictor.is_some() {
            self.model_time =
                self.points.iter().filter(|p| p.is_measured()).map(|p| p.source_time).max();
        }
        self.judge_state(plan, now);
    }

    /// Shadowed or out of sync, and why.
    pub(super) fn judge_state(&mut self, plan: &TwinPlan, now: Timestamp) {
        if self.path.is_none() || !self.session.is_open(now) || self.confined.is_some() {
            return;
        }
        let mut verdict = (TwinState::Shadowed, Reason::Current);
        self.silent_until = None;
        for (i, point) in self.points.iter().enumerate() {
            let ix = PointIx(i as u16);
            match point.quality {
                Quality::Bad(_) if point.is_awaited() => {
                    verdict = (TwinState::Bound, Reason::AwaitingValues);
                    break;
                }
                Quality::Bad(Flaw::Stale) if let Some(due) = self.verdict_due(plan, ix, now) => {
                    self.silent_until = Some(due);
                    verdict = (TwinState::Shadowed, Reason::Silent);
                }
                Quality::Bad(Flaw::Stale) | Quality::Uncertain(Flaw::Stale) => {
                    verdict = (TwinState::OutOfSync, Reason::Stale(ix));
                    break;
                }
                Quality::Bad(flaw) => {
                    verdict = (TwinState::OutOfSync, Reason::BadValue(ix, flaw));
                    break;
                }
                _ => {}
            }
            if point.desired.is_some_and(|(_, since)| now.since(since) > CONVERGE_WITHIN) {
                verdict = (TwinState::OutOfSync, Reason::Diverged(ix));
                break;
            }
        }
        if self.phase != verdict.0 || self.reason != verdict.1 {
            self.enter(verdict.0, verdict.1, now);
        }
    }

    /// Until when to wait with a word about a stale point, if there is anything to wait for.
    ///
    /// A device of which nothing at all came lately may be hung: its line finds out, and gives the
    /// path up with the reason. Until then the values are shown as stale, and the state stays:
    /// a hung device changes it once. If the line has not judged within half its time again, it
    /// is not to be waited for.
    fn verdict_due(&self, plan: &TwinPlan, ix: PointIx, now: Timestamp) -> Option<Timestamp> {
        let stale_after = plan.device.kind.points.get(ix.index())?.stale_after;
        let heard = self.points.iter().map(|p| p.confirmed).max()?;
        // Another path is given its own time.
        let due = heard.max(self.up_at).plus(self.patience + self.patience / 2);
        let silent = now >= heard.plus(stale_after);
        (self.phase == TwinState::Shadowed && silent && now < due).then_some(due)
    }

    pub(super) fn on_alive(&mut self, plan: &TwinPlan, now: Timestamp, out: &mut Effects) {
        if !self.session.is_open(now) {
            return;
        }
        let mut changes = Changes::new();
        self.alarms.clear(Condition::CommLoss, "", now, &mut changes);
        self.on_alarms(plan, &changes, now, out);
        for point in &mut self.points {
            if point.is_measured() && !point.is_awaited() {
                point.confirmed = now;
                if point.quality == Quality::Bad(Flaw::Stale) {
                    point.quality = Quality::Good;
                }
            }
        }
        self.judge_state(plan, now);
        self.dirty = true;
        self.observe_if_due(plan, now, out);
    }

    pub(super) fn on_flow(&mut self, plan: &TwinPlan, mail: FlowMail) {
        let (Some(slot), Some(&input)) = (
            self.inflows.get_mut(usize::from(mail.flow)),
            plan.inflows.get(usize::from(mail.flow)),
        ) else {
            return;
        };
        if !mail.value.is_finite() {
            return;
        }
        *slot = mail.value;
        let sum = self
            .inflows
            .iter()
            .zip(&plan.inflows)
            .filter(|(v, i)| **i == input && v.is_finite())
            .map(|(v, _)| v)
            .sum();
        if let Some(predictor) = &mut self.predictor {
            predictor.set_input(input, sum);
        }
    }

    /// Marks what has grown stale.
    pub(super) fn age(&mut self, plan: &TwinPlan, now: Timestamp) {
        let mut changed = false;
        for (point, spec) in self.points.iter_mut().zip(&plan.device.kind.points) {
            if point.is_current() && now >= point.confirmed.plus(spec.stale_after) {
                point.quality = Quality::Bad(Flaw::Stale);
                changed = true;
            }
        }
        if changed {
            self.dirty = true;
        }
        self.silent_until.take_if(|until| *until <= now);
        self.judge_state(plan, now);
    }

    /// When [`Self::age`] has something to do next.
    pub(super) fn next_age(&self, plan: &TwinPlan) -> Option<Timestamp> {
        let points = self.points.iter();
        points
            .zip(&plan.device.kind.points)
            .filter(|(p, _)| p.is_current())
            .map(|(p, spec)| p.confirmed.plus(spec.stale_after))
            .chain(self.silent_until)
            .min()
    }

    /// Takes what the device's talking and idling cost from its budget.
    pub(super) fn pay(&mut self, plan: &TwinPlan, traffic: &TrafficSnapshot, now: Timestamp) {
        let since = self.paid_until.replace(now).unwrap_or(now);
        self.ledger.idle(plan.profile, now.since(since));
        let transport = if self.datagrams { Transport::Udp } else { Transport::Tcp };
        // The link counts from plantwin's side; the device pays for its own.
        let traffic = Traffic {
            tx_bytes: traffic.up_bytes,
            tx_messages: traffic.up_packets,
            rx_bytes: traffic.down_bytes,
            rx_messages: traffic.down_packets,
        };
        self.ledger.spend(plan.profile, transport, traffic);
    }
}
