//! The parts of the view that tell of upkeep: the disk, the spool, letters set aside.

use std::{collections::BTreeSet, time::Duration};

use plantwin_model::{
    AlarmId, AlarmSource, AlarmState, AlarmView, DeviceId, DeviceIx, Flaw, NorthboundView,
    PointSpec, Priority, Quality, SetAsideView, SpoolView, Timestamp, TwinView,
};
use plantwin_seal::Lane;
use plantwin_twin::SetAside;

use super::book::Book;

/// The alarm of a twin that was given up: no twin keeps it.
pub(crate) const GAVE_UP: &str = "gave_up";
/// A twin that waits this long for its restart does not show what it knew as current: while it
/// is away nobody ages its values.
const LONG: Duration = Duration::from_secs(1);

/// Values of a twin that cannot look after them are of the past.
pub(super) fn forget_currency(twin: &mut TwinView) {
    for point in twin.points.iter_mut().filter(|p| p.value.is_some() && !p.quality.is_bad()) {
        point.quality = Quality::Bad(Flaw::Stale);
    }
}

impl Book {
    /// The points of a twin's type.
    pub(crate) fn points_of(&self, ix: DeviceIx) -> &[PointSpec] {
        self.spec.devices.get(ix.index()).map_or(&[], |device| &device.kind.points)
    }

    /// The plant as a whole has a trouble of this name, or (`None`) not any more.
    pub(crate) fn plant_alarm(
        &mut self,
        name: &str,
        trouble: Option<&str>,
        response: &str,
        now: Timestamp,
    ) {
        let plant = DeviceId::from(self.spec.name.as_str());
        self.own_alarm(&plant, name, AlarmSource::System, trouble, response, now);
    }

    /// The store was damaged and is mended: an alarm whose cause is over and that is to be seen.
    pub(crate) fn damage(&mut self, findings: &[String], now: Timestamp) {
        let response = "look at what is missing; the damaged files were set aside";
        self.plant_alarm("store_damage", Some(&findings.join("; ")), response, now);
        self.plant_alarm("store_damage", None, response, now);
    }

    /// A letter was dropped: an alarm whose cause is over and that is to be seen.
    pub(crate) fn letter_dropped(&mut self, text: &str, now: Timestamp) {
        let response = "find the cause in the log; what the letter said is not in the view";
        self.plant_alarm("letter_dropped", Some(text), response, now);
        self.plant_alarm("letter_dropped", None, response, now);
    }

    /// Raises an alarm for whoever cannot speak, or (`trouble` is `None`) ends its cause. One
    /// that nobody acknowledged stays until somebody does.
    pub(super) fn own_alarm(
        &mut self,
        whose: &DeviceId,
        name: &str,
        source: AlarmSource,
        trouble: Option<&str>,
        response: &str,
        now: Timestamp,
    ) {
        use AlarmState::{Acknowledged, ReturnedUnacknowledged, Unacknowledged};
        let id = AlarmId::new(format!("{whose}.{name}"));
        match (trouble, self.own.get_mut(&id)) {
            (None, None) => return,
            (None, Some(alarm)) => match alarm.state {
                Unacknowledged => {
                    alarm.state = ReturnedUnacknowledged;
                    alarm.since = now;
                }
                Acknowledged => {
                    self.own.remove(&id);
                }
                ReturnedUnacknowledged => return,
            },
            (Some(text), Some(alarm)) => {
                if alarm.state != ReturnedUnacknowledged && alarm.text == text {
                    return;
                }
                if alarm.state == ReturnedUnacknowledged {
                    (alarm.state, alarm.since, alarm.raised) = (Unacknowledged, now, now);
                }
                text.clone_into(&mut alarm.text);
            }
            (Some(text), None) => {
                let alarm = AlarmView {
                    id: id.clone(),
                    twin: whose.clone(),
                    priority: Priority::High,
                    state: Unacknowledged,
                    source,
                    since: now,
                    raised: now,
                    text: text.to_owned(),
                    response: response.to_owned(),
                };
                self.own.insert(id, alarm);
            }
        }
        self.own_is_changed();
    }

    /// They are put on record before they are shown.
    const fn own_is_changed(&mut self) {
        self.own_changed = true;
    }

