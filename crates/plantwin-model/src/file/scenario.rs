//! Scenario steps: setpoints, faults of measurements, silent paths.
//!
//! Absent: expectations (test scenarios have their own files).

use std::time::Duration;

use super::{
    device::{Device, Devices},
    item::Item,
    property::{find_point, find_writable, inside},
    quantity::quoted,
    table::Table,
    variant::dotted,
};
use crate::{DeviceIx, FaultKind, Mode, ScenarioAction, ScenarioStep, Unit};

/// Longest time in a scenario; shortest repetition.
const LONGEST: Duration = Duration::from_hours(3650 * 24);
const SHORTEST: Duration = Duration::from_millis(1);

/// The `kind` of a fault as written.
#[derive(Clone, Copy)]
enum Word {
    Stuck,
    Bias,
    Drift,
    Scale,
    Noise,
    Nan,
    Silent,
}

const WORDS: &[(&str, Word)] = &[
    ("stuck", Word::Stuck),
    ("bias", Word::Bias),
    ("drift", Word::Drift),
    ("scale", Word::Scale),
    ("noise", Word::Noise),
    ("nan", Word::Nan),
    ("silent", Word::Silent),
];

/// Reads `[[scenario]]` in file order.
pub(super) fn read(root: &Table, devices: &Devices) -> Vec<ScenarioStep> {
    let mut out = Vec::new();
    for table in root.tables("scenario") {
        let at = table.need("at").and_then(|i| i.duration(Duration::ZERO, LONGEST));
        let repeat = table.get("every").and_then(|i| i.duration(SHORTEST, LONGEST));
        let (set, fault) = (table.get("set"), table.get("fault"));
        if set.is_none() && fault.is_none() {
            let message = "a scenario step needs `set` or `fault`";
            table.scope.error(table.span, "missing-key", message);
        }
        let mut actions = Vec::new();
        if let Some(sets) = set.and_then(|i| i.table("`set`".into())) {
            for (name, item) in dotted(&sets) {
                actions.extend(write(&name, &item, devices));
            }
        }
        if let Some(fault) = fault.and_then(|i| i.table("`fault`".into())) {
            actions.extend(falsify(&fault, devices).unwrap_or_default());
            fault.close();
        }
        table.close();
        let Some(at) = at else { continue };
        let step = |action| ScenarioStep { at, repeat, action, span: table.span };
        out.extend(actions.into_iter().map(step));
    }
    out
}

/// Reads one entry of `set`.
fn write(name: &str, item: &Item, devices: &Devices) -> Option<ScenarioAction> {
    let (ix, point) = devices.member(&item.at_key(), name)?;
    let kind = devices.list[ix].kind.as_ref()?;
    let point = find_writable(&item.at_key(), point, &kind.kind, &kind.broken)?;
    let spec = &kind.kind.points[point.index()];
    let value = item.quantity(&spec.unit)?;
    inside(item, value, spec.range, &spec.name).then_some(ScenarioAction::Set {
        device: DeviceIx(ix as u32),
        point,
        value,
    })
}

/// Reads `fault`.
fn falsify(table: &Table, devices: &Devices) -> Option<Vec<ScenarioAction>> {
    let word = table.need("kind").and_then(|i| i.choice(WORDS));
    let on = table.need("on");
    let lasts = table.get("for").map(|i| i.duration(SHORTEST, LONGEST));
    // Only the keys that the kind has are known; without a kind none of them is judged.
    let amount = match word {
        Some(Word::Bias | Word::Scale | Word::Noise) => table.need("by"),
        Some(Word::Drift) => table.need("rate"),
        Some(Word::Stuck | Word::Nan | Word::Silent) => None,
        None => {
            let _ = (table.get("by"), table.get("rate"), table.get("path"));
            None
        }
    };
    let path = if matches!(word, Some(Word::Silent)) { table.get("path") } else { None };
    let (word, on) = (word?, on?);
    let lasts = match lasts {
        Some(read) => Some(read?),
        None => None,
    };
    let text = on.text()?;
    if matches!(word, Word::Silent) {
        let ix = devices.find(&on, text)?;
        physical(&on, &devices.list[ix], "plantwin cannot silence it")?;
        return silent(path, &devices.list[ix], DeviceIx(ix as u32), lasts);
    }
    let (ix, name) = devices.member(&on, text)?;
    let kind = devices.list[ix].kind.as_ref()?;
    physical(&on, &devices.list[ix], "there is no simulated sensor to falsify")?;
    let point = find_point(&on, name, &kind.kind, &kind.broken)?;
    let unit = &kind.kind.points[point.index()].unit;
    let kind = match word {
        Word::Stuck => FaultKind::Stuck,
        Word::Nan => FaultKind::NotANumber,
        Word::Bias => FaultKind::Bias(amount?.difference(unit)?),
        Word::Drift => FaultKind::Drift(amount?.rate(unit)?),
        Word::Scale => FaultKind::Scale(amount?.quantity(&Unit::one())?),
        Word::Noise => {
            let amount = amount?;
            FaultKind::Noise(amount.not_negative(amount.difference(unit)?)?)
        }
        Word::Silent => return None,
    };
    Some(vec![ScenarioAction::Fault { device: DeviceIx(ix as u32), point, kind, lasts }])
}

/// A path goes silent, or all of them.
fn silent(
    path: Option<Item>,
    device: &Device,
    ix: DeviceIx,
    lasts: Option<Duration>,
) -> Option<Vec<ScenarioAction>> {
    let paths = &device.spec.as_ref()?.paths;
    let down = |place: usize| ScenarioAction::PathDown { device: ix, path: place as u16, lasts };
    let Some(item) = path else { return Some((0..paths.len()).map(down).collect()) };
    let name = item.text()?;
    let place = paths.iter().position(|p| p.protocol == name);
    if place.is_none() {
        item.unknown("unknown-path", name, "path", paths.iter().map(|p| p.protocol));
    }
    place.map(|p| vec![down(p)])
}

/// Leaves out a fault on a physical device, with a warning: a device must be switchable to
/// physical by one word, whatever the scenario says.
fn physical(item: &Item, device: &Device, why: &str) -> Option<()> {
    if device.mode == Mode::Simulated {
        return Some(());
    }
    let message = format!("device `{}` is physical: {why}", quoted(&device.name));
    let help = "this step is left out while the device is physical".to_owned();
    item.scope.warn(item.span, "fault-on-physical", message, help);
    None
}
