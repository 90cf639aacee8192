//! From rules to tables.

use std::{collections::HashMap, sync::Arc};

use plantwin_model::{
    Action, DeviceIx, GrantSpec, Hours, PlantSpec, Rate, Role, Timestamp, TwinType, UserSpec, Who,
    ZoneIx, glob,
};

use super::{
    PathRight,
    bits::{Bits, set},
    builtin_grants,
    conduits::Conduits,
    quick::QuickMap,
};

/// The rules of a plant, compiled. Immutable: a change makes a new one.
#[derive(Debug)]
pub struct Policy {
    pub(super) epoch: u64,
    pub(super) plant: Arc<PlantSpec>,
    pub(super) builtin: bool,
    /// A grant of the file is to devices.
    pub(super) names_devices: bool,
    pub(super) grants: Box<[GrantSpec]>,
    /// Each object of each grant, in the order of the file: what the bits stand for.
    pub(super) clauses: Box<[Clause]>,
    words: usize,
    pub(super) by_action: [Bits; Action::ALL.len()],
    by_role: [Bits; Role::ALL.len()],
    users: QuickMap<Arc<str>, (u32, Bits)>,
    /// All rows, one after the other.
    rows: Box<[u64]>,
    /// By device: the row of the device itself, and how many points it has, whose rows follow.
    objects: Box<[(u32, u16)]>,
    /// By device: what it may do itself.
    devices: Box<[u32]>,
    plants: Bits,
    conduits: Conduits,
}

/// One object of one grant.
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) grant: u32,
    pub(super) range: Option<(f64, f64)>,
    pub(super) rate: Option<Rate>,
    pub(super) hours: Option<Hours>,
    pub(super) two_persons: bool,
}

/// Rows that were made already, so that equal ones are kept once.
#[derive(Default)]
struct Rows {
    all: Vec<u64>,
    known: HashMap<Box<[u64]>, u32>,
}

impl Rows {
    /// The place of some rows, in rows.
    fn intern(&mut self, rows: Vec<u64>, words: usize) -> u32 {
        *self.known.entry(rows.into_boxed_slice()).or_insert_with_key(|rows| {
            let place = self.all.len() / words;
            self.all.extend_from_slice(rows);
            place as u32
        })
    }
}

impl Policy {
    /// Compiles the rules of a plant file.
    pub fn compile(plant: Arc<PlantSpec>) -> Arc<Self> {
        Arc::new(Self::of(plant, 1))
    }

    pub(super) fn of(plant: Arc<PlantSpec>, epoch: u64) -> Self {
        let builtin = plant.policy.grants.is_none();
        let grants: Box<[GrantSpec]> =
            plant.policy.grants.clone().unwrap_or_else(builtin_grants).into();
        let ons: Vec<_> = (0_u32..)
            .zip(&*grants)
            .flat_map(|(ix, grant)| grant.on.iter().map(move |on| (ix, grant, on)))
            .collect();
        let count = ons.len();
        let words = count.div_ceil(64).max(1);
        let of_grant = |test: &dyn Fn(&GrantSpec) -> bool| set(count, words, |i| test(ons[i].1));
        let for_whom = |test: &dyn Fn(&Who) -> bool| of_grant(&|g| g.who.iter().any(test));
        let role_of = |role| for_whom(&|w| *w == Who::Role(role));

        let mut users = QuickMap::default();
        for (ix, user) in (Role::ALL.len() as u32..).zip(&plant.policy.users) {
            let own = |w: &Who| match w {
                Who::Role(role) => *role == user.role,
                Who::User(pattern) => glob(pattern, &user.name),
                Who::Device(_) => false,
            };
            users.insert(Arc::clone(&user.name), (ix, for_whom(&own)));
        }

        let zones: Vec<Bits> = plant
            .zones
            .iter()
            .map(|z| set(count, words, |i| glob(&ons[i].2.zone, z.id.as_str())))
            .collect();
        let whole = set(count, words, |i| glob(&ons[i].2.point, "") && is_stars(&ons[i].2.point));
        let mut kinds: HashMap<*const TwinType, Vec<Bits>> = HashMap::new();
        let mut rows = Rows::default();
        let mut objects = Vec::with_capacity(plant.devices.len());
        let mut devices = Vec::with_capacity(plant.devices.len());
        for device in &plant.devices {
            let points = kinds.entry(Arc::as_ptr(&device.kind)).or_insert_with(|| {
                let of_point = |p: &plantwin_model::PointSpec| {
                    set(count, words, |i| glob(&ons[i].2.point, &p.name))
                };
                device.kind.points.iter().map(of_point).collect()
            });
            let name = device.id.as_str();
            let own = set(count, words, |i| glob(&ons[i].2.device, name));
            let zone = zones.get(device.zone.index());
            let mut row = Vec::with_capacity(words * (points.len() + 1));
            for point in std::iter::once(&whole).chain(points.iter()) {
                row.extend((0..words).map(|w| own[w] & point[w] & zone.map_or(0, |z| z[w])));
            }
            objects.push((rows.intern(row, words), points.len() as u16));
            let acts = for_whom(&|w| matches!(w, Who::Device(pattern) if glob(pattern, name)));
            devices.push(rows.intern(acts.into_vec(), words));
        }
        let clauses = ons.iter().map(|(grant, spec, _)| Clause {
            grant: *grant,
            range: spec.range,
            rate: spec.rate,
            hours: spec.hours,
            two_persons: spec.two_persons,
        });
        Self {
            epoch,
            builtin,
            names_devices: grants
                .iter()
                .any(|g| g.who.iter().any(|who| matches!(who, Who::Device(_)))),
            clauses: clauses.collect(),
            words,
            by_action: Action::ALL.map(|a| of_grant(&|g| g.actions.contains(a))),
            by_role: Role::ALL.map(role_of),
            users,
            rows: rows.all.into(),
            objects: objects.into(),
            devices: devices.into(),
            plants: set(count, words, |i| ons[i].2.is_all()),
            conduits: Conduits::of(&plant),
            grants,
            plant,
        }
    }