    /// Own alarms as earlier runs left them. The plant finds out anew whether their causes are
    /// still there; a twin that was given up has been started again.
    pub(crate) fn restore_own(&mut self, alarms: Vec<AlarmView>, now: Timestamp) {
        for mut alarm in alarms {
            if alarm.source == AlarmSource::Supervision {
                match alarm.state {
                    AlarmState::Acknowledged => continue,
                    AlarmState::Unacknowledged => {
                        alarm.state = AlarmState::ReturnedUnacknowledged;
                        alarm.since = now;
                    }
                    AlarmState::ReturnedUnacknowledged => {}
                }
            }
            self.own.insert(alarm.id.clone(), alarm);
            self.own_is_changed();
        }
        self.own_shown = self.own.values().cloned().collect();
        self.alarms_changed = true;
        self.changed = true;
    }

    /// Own alarms under the plant's name, if they changed since this was last asked.
    pub(crate) fn changed_own(&mut self) -> Option<(DeviceId, Vec<AlarmView>)> {
        let changed = std::mem::take(&mut self.own_changed);
        let plant = || DeviceId::from(self.spec.name.as_str());
        changed.then(|| (plant(), self.own.values().cloned().collect()))
    }

    /// An operator acknowledged one of the own alarms.
    pub(crate) fn acknowledge_own(&mut self, id: &AlarmId, now: Timestamp) {
        let Some(alarm) = self.own.get_mut(id) else { return };
        match alarm.state {
            AlarmState::Unacknowledged => {
                alarm.state = AlarmState::Acknowledged;
                alarm.since = now;
            }
            AlarmState::ReturnedUnacknowledged => {
                self.own.remove(id);
            }
            AlarmState::Acknowledged => return,
        }
        self.own_is_changed();
    }

    /// Alarms that are shown and that nobody has acknowledged.
    pub(crate) fn unacknowledged(&self) -> BTreeSet<&AlarmId> {
        let alarms = self.view.alarms.iter();
        alarms.filter(|alarm| alarm.state != AlarmState::Acknowledged).map(|a| &a.id).collect()
    }

    /// The spool as a whole, and the queues that changed.
    pub(crate) fn spool(&mut self, total: SpoolView, queues: Vec<(SpoolView, DeviceId)>) {
        if self.view.spool.is_none() {
            return;
        }
        self.changed |= self.view.spool != Some(total);
        self.view.spool = Some(total);
        for (spool, device) in queues {
            let Some(&ix) = self.durable.get(&device) else { continue };
            let Some(old) = self.view.twins.get(ix.index()) else { continue };
            let mut twin = TwinView::clone(old);
            twin.spool = Some(spool);
            twin.revision = self.view.revision + 1;
            self.view.twins.set(ix.index(), twin.into());
            self.changed = true;
        }
    }

    /// Where telemetry goes.
    pub(crate) fn northbound(&mut self, northbound: NorthboundView) {
        if self.view.northbound.as_deref() != Some(&northbound) {
            self.view.northbound = Some(northbound.into());
            self.changed = true;
        }
    }

    /// What a twin's last panic said, for the letter that caused it.
    pub(crate) fn crashed(&mut self, ix: DeviceIx, panic: String, wait: Duration) {
        if wait >= LONG
            && let Some(old) = self.view.twins.get(ix.index())
        {
            let mut twin = TwinView::clone(old);
            forget_currency(&mut twin);
            twin.revision = self.view.revision + 1;
            self.view.twins.set(ix.index(), twin.into());
            self.changed = true;
            self.away.entry(ix).or_default();
        }
        let letters = self.letters.iter_mut().filter(|l| l.0.0 == ix && l.1.panic.is_empty());
        for (_, letter) in letters {
            letter.panic.clone_from(&panic);
            self.letters_changed = true;
            self.changed = true;
        }
        self.panics.insert(ix, panic);
    }

    /// A letter lies aside.
    pub(crate) fn set_aside(&mut self, ix: DeviceIx, letter: &SetAside) {
        let Some(device) = self.spec.devices.get(ix.index()) else { return };
        let lane = match letter.lane {
            Lane::Alarm => "alarm",
            Lane::Command => "command",
            Lane::Durable => "durable",
            Lane::Latest => "latest",
        };
        let view = SetAsideView {
            id: letter.id,
            twin: device.id.clone(),
            since: letter.since,
            lane: lane.to_owned(),
            text: letter.text.clone(),
            panic: self.panics.get(&ix).cloned().unwrap_or_default(),
        };
        self.letters.insert((ix, letter.id), view);
        self.letters_changed = true;
        self.changed = true;
    }

    /// A letter lies aside no more.
    pub(crate) fn released(&mut self, ix: DeviceIx, id: u64) {
        let known = self.letters.remove(&(ix, id)).is_some();
        self.letters_changed |= known;
        self.changed |= known;
    }
}
