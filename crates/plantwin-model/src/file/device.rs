//! Devices of a plant.
//!
//! Absent: their paths (see [`super::path`]) and their models (see [`super::model`]).

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    time::Duration,
};

use super::{
    Catalog, DEVICE_LIMIT, Simulate, conduit,
    item::Item,
    path,
    property::{find_point, inside},
    quantity::quoted,
    suggest::suggest,
    table::Table,
    twin::{self, ReadType},
    types::Types,
    upkeep,
    zone::Zones,
};
use crate::{Delivery, DeviceIx, DeviceSpec, Identity, Mode, Span, Unit, ZoneIx};

/// Shortest and longest report period.
pub(super) const PERIOD: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_hours(24));

/// A device while the plant is read: what could be read of it, so that one problem does not
/// hide others.
pub(super) struct Device {
    pub(super) name: String,
    pub(super) kind: Option<Rc<ReadType>>,
    pub(super) zone: Option<ZoneIx>,
    pub(super) mode: Mode,
    pub(super) delivery: Delivery,
    pub(super) span: Span,
    /// Complete unless something was reported.
    pub(super) spec: Option<DeviceSpec>,
}

/// All devices in file order; the place is the [`DeviceIx`].
#[derive(Default)]
pub(super) struct Devices {
    pub(super) list: Vec<Device>,
    by_name: HashMap<String, usize>,
}

/// What all devices share.
pub(super) struct Common<'a, 'c> {
    pub(super) catalog: &'a Catalog<'c>,
    pub(super) zones: &'a Zones,
    pub(super) period: Duration,
    pub(super) delivery: Delivery,
    pub(super) simulate: &'a Simulate,
}

impl Devices {
    /// Reads `[device.*]`.
    pub(super) fn read(root: &Table, common: &Common, types: &mut Types) -> Self {
        let mut devices = Self::default();
        let only: HashSet<&str> = match common.simulate {
            Simulate::Only(ids) => ids.iter().map(crate::DeviceId::as_str).collect(),
            _ => HashSet::new(),
        };
        for item in root.map("device") {
            if devices.list.len() == DEVICE_LIMIT {
                let message = format!("more than {DEVICE_LIMIT} devices");
                item.scope.error(item.key_span, "too-many-devices", message);
                break;
            }
            let ix = devices.list.len();
            devices.by_name.insert(item.key.to_owned(), ix);
            item.name(true);
            let forced = match common.simulate {
                Simulate::AsWritten => None,
                Simulate::All => Some(Mode::Simulated),
                Simulate::Only(_) if only.contains(item.key) => Some(Mode::Simulated),
                Simulate::None | Simulate::Only(_) => Some(Mode::Physical),
            };
            let device = device(&item, DeviceIx(ix as u32), forced, common, types);
            devices.list.push(device);
        }
        let Simulate::Only(ids) = common.simulate else { return devices };
        for name in ids.iter().map(crate::DeviceId::as_str) {
            if !devices.by_name.contains_key(name) {
                let known = devices.list.iter().map(|d| d.name.as_str());
                let help = suggest(root.scope.report, name, "devices", known);
                let message = format!("unknown device `{}` among those to simulate", quoted(name));
                root.scope.error_help(root.span, "unknown-device", message, help);
            }
        }
        devices
    }

    /// The device `name`, wanted at `item`.
    pub(super) fn find(&self, item: &Item, name: &str) -> Option<usize> {
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            item.unknown(
                "unknown-device",
                name,
                "device",
                self.list.iter().map(|d| d.name.as_str()),
            );
        }
        found
    }

    /// The device and the member in `tank1.level`, wanted at `item`.
    pub(super) fn member<'n>(&self, item: &Item, text: &'n str) -> Option<(usize, &'n str)> {
        let Some((device, member)) = text.split_once('.') else {
            let message = format!("`{}` is not of the form DEVICE.NAME", quoted(text));
            let example = self.list.first().map(|d| format!("write it like \"{}.level\"", d.name));
            item.scope.error_help(item.span, "bad-value", message, example);
            return None;
        };
        Some((self.find(item, device)?, member))
    }
}

