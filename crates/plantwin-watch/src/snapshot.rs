//! A bank as it is stored and moved between processes.
//!
//! Alarms and points go by name, so that a snapshot survives an edited type: names that the type
//! no longer has are dropped. An alarm whose limit changed keeps its state until the next value
//! judges it anew. Absent: encoding (any serde format) and the place it is kept.

use plantwin_model::{AlarmState, AlarmView, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{AlarmBank, BandSnapshot, ResidualBand, Rule, bank::Live};

/// One alarm that was not normal, or whose delay was running.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AlarmSnapshot {
    /// Name within the type.
    pub name: String,
    /// State; `None` is normal with a running on-delay.
    pub state: Option<AlarmState>,
    /// When it entered that state.
    pub since: Timestamp,
    /// When it was raised last.
    pub raised: Timestamp,
    /// End of the running delay.
    pub due: Option<Timestamp>,
    /// The value or residual that raised it, in the point's unit.
    pub value: f64,
    /// What the reporter of a condition said.
    pub note: Option<String>,
}

/// All that an [`AlarmBank`] knows beyond its plan.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct BankSnapshot {
    /// Alarms that were not normal.
    pub alarms: Vec<AlarmSnapshot>,
    /// Bands by point name.
    pub bands: Vec<(String, BandSnapshot)>,
}

impl AlarmBank {
    /// The bank as it may be stored.
    pub fn snapshot(&self) -> BankSnapshot {
        let alarms = self.live.iter().filter_map(|live| {
            Some(AlarmSnapshot {
                name: self.plan().get(live.alarm)?.name.to_string(),
                state: live.state,
                since: live.since,
                raised: live.raised,
                due: live.due,
                value: live.value,
                note: live.note.as_deref().map(str::to_owned),
            })
        });
        let names = self.plan().residuals().map(|(_, _, name, _)| name.to_string());
        let bands = names.zip(self.bands.iter().map(ResidualBand::snapshot));
        BankSnapshot { alarms: alarms.collect(), bands: bands.collect() }
    }

    /// Takes up what a bank, of this type or an older version of it, once was; all that this
    /// bank knew is replaced. Unknown names, and alarms named twice, are dropped. A clock that was
    /// ahead when the snapshot was made makes no delay longer than it is.
    pub fn restore(&mut self, snapshot: BankSnapshot, now: Timestamp) {
        let plan = self.plan().clone();
        self.live.clear();
        for alarm in snapshot.alarms {
            let Some(ix) = plan.find(&alarm.name) else { continue };
            let idle = alarm.state.is_none() && alarm.due.is_none();
            if idle || self.live.iter().any(|l| l.alarm == ix) {
                continue;
            }
            let raised =
                matches!(alarm.state, Some(AlarmState::Unacknowledged | AlarmState::Acknowledged));
            let delay = plan.delay(ix, raised);
            self.live.push(Live {
                alarm: ix,
                state: alarm.state,
                since: alarm.since,
                raised: alarm.raised,
                due: alarm.due.map(|due| due.min(now.plus(delay))),
                value: alarm.value,
                note: alarm.note.map(Into::into),
            });
        }
        let mut stored = snapshot.bands;
        for (band, (_, _, name, band_plan)) in self.bands.iter_mut().zip(plan.residuals()) {
            *band = match stored.iter().position(|(n, _)| **n == **name) {
                Some(i) => ResidualBand::restore(band_plan, stored.swap_remove(i).1),
                None => ResidualBand::new(),
            };
        }
        self.end_orphans();
    }

    /// Takes up an alarm that was told and that this bank does not know, or knows as it was
    /// before: what a bank saved may be older than what it told. Its text stays as it was told
    /// until the alarm changes. Returns whether anything was taken up; alarms of other devices and
    /// names that the type does not have are not. Times after `now` are of before the clock was
    /// set back, and so are older than any other.
    pub fn adopt(&mut self, told: &AlarmView, now: Timestamp) -> bool {
        let name = told.id.as_str().strip_prefix(self.device().as_str());
        let name = name.and_then(|name| name.strip_prefix('.'));
        let Some(alarm) = name.and_then(|name| self.plan().find(name)) else { return false };
        let known = self.live.iter_mut().find(|l| l.alarm == alarm);
        let order = |since: Timestamp| (since <= now, since);
        let newer = |l: &Live| l.state.is_some() && order(l.since) >= order(told.since);
        if known.as_deref().is_some_and(newer) {
            return false;
        }
        let live = Live {
            alarm,
            state: Some(told.state),
            since: told.since,
            raised: told.raised,
            due: None,
            value: known.as_ref().map_or(0.0, |l| l.value),
            note: Some(told.text.as_str().into()),
        };
        match known {
            Some(known) => *known = live,
            None => self.live.push(live),
        }
        self.end_orphans();
        true
    }

    /// Ends residual alarms whose band is learnt afresh: nothing would ever clear them.
    fn end_orphans(&mut self) {
        let plan = self.plan().clone();
        let bands = &self.bands;
        self.live.retain_mut(|live| {
            let place = plan.band_place(live.alarm);
            let orphan = live.is_active()
                && plan.get(live.alarm).is_some_and(|d| matches!(d.rule, Rule::Residual { .. }))
                && !bands.get(place).is_some_and(ResidualBand::is_outside);
            if orphan && live.state == Some(AlarmState::Unacknowledged) {
                live.state = Some(AlarmState::ReturnedUnacknowledged);
                return true;
            }
            !orphan
        });
    }
}
