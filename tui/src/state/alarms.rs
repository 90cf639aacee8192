//! What is counted and looked up about alarms; made anew only when the list changed.
//!
//! Absent: the life of an alarm, which the runtime decides.

use std::{cmp::Reverse, collections::HashMap};

use plantwin_model::{AlarmState, AlarmView, DeviceId, Priority};

use super::index::TwinIndex;

/// Rank of an alarm; the greatest is the worst. What returned to normal ranks below what did
/// not, then priority counts, then whether somebody saw it.
type Rank = (bool, Reverse<Priority>, bool);

fn rank((priority, state): Worst) -> Rank {
    (
        state != AlarmState::ReturnedUnacknowledged,
        Reverse(priority),
        state != AlarmState::Acknowledged,
    )
}

/// Priority and state of the worst alarm of something.
pub(crate) type Worst = (Priority, AlarmState);

/// Counts for the alarm bar.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct AlarmCounts {
    /// By priority, P1 first; all states.
    pub(crate) by_priority: [u32; 4],
    /// The worst state among those of each priority, for its mark.
    pub(crate) worst: [Option<AlarmState>; 4],
    /// Not acknowledged, returned ones included.
    pub(crate) unacknowledged: u32,
}

impl AlarmCounts {
    /// Counts `alarms`.
    pub(crate) fn of(alarms: &[AlarmView]) -> Self {
        let mut counts = Self::default();
        for alarm in alarms {
            let slot = alarm.priority as usize;
            counts.by_priority[slot] += 1;
            let worst = &mut counts.worst[slot];
            if worst.is_none_or(|w| rank((alarm.priority, w)) < rank((alarm.priority, alarm.state)))
            {
                *worst = Some(alarm.state);
            }
            counts.unacknowledged += u32::from(alarm.state != AlarmState::Acknowledged);
        }
        counts
    }
}

/// The worst alarm of every twin and zone that has one.
#[derive(Debug, Default)]
pub(crate) struct AlarmIndex {
    twins: HashMap<DeviceId, Worst>,
    zones: HashMap<usize, Worst>,
}

impl AlarmIndex {
    /// Indexes `alarms`.
    pub(crate) fn of(alarms: &[AlarmView], index: &TwinIndex) -> Self {
        let mut all = Self::default();
        for alarm in alarms {
            let this = (alarm.priority, alarm.state);
            let worse = |w: &mut Worst| {
                if rank(*w) < rank(this) {
                    *w = this;
                }
            };
            all.twins.entry(alarm.twin.clone()).and_modify(worse).or_insert(this);
            if let Some(zone) = index.find(&alarm.twin).and_then(|ix| index.zone(ix)) {
                all.zones.entry(zone).and_modify(worse).or_insert(this);
            }
        }
        all
    }

    /// Worst alarm of a twin.
    pub(crate) fn twin(&self, id: &DeviceId) -> Option<Worst> {
        self.twins.get(id).copied()
    }

    /// Worst alarm of the zone at a place.
    pub(crate) fn zone(&self, zone: usize) -> Option<Worst> {
        self.zones.get(&zone).copied()
    }
}