    /// Counts up with every policy that was put in force since the start, from 1.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The plant that it is for.
    pub const fn plant(&self) -> &Arc<PlantSpec> {
        &self.plant
    }

    /// The users it knows.
    pub fn users(&self) -> &[UserSpec] {
        &self.plant.policy.users
    }

    /// What a path of a device may carry; `rank` is its place among the device's paths. A path
    /// that does not exist carries nothing if any of the device's is limited.
    pub fn permits_path(&self, device: DeviceIx, rank: usize) -> PathRight {
        self.conduits.path(device.0, rank)
    }

    /// Whether what somebody does to a device may reach it: its conduits carry this action on
    /// every path that takes anything.
    pub fn reaches(&self, device: DeviceIx, action: Action) -> bool {
        self.conduits.takes(device.0, action)
    }

    /// Whether flows may cross from one zone to another at all.
    pub(super) fn has_conduit(&self, from: ZoneIx, to: ZoneIx) -> bool {
        Conduits::between(&self.plant, from, to)
    }

    /// Whether a flow, by its place in the plant, may carry one message now. It counts for the
    /// rate of its conduit.
    ///
    /// A flow is what a device does to another one. Once the file says what devices may do, it
    /// takes a grant to write to the other one, also within a zone.
    pub fn permits_flow(&self, flow: u32, now: Timestamp) -> bool {
        let granted = || {
            let Some(ends) = self.plant.flows.get(flow as usize) else { return false };
            let (who, to) = (self.device(ends.from), super::Object::Device(ends.to));
            self.judge(who, Action::Write, to, None, now, None).verdict == super::Verdict::Allow
        };
        (!self.names_devices || granted()) && self.conduits.flow(flow, now)
    }

    pub(super) fn role_row(&self, role: Role) -> (u32, &[u64]) {
        (role as u32, &self.by_role[role as usize])
    }

    pub(super) fn user_row(&self, name: &str) -> Option<(u32, &[u64])> {
        self.users.get(name).map(|(ix, bits)| (*ix, &**bits))
    }

    pub(super) fn device_row(&self, device: DeviceIx) -> Option<(u32, &[u64])> {
        let row = *self.devices.get(device.index())?;
        // Behind all roles and users.
        let id = (Role::ALL.len() + self.users.len()) as u32 + device.0;
        Some((id, self.row(row)?))
    }

    pub(super) fn object_row(&self, object: super::Object) -> &[u64] {
        let row = match object {
            super::Object::Plant => return &self.plants,
            super::Object::Device(device) => self.objects.get(device.index()).map(|(row, _)| *row),
            super::Object::Point(device, point) => self
                .objects
                .get(device.index())
                .filter(|(_, points)| point.0 < *points)
                .map(|(row, _)| row + 1 + u32::from(point.0)),
        };
        // What does not exist is covered by nothing.
        row.and_then(|row| self.row(row)).unwrap_or_default()
    }

    fn row(&self, row: u32) -> Option<&[u64]> {
        let start = row as usize * self.words;
        self.rows.get(start..start + self.words)
    }
}

fn is_stars(pattern: &str) -> bool {
    pattern.bytes().all(|b| b == b'*')
}