fn device(
    item: &Item,
    ix: DeviceIx,
    forced: Option<Mode>,
    common: &Common,
    types: &mut Types,
) -> Device {
    let mut out = Device {
        name: item.key.to_owned(),
        kind: None,
        zone: None,
        mode: forced.unwrap_or(Mode::Simulated),
        delivery: common.delivery,
        span: item.key_span,
        spec: None,
    };
    let Some(table) = item.table(format!("[device.{}]", quoted(item.key))) else { return out };
    out.span = table.span;
    let before = item.scope.report.errors();
    out.kind = table.need("type").and_then(|i| types.find(&i, i.text()?));
    out.zone = table.need("zone").and_then(|i| common.zones.find(&i, i.text()?));
    let modes = [("simulated", Mode::Simulated), ("physical", Mode::Physical)];
    let mode = table.get("mode").and_then(|i| i.choice(&modes));
    out.mode = forced.or(mode).unwrap_or(Mode::Simulated);
    let identities = [("native", Identity::Native), ("plain", Identity::Plain)];
    let identity = table.get("identity").and_then(|i| i.choice(&identities));
    let identity = identity.unwrap_or(match out.mode {
        Mode::Simulated => Identity::Simulated,
        Mode::Physical => Identity::Plain,
    });
    out.delivery = upkeep::delivery(&table).unwrap_or(common.delivery);
    let period = table.get("period").and_then(|i| i.duration(PERIOD.0, PERIOD.1));
    let period = period.unwrap_or(common.period);
    let energy = table.get("energy").and_then(|i| twin::energy(&i, common.catalog));
    let budget = table.get("budget").and_then(|i| {
        // Joule is in the table of units; were it not, the budget would be left out.
        let joules = i.si(&Unit::parse("J").ok()?)?;
        if joules <= 0.0 {
            i.error("out-of-range", "`budget` must be positive");
        }
        Some(joules)
    });
    let (starts, params) = (table.map("start"), table.map("param"));
    let paths = path::paths(&table, out.mode, out.delivery, common, out.kind.as_deref());
    let (paths, via): (Vec<_>, Vec<_>) = paths.into_iter().unzip();
    let places = via;
    let via = places.iter().map(|v| v.map(|(zone, _)| zone)).collect();
    let protocols: Vec<&str> = common.catalog.protocols.iter().map(|p| p.name).collect();
    table.close_with(&protocols);
    let (Some(kind), Some(zone)) = (&out.kind, out.zone) else { return out };
    let mut spec = DeviceSpec {
        id: item.key.into(),
        ix,
        kind: types.for_period(kind, period),
        zone,
        mode: out.mode,
        identity,
        period,
        start: kind.kind.points.iter().map(|p| p.start).collect(),
        params: kind.kind.model.iter().flat_map(|m| &m.params).map(|p| p.value).collect(),
        paths,
        via,
        delivery: out.delivery,
        budget_joules: budget,
        energy_profile: energy.unwrap_or_else(|| kind.kind.energy_profile.clone()),
        span: table.span,
    };
    for (path, place) in spec.paths.iter().zip(places) {
        if let Some(place) = place {
            conduit::check_path(&table, common.zones, &spec, path.protocol, place);
        }
    }
    for start in starts {
        set_start(&mut spec, kind, &start, start.key);
    }
    for param in params {
        if !set_param(&mut spec, kind, &param, param.key) && kind.is_sound() {
            let names = kind.kind.model.iter().flat_map(|m| &m.params).map(|p| &*p.name);
            param.at_key().unknown("unknown-param", param.key, "parameter", names);
        }
    }
    if item.scope.report.errors() == before {
        out.spec = Some(spec);
    }
    out
}

/// Overrides the start value of a point.
pub(super) fn set_start(spec: &mut DeviceSpec, kind: &ReadType, item: &Item, name: &str) {
    let Some(point) = find_point(&item.at_key(), name, &kind.kind, &kind.broken) else { return };
    let of = &kind.kind.points[point.index()];
    if let Some(value) = item.quantity(&of.unit)
        && inside(item, value, of.range, &of.name)
    {
        spec.start[point.index()] = value;
    }
}

/// Overrides a parameter; false if there is none of this name.
pub(super) fn set_param(spec: &mut DeviceSpec, kind: &ReadType, item: &Item, name: &str) -> bool {
    let params = kind.kind.model.as_ref().map_or(&[][..], |m| &m.params);
    let Some(place) = params.iter().position(|p| &*p.name == name) else { return false };
    if let Some(value) = item.si(&params[place].unit) {
        spec.params[place] = value;
    }
    true
}
