//! The alarms of one twin.
//!
//! | from | cause | to | change |
//! |---|---|---|---|
//! | normal | condition (after its on-delay) | unacknowledged | `Raised` |
//! | unacknowledged | acknowledge | acknowledged | `Acknowledged` |
//! | unacknowledged | condition gone (after its off-delay) | returned | `Returned` |
//! | acknowledged | condition gone (after its off-delay) | normal | `Cleared` |
//! | returned | acknowledge | normal | `Cleared` |
//! | returned | condition again (after its on-delay) | unacknowledged | `Raised` |
//!
//! Only alarms that are not normal, or whose delay is running, take memory. Values of bad
//! quality, or not finite, never raise or clear a threshold: they leave a running on-delay alone
//! (doubt must not hide an alarm that a usable value announced) and stop a running off-delay
//! (doubt must not clear one either). Values of uncertain quality count, because a level beyond
//! its range is what a high alarm is for.
//!
//! Absent: shelving and suppression; who may acknowledge (the router decides).

use std::sync::Arc;

use plantwin_model::{AlarmId, AlarmState, AlarmView, DeviceId, PointIx, Quality, Timestamp};
use smallvec::SmallVec;

use crate::{
    AlarmIx, AlarmPlan, BandChange, Condition, ResidualBand, Rule, Threshold, WatchError, text,
};

/// Where changes are put; more than four at once are rare.
pub type Changes = SmallVec<[AlarmChange; 4]>;

/// What happened to an alarm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AlarmChange {
    /// It is active and wants to be acknowledged.
    Raised(AlarmIx),
    /// It is normal again.
    Cleared(AlarmIx),
    /// It is active and acknowledged.
    Acknowledged(AlarmIx),
    /// Its condition is gone but nobody acknowledged it.
    Returned(AlarmIx),
}

impl AlarmChange {
    /// The alarm it happened to.
    pub const fn alarm(self) -> AlarmIx {
        match self {
            Self::Raised(ix) | Self::Cleared(ix) | Self::Acknowledged(ix) | Self::Returned(ix) => {
                ix
            }
        }
    }
}

/// An alarm that is not normal, or whose on-delay runs.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Live {
    pub(crate) alarm: AlarmIx,
    /// `None`: still normal.
    pub(crate) state: Option<AlarmState>,
    /// When it entered `state`.
    pub(crate) since: Timestamp,
    /// When it was raised last.
    pub(crate) raised: Timestamp,
    /// End of the running delay.
    pub(crate) due: Option<Timestamp>,
    /// The value or residual that raised it, or is about to.
    pub(crate) value: f64,
    /// What the reporter of a condition said.
    pub(crate) note: Option<Box<str>>,
}

/// The alarms of one twin.
#[derive(Clone, PartialEq, Debug)]
pub struct AlarmBank {
    plan: Arc<AlarmPlan>,
    device: DeviceId,
    pub(crate) live: Vec<Live>,
    /// One per residual alarm, in the order of the plan.
    pub(crate) bands: Box<[ResidualBand]>,
}

impl AlarmBank {
    /// A bank with every alarm normal and every band to be learnt.
    pub fn new(plan: Arc<AlarmPlan>, device: DeviceId) -> Self {
        let bands = plan.residuals().map(|_| ResidualBand::new()).collect();
        Self { plan, device, live: Vec::new(), bands }
    }

    /// The definitions.
    pub fn plan(&self) -> &Arc<AlarmPlan> {
        &self.plan
    }

    /// Whose alarms they are.
    pub(crate) const fn device(&self) -> &DeviceId {
        &self.device
    }

    /// Takes a measured value, in the point's unit. Delays that ended before `now` fire first;
    /// a value that arrives at the very end of a delay still counts against it.
    pub fn on_value(
        &mut self,
        point: PointIx,
        value: f64,
        quality: Quality,
        now: Timestamp,
        out: &mut Changes,
    ) {
        let plan = Arc::clone(&self.plan);
        let usable = value.is_finite() && !quality.is_bad();
        for (alarm, threshold) in plan.thresholds(point) {
            if usable {
                self.expire(alarm, Timestamp(now.0.saturating_sub(1)), out);
                self.judge(alarm, threshold, value, now);
                self.expire(alarm, now, out);
            } else if let Some(live) = self.find(alarm)
                && live.is_active()
            {
                live.due = None;
            }
        }
    }

