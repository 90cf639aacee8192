//! Conduits: what may cross from zone to zone, and what wants to cross without one.
//!
//! Absent: the short form `peers` (see [`super::zone`]), enforcing any of it at run time.

use super::{
    Catalog,
    item::Item,
    path,
    policy::{actions, rate, words},
    quantity::quoted,
    table::Table,
    zone::Zones,
};
use crate::{Access, Action, Actions, ConduitSpec, DeviceSpec, Span, ZoneIx};

/// Most `[[conduit]]`s of one plant.
const CONDUIT_LIMIT: usize = 10_000;

/// Reads `[[conduit]]` and adds what it says to the zones.
pub(super) fn read(root: &Table, zones: &mut Zones, catalog: &Catalog) {
    let tables = root.tables("conduit");
    if let Some(first) = tables.get(CONDUIT_LIMIT) {
        let message = format!("more than {CONDUIT_LIMIT} conduits");
        first.scope.error(first.span, "too-many", message);
    }
    for table in tables.iter().take(CONDUIT_LIMIT) {
        let end = |key| table.need(key).and_then(|i| zones.find(&i, i.text()?).map(|z| (i, z)));
        let (from, to) = (end("from"), end("to"));
        let protocols = table.get("protocols").map(|i| protocols(&i, catalog));
        let actions = table.get("actions").map_or(Some(Actions::ALL), |i| actions(&i));
        let max_rate = table.get("max_rate").map(|i| rate(&i));
        table.close();
        let (Some((_, from)), Some((at, to)), Some(actions)) = (from, to, actions) else {
            continue;
        };
        if from == to {
            let message = "a conduit joins two zones, and this one begins where it ends";
            at.error("bad-value", message);
            continue;
        }
        zones.conduits.push(ConduitSpec {
            from,
            to,
            protocols,
            actions,
            max_rate: max_rate.flatten(),
            line: table.scope.report.line(&table.scope.file, table.span.start),
            span: table.span,
        });
    }
}

fn protocols(item: &Item, catalog: &Catalog) -> Vec<&'static str> {
    let mut out: Vec<&'static str> = Vec::new();
    for (item, name) in words(item).unwrap_or_default() {
        match path::schema(catalog, name) {
            Some(protocol) => out.push(protocol.name),
            None => item.unknown("unknown-protocol", name, "protocol", path::names(catalog)),
        }
    }
    out
}

/// Reports a path through another zone to which no conduit leads, and one on which commands
/// cannot come back.
pub(super) fn check_path(
    table: &Table,
    zones: &Zones,
    device: &DeviceSpec,
    protocol: &'static str,
    (via, span): (ZoneIx, Span),
) {
    if via == device.zone {
        return;
    }
    let carries = |from, to, action| {
        zones.conduits.iter().any(|c| c.carries(from, to, Some(protocol), action))
    };
    let name = |zone: ZoneIx| quoted(zones.list[zone.index()].id.as_str());
    let (own, other) = (name(device.zone), name(via));
    if !carries(device.zone, via, Action::Read) {
        let message = format!(
            "the {protocol} path of {} goes via zone `{other}`, but no conduit from `{own}` lets it",
            table.what
        );
        let help = format!(
            "add [[conduit]] from = \"{own}\" to = \"{other}\" protocols = [\"{protocol}\"]"
        );
        table.scope.error_help(span, "no-conduit", message, help);
        return;
    }
    let written = device.kind.points.iter().any(|p| p.access == Access::ReadWrite);
    if written
        && !carries(via, device.zone, Action::Command)
        && !carries(via, device.zone, Action::Write)
    {
        let message = format!(
            "no conduit lets commands come from zone `{other}`: on its {protocol} path {} only \
             reports",
            table.what
        );
        let help = format!(
            "add [[conduit]] from = \"{other}\" to = \"{own}\" actions = [\"write\", \"command\"], \
             if it is to be commanded there"
        );
        table.scope.warn(span, "no-conduit-back", message, help);
    }
}
