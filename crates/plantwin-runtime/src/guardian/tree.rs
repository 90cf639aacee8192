//! Who goes down with whom: the tree plant -> zone -> device as data and a pure decision.
//!
//! Crashes are counted where they are answered. Under `one_for_one` each child has its own count;
//! under `rest_for_one` and `one_for_all`, where a crash takes siblings along, the supervisor
//! counts for all of them, as in OTP. A zone at its limit that escalates is one crash in the eyes
//! of the plant. Absent: time, chance, waiting and actors ([`super::Guardian`]).

use std::{ops::Range, time::Duration};

use plantwin_model::{Escalation, RestartStrategy, SupervisionSpec, Timestamp};

use super::{Decision, RestartHistory, RestartPolicy};

/// What a crash leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// After the wait these children of the zone restart, the crashed one among them.
    Restart {
        /// Wait, zero: at once.
        wait: Duration,
        /// Children by place in their zone.
        children: Range<usize>,
    },
    /// The child is given up; its siblings go on.
    GiveUp,
    /// After the wait these zones restart with all their children, the crashed one's among them;
    /// what their children did before is forgotten.
    RestartZones {
        /// Wait, zero: at once.
        wait: Duration,
        /// Zones by place.
        zones: Range<usize>,
    },
    /// The zone is given up with all its children; the other zones go on.
    GiveUpZone,
}

/// The counts of every supervisor of a plant.
#[derive(Clone, Debug)]
pub struct TreeState {
    plant: Level,
    zones: Vec<Level>,
}

impl TreeState {
    /// Of a plant in which nothing has crashed: the plant's policy for its zones, then policy and
    /// number of children of each zone.
    pub fn new(
        plant: &SupervisionSpec,
        zones: impl IntoIterator<Item = (SupervisionSpec, usize)>,
    ) -> Self {
        let zones: Vec<_> = zones.into_iter().map(|(spec, n)| Level::new(&spec, n)).collect();
        Self { plant: Level::new(plant, zones.len()), zones }
    }

    /// Notes a crash of a child of a zone at `now` and decides. `jitter` in 0..1 spreads waits.
    /// An unknown zone or child is given up.
    pub fn on_crash(&mut self, zone: usize, child: usize, now: Timestamp, jitter: f64) -> Verdict {
        let Some(level) = self.zones.get_mut(zone) else { return Verdict::GiveUp };
        if child >= level.children {
            return Verdict::GiveUp;
        }
        if let Some((wait, children)) = level.on_crash(child, now, jitter) {
            return Verdict::Restart { wait, children };
        }
        if level.escalation == Escalation::GiveUp {
            return Verdict::GiveUp;
        }
        match self.plant.on_crash(zone, now, jitter) {
            Some((wait, zones)) => {
                for level in &mut self.zones[zones.clone()] {
                    level.forgive_all();
                }
                Verdict::RestartZones { wait, zones }
            }
            None => Verdict::GiveUpZone,
        }
    }

    /// An operator starts a child again: its past is forgotten, and that of its zone as a whole.
    pub fn forgive(&mut self, zone: usize, child: usize) {
        if let Some(level) = self.zones.get_mut(zone) {
            level.forgive(child);
            self.plant.forgive(zone);
        }
    }
}

/// One supervisor and the crashes it has answered.
#[derive(Clone, Debug)]
struct Level {
    policy: RestartPolicy,
    strategy: RestartStrategy,
    escalation: Escalation,
    children: usize,
    /// One a child, or a single one where crashes take siblings along.
    histories: Vec<RestartHistory>,
}

impl Level {
    fn new(spec: &SupervisionSpec, children: usize) -> Self {
        let counts = if spec.strategy == RestartStrategy::OneForOne { children } else { 1 };
        Self {
            policy: spec.into(),
            strategy: spec.strategy,
            escalation: spec.escalation,
            children,
            histories: vec![RestartHistory::default(); counts],
        }
    }

    fn history(&mut self, child: usize) -> Option<&mut RestartHistory> {
        let place = if self.strategy == RestartStrategy::OneForOne { child } else { 0 };
        self.histories.get_mut(place)
    }

    /// Who restarts and when; `None` at the limit.
    fn on_crash(
        &mut self,
        child: usize,
        now: Timestamp,
        jitter: f64,
    ) -> Option<(Duration, Range<usize>)> {
        let policy = self.policy;
        let Decision::RestartAfter(wait) = self.history(child)?.on_crash(&policy, now, jitter)
        else {
            return None;
        };
        let taken_along = match self.strategy {
            RestartStrategy::OneForOne => child..child + 1,
            RestartStrategy::RestForOne => child..self.children,
            RestartStrategy::OneForAll => 0..self.children,
        };
        Some((wait, taken_along))
    }

    fn forgive(&mut self, child: usize) {
        if let Some(history) = self.history(child) {
            history.forgive();
        }
    }

    fn forgive_all(&mut self) {
        for history in &mut self.histories {
            history.forgive();
        }
    }
}
