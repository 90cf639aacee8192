//! What may cross from zone to zone: flows between twins, and paths through other zones.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

use plantwin_model::{
    Action, ConduitSpec, DeviceSpec, Identity, PlainRule, PlantSpec, Rate, Timestamp, ZoneIx,
};

use super::rates::{after, has_room};

/// What a path of a device may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathRight {
    /// Nothing: it must not be taken.
    Closed,
    /// What the device reports, and nothing to it.
    Reports,
    /// Both ways.
    Full,
}

/// The conduits of a policy, resolved for the flows and paths of its plant.
#[derive(Debug)]
pub(super) struct Conduits {
    /// For each flow of the plant that crosses: the limits under which it may, one is enough;
    /// none at all if no conduit carries it. Absent for a flow that stays in its zone.
    flows: HashMap<u32, Vec<Option<usize>>>,
    limits: Vec<Limit>,
    /// Devices of which not every path is full.
    paths: HashMap<u32, Box<[PathRight]>>,
    /// Devices with a path on which commands may come and direct writes not, or the reverse.
    half: HashMap<u32, [bool; 2]>,
}

#[derive(Debug)]
struct Limit {
    rate: Rate,
    due: AtomicI64,
}

impl Conduits {
    pub(super) fn of(plant: &PlantSpec) -> Self {
        let mut limits = Vec::new();
        let limit_of: Vec<Option<usize>> = plant
            .conduits
            .iter()
            .map(|c| {
                let rate = c.max_rate?;
                limits.push(Limit { rate, due: AtomicI64::new(i64::MIN) });
                Some(limits.len() - 1)
            })
            .collect();
        let mut by_ends: HashMap<_, Vec<usize>> = HashMap::new();
        for (ix, conduit) in plant.conduits.iter().enumerate() {
            by_ends.entry((conduit.from, conduit.to)).or_default().push(ix);
        }
        let flows = plant.flows.iter().enumerate().filter_map(|(ix, flow)| {
            let ends = (plant.devices[flow.from.index()].zone, plant.devices[flow.to.index()].zone);
            let carrying = by_ends.get(&ends).into_iter().flatten();
            let carrying = carrying
                .filter(|c| plant.conduits[**c].carries(ends.0, ends.1, None, Action::Read))
                .map(|c| limit_of[*c]);
            (ends.0 != ends.1).then(|| (ix as u32, carrying.collect()))
        });
        let flows = flows.collect();
        let (mut paths, mut half) = (HashMap::new(), HashMap::new());
        for device in &plant.devices {
            let rights: Box<[PathRight]> =
                (0..device.paths.len()).map(|rank| right(plant, device, rank)).collect();
            let full = |rank: &usize| rights[*rank] == PathRight::Full;
            let taken = [Action::Write, Action::Command].map(|a| {
                (0..device.paths.len()).filter(full).all(|r| comes_back(plant, device, r, a))
            });
            if taken != [true, true] {
                half.insert(device.ix.0, taken);
            }
            if rights.iter().any(|r| *r != PathRight::Full) {
                paths.insert(device.ix.0, rights);
            }
        }
        Self { flows, limits, paths, half }
    }

    /// Whether anything carries flows from one zone to another, however often.
    pub(super) fn between(plant: &PlantSpec, from: ZoneIx, to: ZoneIx) -> bool {
        from == to || carried(plant, |c| c.carries(from, to, None, Action::Read))
    }

    pub(super) fn path(&self, device: u32, rank: usize) -> PathRight {
        self.paths.get(&device).map_or(PathRight::Full, |rights| {
            rights.get(rank).copied().unwrap_or(PathRight::Closed)
        })
    }

    /// Whether every path that takes anything takes this.
    pub(super) fn takes(&self, device: u32, action: Action) -> bool {
        let Some([write, command]) = self.half.get(&device) else { return true };
        match action {
            Action::Write => *write,
            Action::Command => *command,
            _ => true,
        }
    }

    /// Whether a flow may carry one message now, which counts.
    pub(super) fn flow(&self, flow: u32, now: Timestamp) -> bool {
        let Some(ways) = self.flows.get(&flow) else { return true };
        ways.iter().any(|way| way.is_none_or(|limit| self.limits[limit].take(now)))
    }
}

impl Limit {
    fn take(&self, now: Timestamp) -> bool {
        let one_more = |due| has_room(due, self.rate, now).then(|| after(due, self.rate, now));
        self.due.fetch_update(Relaxed, Relaxed, one_more).is_ok()
    }
}

fn carried(plant: &PlantSpec, test: impl Fn(&ConduitSpec) -> bool) -> bool {
    plant.conduits.iter().any(test)
}

fn right(plant: &PlantSpec, device: &DeviceSpec, rank: usize) -> PathRight {
    let rule = plant.zones.get(device.zone.index()).map(|z| z.plain).unwrap_or_default();
    let plain = device.identity == Identity::Plain;
    if plain && rule == PlainRule::Refuse {
        return PathRight::Closed;
    }
    let protocol = Some(device.paths[rank].protocol);
    if let Some(via) = through(device, rank)
        && !carried(plant, |c| c.carries(device.zone, via, protocol, Action::Read))
    {
        return PathRight::Closed;
    }
    let taken =
        [Action::Write, Action::Command].iter().any(|a| comes_back(plant, device, rank, *a));
    if taken && !(plain && rule == PlainRule::Confine) {
        PathRight::Full
    } else {
        PathRight::Reports
    }
}

fn through(device: &DeviceSpec, rank: usize) -> Option<plantwin_model::ZoneIx> {
    device.via.get(rank).copied().flatten().filter(|via| *via != device.zone)
}

/// Whether an action may come to the device on this path.
fn comes_back(plant: &PlantSpec, device: &DeviceSpec, rank: usize, action: Action) -> bool {
    let protocol = Some(device.paths[rank].protocol);
    through(device, rank)
        .is_none_or(|via| carried(plant, |c| c.carries(via, device.zone, protocol, action)))
}
