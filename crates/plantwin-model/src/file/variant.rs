//! Variants: named sets of overrides, one of which is applied.
//!
//! Absent: overrides of anything but parameters and start values.

use super::{
    device::{Devices, set_param, set_start},
    item::Item,
    quantity::quoted,
    suggest::suggest,
    table::Table,
};
use crate::DeviceSpec;

/// Reads `[variant.*]`, checks them all and applies `chosen`; gives their names.
pub(super) fn apply(
    root: &Table,
    devices: &mut Devices,
    chosen: Option<&str>,
    wanted_at: crate::Span,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in root.map("variant") {
        item.name(true);
        names.push(item.key.to_owned());
        let Some(table) = item.table(root.path(&format!("variant.{}", item.key))) else { continue };
        for (name, value) in dotted(&table) {
            one(devices, &name, &value, chosen == Some(item.key));
        }
    }
    if let Some(name) = chosen
        && !names.iter().any(|n| n == name)
    {
        let help = suggest(root.scope.report, name, "variants", names.iter().map(String::as_str));
        let message = format!("unknown variant `{}`", quoted(name));
        root.scope.error_help(wanted_at, "unknown-variant", message, help);
    }
    names
}

fn one(devices: &mut Devices, name: &str, value: &Item, apply: bool) {
    let Some((device, member)) = devices.member(&value.at_key(), name) else { return };
    let device = &mut devices.list[device];
    let (Some(kind), Some(spec)) = (device.kind.clone(), device.spec.as_mut()) else { return };
    // A variant that is not applied is checked on a copy.
    let mut copy: Option<DeviceSpec> = (!apply).then(|| spec.clone());
    let spec = copy.as_mut().unwrap_or(spec);
    if set_param(spec, &kind, value, member) {
        return;
    }
    if kind.kind.point(member).is_some() {
        set_start(spec, &kind, value, member);
        return;
    }
    if !kind.is_sound() {
        return;
    }
    let params = kind.kind.model.iter().flat_map(|m| &m.params).map(|p| &*p.name);
    let known = params.chain(kind.kind.points.iter().map(|p| &*p.name));
    let help = suggest(value.scope.report, member, "parameters and points", known);
    let message =
        format!("type `{}` has no parameter or point `{}`", kind.kind.name, quoted(member));
    value.scope.error_help(value.key_span, "unknown-param", message, help);
}

/// The entries of a table as `DEVICE.NAME` and value, whether written `"tank1.level" = 1` or,
/// without quotes, `tank1.level = 1`.
pub(super) fn dotted<'t, 'i>(table: &Table<'t, 'i>) -> Vec<(String, Item<'t, 'i>)> {
    let mut out = Vec::new();
    for item in table.entries() {
        if !item.is_table() {
            out.push((item.key.to_owned(), item));
        } else if let Some(inner) = item.table(table.path(item.key)) {
            for member in inner.entries() {
                out.push((format!("{}.{}", item.key, member.key), member));
            }
        }
    }
    out
}