    /// Takes a residual (measured minus predicted) of a modelled point, in the point's unit; of
    /// usable values only. Points without a model are ignored.
    pub fn on_residual(
        &mut self,
        point: PointIx,
        residual: f64,
        now: Timestamp,
        out: &mut Changes,
    ) {
        let plan = Arc::clone(&self.plan);
        let Some((alarm, _, _, band_plan)) = plan.residuals().find(|(_, p, ..)| *p == point) else {
            return;
        };
        let Some(band) = self.bands.get_mut(plan.band_place(alarm)) else { return };
        match band.push(band_plan, residual) {
            BandChange::None => {}
            BandChange::Left => self.activate(alarm, residual, None, now, out),
            BandChange::Back => self.deactivate(alarm, now, out),
        }
    }

    /// Reports a condition. `text` is a lowercase fragment for people; while the alarm is active
    /// it replaces the former text without any change.
    pub fn raise(&mut self, condition: Condition, text: &str, now: Timestamp, out: &mut Changes) {
        let alarm = AlarmPlan::condition(condition);
        match self.find(alarm) {
            Some(live) if live.is_active() => {
                if live.note.as_deref() != Some(text) {
                    live.note = Some(text.into());
                }
            }
            _ => self.activate(alarm, 0.0, Some(text.into()), now, out),
        }
    }

    /// Reports that a condition is gone. `text` replaces the alarm's text while it waits to be
    /// acknowledged; an empty one keeps it.
    pub fn clear(&mut self, condition: Condition, text: &str, now: Timestamp, out: &mut Changes) {
        let alarm = AlarmPlan::condition(condition);
        if let Some(live) = self.find(alarm).filter(|live| live.is_active()) {
            if !text.is_empty() {
                live.note = Some(text.into());
            }
            self.deactivate(alarm, now, out);
        }
    }

    /// Lets delays end that end at `now` or before.
    pub fn tick(&mut self, now: Timestamp, out: &mut Changes) {
        let due: SmallVec<[AlarmIx; 8]> =
            self.live.iter().filter(|l| l.due.is_some_and(|d| d <= now)).map(|l| l.alarm).collect();
        for alarm in due {
            self.expire(alarm, now, out);
        }
    }

