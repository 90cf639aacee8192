//! Points, commands and alarms of a type.
//!
//! Absent: equations (see [`super::model`]).

use std::{collections::BTreeSet, time::Duration};

use super::{
    item::Item,
    quantity::{quoted, split},
    table::Table,
};
use crate::{
    Access, AlarmSpec, CommandSpec, Compare, PointIx, PointSpec, Priority, Role, SourceText,
    TwinType,
};

/// Most points, commands, alarms, inputs and so on of one type, each.
pub(super) const PARTS_LIMIT: usize = 1000;

const DAY: Duration = Duration::from_hours(24);
const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) const ROLES: &[(&str, Role)] = &[
    ("viewer", Role::Viewer),
    ("operator", Role::Operator),
    ("engineer", Role::Engineer),
    ("security", Role::Security),
];

const PRIORITIES: &[(&str, Priority)] = &[
    ("critical", Priority::Critical),
    ("high", Priority::High),
    ("medium", Priority::Medium),
    ("low", Priority::Low),
];

/// The entries of the table at `key`, within [`PARTS_LIMIT`].
pub(super) fn parts<'t, 'i>(table: &Table<'t, 'i>, key: &'static str) -> Vec<Item<'t, 'i>> {
    let mut items = table.map(key);
    if let Some(first) = items.get(PARTS_LIMIT) {
        let message = format!("more than {PARTS_LIMIT} entries under `{key}`");
        first.scope.error(first.key_span, "too-many", message);
        items.truncate(PARTS_LIMIT);
    }
    items
}

/// Reads `[property.*]`; also says which points leave `stale_after` to the device.
pub(super) fn points(root: &Table, broken: &mut BTreeSet<String>) -> (Vec<PointSpec>, Vec<bool>) {
    let (mut points, mut by_period) = (Vec::new(), Vec::new());
    for item in parts(root, "property") {
        let read = item.name(false).zip(item.table(root.path(&format!("property.{}", item.key))));
        match read.and_then(|(name, table)| point(name, &table)) {
            Some((spec, stale)) => {
                points.push(spec);
                by_period.push(stale);
            }
            None => {
                broken.insert(item.key.to_owned());
            }
        }
    }
    (points, by_period)
}

fn point(name: &str, table: &Table) -> Option<(PointSpec, bool)> {
    let title = table.text_or("title", name);
    let unit = table.need("unit").and_then(|i| i.unit());
    let range = table.need("range");
    let (start, access) = (table.get("start"), table.get("access"));
    let (stale, noise, resolution) =
        (table.get("stale_after"), table.get("noise"), table.get("resolution"));
    let safe = table.get("safe");
    table.close();
    let access = match access {
        Some(i) => i.choice(&[("r", Access::Read), ("rw", Access::ReadWrite)]),
        None => Some(Access::Read),
    };
    let stale_after = stale.map(|i| i.duration(MILLISECOND, 365 * DAY));
    // Whatever else is wrong depends on the unit.
    let unit = unit?;
    let range = range.and_then(|i| interval(&i, &unit));
    let small = |i: Option<Item>| match i {
        Some(i) => i.difference(&unit).and_then(|n| i.not_negative(n)),
        None => Some(0.0),
    };
    let (noise, resolution) = (small(noise), small(resolution));
    let start = match (start, range) {
        (Some(i), range) => {
            i.quantity(&unit).filter(|v| range.is_none_or(|r| inside(&i, *v, r, name)))
        }
        (None, range) => range.map(|(low, high)| 0.0_f64.clamp(low, high)),
    };
    let safe = safe.map(|i| {
        if access == Some(Access::Read) {
            let message =
                format!("point `{}` cannot be written, so it has no safe state", quoted(name));
            let help = "give it access = \"rw\" if it is a setpoint, or leave `safe` out";
            i.scope.error_help(i.key_span, "not-writable", message, help.to_owned());
        }
        i.quantity(&unit).filter(|v| range.is_none_or(|r| inside(&i, *v, r, name)))
    });
    let spec = PointSpec {
        name: name.into(),
        title,
        range: range?,
        start: start?,
        access: access?,
        // The default depends on the device; `super::device` puts it in.
        stale_after: stale_after.unwrap_or(Some(Duration::from_secs(3)))?,
        noise: noise?,
        resolution: resolution?,
        safe: match safe {
            Some(safe) => Some(safe?),
            None => None,
        },
        unit,
        span: table.span,
    };
    Some((spec, stale.is_none()))
}

/// Reads `[low, high]`.
fn interval(item: &Item, unit: &crate::Unit) -> Option<(f64, f64)> {
    let bounds = item.array()?;
    let [low, high] = bounds[..] else {
        item.error("bad-value", "`range` must be [LOW, HIGH]");
        return None;
    };
    let (low, high) = (low.quantity(unit), high.quantity(unit));
    let (low, high) = (low?, high?);
    if low >= high {
        item.error("out-of-range", "`range` must begin below its end");
        return None;
    }
    Some((low, high))
}

/// Whether a value lies in the range of point `name`; reports if not.
pub(super) fn inside(item: &Item, value: f64, (low, high): (f64, f64), name: &str) -> bool {
    let inside = (low..=high).contains(&value);
    if !inside {
        let message =
            format!("{value} lies outside the range {low} to {high} of `{}`", quoted(name));
        item.error("out-of-range", message);
    }
    inside
}

/// Finds a point of `kind` by name; an unknown name is reported unless it is `broken`.
pub(super) fn find_point(
    item: &Item,
    name: &str,
    kind: &TwinType,
    broken: &BTreeSet<String>,
) -> Option<PointIx> {
    let found = kind.point(name);
    if found.is_none() && !broken.contains(name) {
        item.unknown("unknown-point", name, "point", kind.points.iter().map(|p| &*p.name));
    }
    found
}

