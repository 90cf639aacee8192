//! What is counted and looked up about twins, kept up to date by difference.
//!
//! A snapshot shares every unchanged twin with the one before, so a pass that compares pointers
//! finds the few that changed; nothing is read of the others. Absent: alarms (see `alarms`).

use std::{collections::HashMap, sync::Arc};

use plantwin_model::{DeviceId, Flaw, PlantView, Quality, TwinState, TwinView, ZoneId};

/// How far a twin can be trusted, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Current and plausible.
    Ok,
    /// Down, isolated, given up, or a value that is not to be used.
    Bad,
    /// Values older than they may be, or not what was asked for.
    Stale,
    /// Not in service: never seen, still joining, or retired.
    Idle,
    /// Current, but a value is to be used with reservation only.
    Doubtful,
}

/// Number of classes.
pub(crate) const CLASSES: usize = 5;

impl Class {
    /// Whether an operator should look.
    pub(crate) const fn is_abnormal(self) -> bool {
        matches!(self, Self::Bad | Self::Stale | Self::Doubtful)
    }

    /// The class of a twin.
    pub(crate) fn of(twin: &TwinView) -> Self {
        match twin.state {
            TwinState::Down | TwinState::Quarantined | TwinState::GaveUp => return Self::Bad,
            TwinState::Unbound | TwinState::Enrolled | TwinState::Retired => return Self::Idle,
            TwinState::Bound | TwinState::Shadowed | TwinState::OutOfSync => {}
        }
        let joining = twin.state == TwinState::Bound;
        let mut worst = match twin.state {
            TwinState::OutOfSync => Self::Stale,
            TwinState::Bound => Self::Idle,
            _ => Self::Ok,
        };
        for point in &twin.points {
            match point.quality {
                Quality::Bad(Flaw::NoValue) if joining => {}
                Quality::Bad(Flaw::Stale) | Quality::Uncertain(Flaw::Stale) => worst = Self::Stale,
                Quality::Bad(_) => return Self::Bad,
                Quality::Uncertain(_) if worst == Self::Ok => worst = Self::Doubtful,
                Quality::Good | Quality::Uncertain(_) => {}
            }
        }
        worst
    }
}

/// Number of states of a twin.
pub(crate) const STATES: usize = 9;

/// Counts of one zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct ZoneCount {
    /// Twins in all.
    pub(crate) twins: u32,
    /// Twins by state, see [`state_slot`].
    pub(crate) states: [u32; STATES],
    /// Twins by [`Class`], in its order.
    pub(crate) classes: [u32; CLASSES],
}

impl ZoneCount {
    /// Whether a twin of the zone is not to be trusted.
    pub(crate) fn is_abnormal(&self) -> bool {
        [Class::Bad, Class::Stale, Class::Doubtful].iter().any(|c| self.classes[*c as usize] > 0)
    }

    fn add(&mut self, e: Entry) {
        self.twins += 1;
        self.states[state_slot(e.state)] += 1;
        self.classes[e.class as usize] += 1;
    }

    fn remove(&mut self, e: Entry) {
        self.twins -= 1;
        self.states[state_slot(e.state)] -= 1;
        self.classes[e.class as usize] -= 1;
    }
}

/// Place of a state in [`ZoneCount::states`].
pub(crate) const fn state_slot(state: TwinState) -> usize {
    match state {
        TwinState::Unbound => 0,
        TwinState::Enrolled => 1,
        TwinState::Bound => 2,
        TwinState::Shadowed => 3,
        TwinState::OutOfSync => 4,
        TwinState::Down => 5,
        TwinState::Quarantined => 6,
        TwinState::GaveUp => 7,
        TwinState::Retired => 8,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    zone: u16,
    state: TwinState,
    class: Class,
}

/// Counts and places of all twins.
#[derive(Debug, Default)]
pub(crate) struct TwinIndex {
    entries: Vec<Entry>,
    by_id: HashMap<DeviceId, u32>,
    zone_ix: HashMap<ZoneId, u16>,
    /// One more than there are zones: the last counts twins of zones that the view does not list.
    zones: Vec<ZoneCount>,
}

impl TwinIndex {
    /// Follows the step from `old` to `new`; `true` if twins came, went, moved or changed their
    /// zone or type, so that whatever was derived from the set must be made anew.
    pub(crate) fn sync(&mut self, old: &PlantView, new: &PlantView) -> bool {
        let same_zones = Arc::ptr_eq(&old.zones, &new.zones) || old.zones == new.zones;
        if !same_zones || self.zones.is_empty() || self.entries.len() != new.twins.len() {
            self.rebuild(new);
            return true;
        }
        for (ix, (was, is)) in old.twins.iter().zip(new.twins.iter()).enumerate() {
            if Arc::ptr_eq(was, is) {
                continue;
            }
            if was.id != is.id || was.zone != is.zone || was.kind != is.kind {
                self.rebuild(new);
                return true;
            }
            let before = self.entries[ix];
            let after = Entry { state: is.state, class: Class::of(is), ..before };
            if before != after {
                self.zones[before.zone as usize].remove(before);
                self.zones[after.zone as usize].add(after);
                self.entries[ix] = after;
            }
        }
        false
    }

    fn rebuild(&mut self, view: &PlantView) {
        self.zone_ix =
            view.zones.iter().enumerate().map(|(i, z)| (z.id.clone(), i as u16)).collect();
        self.zones = vec![ZoneCount::default(); view.zones.len() + 1];
        self.entries.clear();
        self.by_id.clear();
        for (ix, twin) in view.twins.iter().enumerate() {
            let zone = self.zone_ix.get(&twin.zone).copied();
            let entry = Entry {
                zone: zone.unwrap_or(view.zones.len() as u16),
                state: twin.state,
                class: Class::of(twin),
            };
            self.zones[entry.zone as usize].add(entry);
            self.entries.push(entry);
            self.by_id.insert(twin.id.clone(), ix as u32);
        }
    }

    /// Place of a twin in the view.
    pub(crate) fn find(&self, id: &DeviceId) -> Option<usize> {
        self.by_id.get(id).map(|ix| *ix as usize)
    }

    /// Class of the twin at `ix`.
    pub(crate) fn class(&self, ix: usize) -> Class {
        self.entries.get(ix).map_or(Class::Idle, |e| e.class)
    }

    /// Place of the zone of the twin at `ix`.
    pub(crate) fn zone(&self, ix: usize) -> Option<usize> {
        self.entries.get(ix).map(|e| e.zone as usize)
    }

    /// Zones to show: those of the view, and one more if a twin is in none of them.
    pub(crate) fn zones(&self) -> &[ZoneCount] {
        match self.zones.split_last() {
            Some((stray, listed)) if stray.twins == 0 => listed,
            _ => &self.zones,
        }
    }

    /// Twins of the plant by [`Class`], in its order.
    pub(crate) fn classes(&self) -> [u32; CLASSES] {
        let mut sum = [0; CLASSES];
        for zone in &self.zones {
            for (total, n) in sum.iter_mut().zip(zone.classes) {
                *total += n;
            }
        }
        sum
    }
}