    /// When the next running delay ends, if one runs: call [`Self::tick`] then.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.live.iter().filter_map(|l| l.due).min()
    }

    /// Acknowledges the alarm `name` (its name within the type). Once more does no harm.
    pub fn acknowledge(
        &mut self,
        name: &str,
        now: Timestamp,
        out: &mut Changes,
    ) -> Result<(), WatchError> {
        let unknown = || WatchError::UnknownAlarm(name.to_owned());
        let alarm = self.plan.find(name).ok_or_else(unknown)?;
        let normal = || WatchError::Normal(name.to_owned());
        let live = self.find(alarm).ok_or_else(normal)?;
        match live.state.ok_or_else(normal)? {
            AlarmState::Acknowledged => {}
            AlarmState::Unacknowledged => {
                (live.state, live.since) = (Some(AlarmState::Acknowledged), now);
                out.push(AlarmChange::Acknowledged(alarm));
            }
            AlarmState::ReturnedUnacknowledged => {
                live.state = None;
                out.push(AlarmChange::Cleared(alarm));
                self.forget_idle(alarm);
            }
        }
        Ok(())
    }

    /// State of an alarm; `None` is normal.
    pub fn state(&self, alarm: AlarmIx) -> Option<AlarmState> {
        self.live.iter().find(|l| l.alarm == alarm)?.state
    }

    /// The alarm as shown, unless it is normal.
    pub fn view(&self, alarm: AlarmIx) -> Option<AlarmView> {
        self.show(self.live.iter().find(|l| l.alarm == alarm)?)
    }

    /// All alarms that are not normal, in the order in which they began.
    pub fn active(&self) -> impl Iterator<Item = AlarmView> {
        self.live.iter().filter_map(|live| self.show(live))
    }

    /// The half-width of a modelled point's residual band, in its unit, once learnt.
    pub fn half_width(&self, point: PointIx) -> Option<f64> {
        let (alarm, ..) = self.plan.residuals().find(|(_, p, ..)| *p == point)?;
        self.bands.get(self.plan.band_place(alarm))?.half_width()
    }

    fn show(&self, live: &Live) -> Option<AlarmView> {
        let def = self.plan.get(live.alarm)?;
        let band = matches!(def.rule, Rule::Residual { .. })
            .then(|| self.bands.get(self.plan.band_place(live.alarm))?.half_width())
            .flatten();
        Some(AlarmView {
            id: AlarmId::new(format!("{}.{}", self.device, def.name)),
            twin: self.device.clone(),
            priority: def.priority,
            state: live.state?,
            source: def.source,
            since: live.since,
            raised: live.raised,
            text: text::describe(def, live.value, band, live.note.as_deref()),
            response: def.response.to_string(),
        })
    }

    fn find(&mut self, alarm: AlarmIx) -> Option<&mut Live> {
        self.live.iter_mut().find(|l| l.alarm == alarm)
    }

    /// Starts and stops the delays of a threshold; without a delay they end at `now`.
    fn judge(&mut self, alarm: AlarmIx, threshold: &Threshold, value: f64, now: Timestamp) {
        match self.find(alarm) {
            Some(live) if live.is_active() => {
                live.due = threshold
                    .back(value)
                    .then(|| live.due.unwrap_or(now.plus(threshold.off_delay)));
            }
            Some(live) if threshold.beyond(value) => {
                live.due.get_or_insert(now.plus(threshold.on_delay));
                live.value = value;
            }
            Some(live) => {
                live.due = None;
                self.forget_idle(alarm);
            }
            None if threshold.beyond(value) => self.live.push(Live {
                due: Some(now.plus(threshold.on_delay)),
                ..Live::new(alarm, value, now)
            }),
            None => {}
        }
    }

    /// Fires the delay of `alarm` if it ends at `now` or before.
    fn expire(&mut self, alarm: AlarmIx, now: Timestamp, out: &mut Changes) {
        let Some(live) = self.find(alarm) else { return };
        let Some(due) = live.due.filter(|due| *due <= now) else { return };
        live.due = None;
        if live.is_active() {
            self.deactivate(alarm, due, out);
        } else {
            let value = live.value;
            self.activate(alarm, value, None, due, out);
        }
    }

    fn activate(
        &mut self,
        alarm: AlarmIx,
        value: f64,
        note: Option<Box<str>>,
        now: Timestamp,
        out: &mut Changes,
    ) {
        let raised =
            Live { state: Some(AlarmState::Unacknowledged), note, ..Live::new(alarm, value, now) };
        match self.find(alarm) {
            Some(live) if live.is_active() => return,
            Some(live) => *live = raised,
            None => self.live.push(raised),
        }
        out.push(AlarmChange::Raised(alarm));
    }

    fn deactivate(&mut self, alarm: AlarmIx, now: Timestamp, out: &mut Changes) {
        let Some(live) = self.find(alarm) else { return };
        match live.state {
            Some(AlarmState::Unacknowledged) => {
                (live.state, live.since) = (Some(AlarmState::ReturnedUnacknowledged), now);
                out.push(AlarmChange::Returned(alarm));
            }
            Some(AlarmState::Acknowledged) => {
                live.state = None;
                out.push(AlarmChange::Cleared(alarm));
                self.forget_idle(alarm);
            }
            Some(AlarmState::ReturnedUnacknowledged) | None => {}
        }
    }

    /// Frees what a normal alarm without a running delay holds.
    fn forget_idle(&mut self, alarm: AlarmIx) {
        self.live.retain(|l| l.alarm != alarm || l.state.is_some() || l.due.is_some());
        if self.live.is_empty() {
            self.live = Vec::new();
        }
    }
}

impl Live {
    fn new(alarm: AlarmIx, value: f64, now: Timestamp) -> Self {
        Self { alarm, state: None, since: now, raised: now, due: None, value, note: None }
    }

    pub(crate) const fn is_active(&self) -> bool {
        matches!(self.state, Some(AlarmState::Unacknowledged | AlarmState::Acknowledged))
    }
}