/// Finds a point that can be written.
pub(super) fn find_writable(
    item: &Item,
    name: &str,
    kind: &TwinType,
    broken: &BTreeSet<String>,
) -> Option<PointIx> {
    let point = find_point(item, name, kind, broken)?;
    if kind.points[point.index()].access == Access::ReadWrite {
        return Some(point);
    }
    item.scope.error_help(
        item.span,
        "not-writable",
        format!("point `{}` cannot be written", quoted(name)),
        format!("give [property.{}] access = \"rw\" if it is a setpoint", quoted(name)),
    );
    None
}

/// Reads `[command.*]`; those with problems are left out.
pub(super) fn commands(
    root: &Table,
    kind: &TwinType,
    broken: &BTreeSet<String>,
) -> Vec<CommandSpec> {
    parts(root, "command")
        .iter()
        .filter_map(|item| {
            let name = item.name(false);
            let table = item.table(root.path(&format!("command.{}", item.key)))?;
            command(name?, &table, kind, broken)
        })
        .collect()
}

fn command(
    name: &str,
    table: &Table,
    kind: &TwinType,
    broken: &BTreeSet<String>,
) -> Option<CommandSpec> {
    let title = table.text_or("title", name);
    let mut set = Vec::new();
    for item in table.map("set") {
        let Some(point) = find_writable(&item.at_key(), item.key, kind, broken) else { continue };
        let spec = &kind.points[point.index()];
        if let Some(value) = item.quantity(&spec.unit)
            && inside(&item, value, spec.range, &spec.name)
        {
            set.push((point, value));
        }
    }
    let mut args: Vec<PointIx> = Vec::new();
    for item in table.get("args").and_then(|i| i.array()).unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        let Some(point) = find_writable(&item, text, kind, broken) else { continue };
        if args.contains(&point) || set.iter().any(|(p, _)| *p == point) {
            item.error(
                "duplicate-name",
                format!("point `{}` is already in this command", quoted(text)),
            );
            continue;
        }
        args.push(point);
    }
    let role = table.get("role").map_or(Some(Role::Operator), |i| i.choice(ROLES));
    let confirm = table.get("confirm").map_or(Some(true), |i| i.flag());
    if table.get("set").is_none() && table.get("args").is_none() {
        let message = format!("{} needs `set` or `args`: it would write nothing", table.what);
        table.scope.error(table.span, "missing-key", message);
    }
    table.close();
    Some(CommandSpec {
        name: name.into(),
        title,
        set,
        args,
        role: role?,
        confirm: confirm?,
        span: table.span,
    })
}

/// Reads `[alarm.*]`; those with problems are left out.
pub(super) fn alarms(root: &Table, kind: &TwinType, broken: &BTreeSet<String>) -> Vec<AlarmSpec> {
    parts(root, "alarm")
        .iter()
        .filter_map(|item| {
            let name = item.name(false);
            let table = item.table(root.path(&format!("alarm.{}", item.key)))?;
            alarm(name?, &table, kind, broken)
        })
        .collect()
}

fn alarm(
    name: &str,
    table: &Table,
    kind: &TwinType,
    broken: &BTreeSet<String>,
) -> Option<AlarmSpec> {
    let when = table.need("when").and_then(|i| condition(&i, kind, broken));
    let priority = table.get("priority").map_or(Some(Priority::Medium), |i| i.choice(PRIORITIES));
    let delay =
        |key| table.get(key).map_or(Some(Duration::ZERO), |i| i.duration(Duration::ZERO, DAY));
    let (on_delay, off_delay) = (delay("on_delay"), delay("off_delay"));
    let (response, consequence) = (table.need_text("response"), table.need_text("consequence"));
    let deadband = table.get("deadband");
    table.close();
    let (point, compare, limit) = when?;
    let deadband = deadband.map_or(Some(0.0), |i| {
        i.difference(&kind.points[point.index()].unit).and_then(|n| i.not_negative(n))
    });
    Some(AlarmSpec {
        name: name.into(),
        point,
        compare,
        limit,
        deadband: deadband?,
        on_delay: on_delay?,
        off_delay: off_delay?,
        priority: priority?,
        response: response?,
        consequence: consequence?,
        span: table.span,
    })
}

/// Reads `level > 18`.
fn condition(
    item: &Item,
    kind: &TwinType,
    broken: &BTreeSet<String>,
) -> Option<(PointIx, Compare, f64)> {
    let SourceText { text, .. } = item.source()?;
    let parsed = text.split_once(['<', '>']).and_then(|(point, limit)| {
        let compare = if text.contains('>') { Compare::Above } else { Compare::Below };
        let (number, rest) = split(limit)?;
        rest.is_empty().then(|| (point.trim(), compare, number))
    });
    let Some((name, compare, limit)) = parsed else {
        let message = format!("`{}` is not an alarm condition", quoted(&text));
        let help = "write POINT > NUMBER or POINT < NUMBER: \"level > 18\"";
        item.scope.error_help(item.span, "bad-condition", message, help.to_owned());
        return None;
    };
    let point = find_point(item, name, kind, broken)?;
    let (low, high) = kind.points[point.index()].range;
    if !(low..=high).contains(&limit) {
        let message = format!("limit {limit} lies outside the range {low} to {high} of `{name}`");
        item.scope.warn(item.span, "limit-outside-range", message, None);
    }
    Some((point, compare, limit))
}
