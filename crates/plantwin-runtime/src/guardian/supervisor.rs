//! The tree of supervisors as the guarded actors share it.
//!
//! One lock for a plant: it is taken when something crashes, never while all is well.
//! Absent: the decision ([`super::TreeState`]) and the loop around each actor.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plantwin_model::{PlantSpec, SupervisionSpec, Timestamp};

use super::{
    RestartPolicy, TreeState, Verdict,
    bell::{Bell, Request},
};

/// The root of the tree: one for a plant.
#[derive(Clone, Debug)]
pub struct Guardian(Arc<Mutex<Tree>>);

#[derive(Debug)]
struct Tree {
    state: TreeState,
    /// By zone and child; empty where nobody sits yet.
    bells: Vec<Vec<Option<Arc<Bell>>>>,
}

impl Guardian {
    /// A tree of the plant's policy for its zones, and policy and number of children of each.
    pub fn new(plant: &SupervisionSpec, zones: &[(SupervisionSpec, usize)]) -> Self {
        let bells = zones.iter().map(|(_, children)| vec![None; *children]).collect();
        let state = TreeState::new(plant, zones.iter().cloned());
        Self(Arc::new(Mutex::new(Tree { state, bells })))
    }

    /// The tree of a plant and the place of each of its devices in it, by `DeviceIx`: a zone's
    /// children are its devices in file order.
    pub fn of(plant: &PlantSpec) -> (Self, Vec<Child>) {
        let mut zones: Vec<_> = plant
            .zones
            .iter()
            .map(|z| (z.supervision.clone().unwrap_or_else(|| plant.supervision.clone()), 0))
            .collect();
        let mut places = Vec::with_capacity(plant.devices.len());
        for device in &plant.devices {
            let zone = usize::from(device.zone.0);
            places.push((zone, zones[zone].1));
            zones[zone].1 += 1;
        }
        let guardian = Self::new(&plant.supervision, &zones);
        let child = |(zone, place)| guardian.zone(zone).child(place);
        let children = places.into_iter().map(child).collect();
        (guardian, children)
    }

    /// The supervisor of a zone.
    pub fn zone(&self, zone: usize) -> Supervisor {
        Supervisor { guardian: self.clone(), zone }
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        // Counts and bells are whole after every statement, whatever panicked in between.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The supervisor of one zone.
#[derive(Clone, Debug)]
pub struct Supervisor {
    guardian: Guardian,
    zone: usize,
}

impl Supervisor {
    /// A supervisor of a single child, with nobody above it.
    pub fn alone(policy: RestartPolicy) -> Self {
        let spec = SupervisionSpec {
            max_restarts: u32::try_from(policy.max_restarts).unwrap_or(u32::MAX),
            window: policy.window,
            backoff_min: policy.backoff_min,
            backoff_max: policy.backoff_max,
            ..SupervisionSpec::default()
        };
        Guardian::new(&SupervisionSpec::default(), &[(spec, 1)]).zone(0)
    }

    /// The place of one of its children.
    pub fn child(&self, child: usize) -> Child {
        Child { supervisor: self.clone(), child }
    }
}

/// A place in the tree, for one actor.
#[derive(Clone, Debug)]
pub struct Child {
    supervisor: Supervisor,
    child: usize,
}

/// What the loop around a crashed actor is told to do.
pub(super) enum Judgement {
    /// Wait, have the others restart, restart.
    Restart { wait: Duration, others: Vec<Arc<Bell>> },
    /// Wait for an operator, for this reason.
    GiveUp(String),
}

impl Child {
    /// From now on requests to this place ring this bell.
    pub(super) fn seat(&self, bell: &Arc<Bell>) {
        let mut tree = self.supervisor.guardian.tree();
        let zone = tree.bells.get_mut(self.supervisor.zone);
        if let Some(place) = zone.and_then(|z| z.get_mut(self.child)) {
            *place = Some(Arc::clone(bell));
        }
    }

    /// The actor panicked. A zone that is given up is told so here.
    pub(super) fn crashed(&self, panic: String, now: Timestamp, jitter: f64) -> Judgement {
        let mut tree = self.supervisor.guardian.tree();
        let zone = self.supervisor.zone;
        match tree.state.on_crash(zone, self.child, now, jitter) {
            Verdict::Restart { wait, children } => {
                let others = tree.bells[zone][children.clone()].iter();
                let others = children.zip(others).filter(|(child, _)| *child != self.child);
                let others = others.filter_map(|(_, bell)| bell.clone()).collect();
                Judgement::Restart { wait, others }
            }
            Verdict::RestartZones { wait, zones } => {
                Judgement::Restart { wait, others: tree.others(self, zones) }
            }
            Verdict::GiveUp => Judgement::GiveUp(panic),
            Verdict::GiveUpZone => {
                let reason = format!("its zone was given up: {panic}");
                let shared: Arc<str> = reason.as_str().into();
                for bell in tree.others(self, zone..zone + 1) {
                    bell.ring(Request::GiveUp(Arc::clone(&shared)));
                }
                Judgement::GiveUp(reason)
            }
        }
    }

    /// An operator starts the actor again.
    pub(super) fn forgiven(&self) {
        self.supervisor.guardian.tree().state.forgive(self.supervisor.zone, self.child);
    }
}

impl Tree {
    /// The bells of all children of these zones but one.
    fn others(&self, but: &Child, zones: std::ops::Range<usize>) -> Vec<Arc<Bell>> {
        let mut others = Vec::new();
        for zone in zones {
            for (child, bell) in self.bells[zone].iter().enumerate() {
                if (zone, child) != (but.supervisor.zone, but.child) {
                    others.extend(bell.clone());
                }
            }
        }
        others
    }
}
