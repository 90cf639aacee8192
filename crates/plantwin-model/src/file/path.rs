//! Paths of a device: which protocols, in which order, with which settings.
//!
//! Knows no protocol: keys and kinds come from the [`ProtocolSchema`]s of the catalog.
//! Absent: finding addresses used twice (see [`super::address`]).

use std::collections::BTreeMap;

use super::{
    Catalog, device::Common, item::Item, property::find_point, quantity::quoted, suggest::suggest,
    table::Table, twin::ReadType,
};
use crate::{
    Delivery, Mode, PathSpec, ProtocolSchema, SettingKind, SettingSchema, SettingValue, Span,
    ZoneIx,
};

/// Where the settings of a path stand in the file, by key.
pub(super) type Places<'t> = BTreeMap<&'t str, Span>;

/// Reads the paths of a device in order of preference, each with the zone that it goes
/// through and where that is said.
pub(super) fn paths(
    device: &Table,
    mode: Mode,
    delivery: Delivery,
    common: &Common,
    kind: Option<&ReadType>,
) -> Vec<(PathSpec, Option<(ZoneIx, Span)>)> {
    let catalog = common.catalog;
    let schema = |name: &str| schema(catalog, name);
    let tables: Vec<(&ProtocolSchema, Item)> =
        device.entries().iter().filter_map(|i| Some((schema(i.key)?, *i))).collect();
    let mut order: Vec<(&ProtocolSchema, Span)> = Vec::new();
    let list = device.get("paths");
    if let Some(items) = list.and_then(|i| i.array()) {
        if items.is_empty() {
            no_path(device, catalog);
            return Vec::new();
        }
        for item in items {
            let Some(name) = item.text() else { continue };
            let Some(protocol) = schema(name) else {
                item.unknown("unknown-protocol", name, "protocol", names(catalog));
                continue;
            };
            if order.iter().any(|(p, _)| p.name == name) {
                item.error("duplicate-name", format!("protocol `{name}` is listed twice"));
                continue;
            }
            order.push((protocol, item.span));
        }
        for (protocol, item) in &tables {
            if !order.iter().any(|(p, _)| p.name == protocol.name) {
                let message = format!("`{}` is not in `paths` and so never used", protocol.name);
                item.scope.warn(item.key_span, "unused-path", message, None);
            }
        }
    } else if list.is_none() && tables.is_empty() {
        // A table of an unknown name is a misspelt protocol and reported as such.
        let other = |i: &Item| i.is_table() && !matches!(i.key, "start" | "param");
        if !device.entries().iter().any(other) {
            no_path(device, catalog);
        }
    } else {
        order = tables.iter().map(|(p, i)| (*p, i.span)).collect();
    }
    let mut out = Vec::new();
    for (protocol, span) in order {
        let item = tables.iter().find(|(p, _)| p.name == protocol.name).map(|(_, item)| item);
        let table = item.and_then(|i| i.table(device.path(protocol.name)));
        let via = table.as_ref().and_then(|t| t.get("via"));
        let via = via.and_then(|i| Some((common.zones.find(&i, i.text()?)?, i.span)));
        out.push((path(device, protocol, span, table.as_ref(), (mode, delivery), kind), via));
    }
    out
}

/// The protocol of a name.
pub(super) fn schema(catalog: &Catalog, name: &str) -> Option<&'static ProtocolSchema> {
    catalog.protocols.iter().copied().find(|p| p.name == name)
}

/// Names of all protocols.
pub(super) fn names<'a>(
    catalog: &Catalog<'a>,
) -> impl Iterator<Item = &'static str> + Clone + use<'a> {
    catalog.protocols.iter().map(|p| p.name)
}

fn no_path(device: &Table, catalog: &Catalog) {
    let first = names(catalog).next().unwrap_or("mqtt");
    let message = format!("{} has no path: plantwin could not reach it", device.what);
    let help = format!("add `paths = [\"{first}\"]` or a table {}", device.path(first));
    device.scope.error_help(device.span, "no-path", message, help);
}

fn path(
    device: &Table,
    protocol: &ProtocolSchema,
    listed: Span,
    table: Option<&Table>,
    (mode, delivery): (Mode, Delivery),
    kind: Option<&ReadType>,
) -> PathSpec {
    let scope = device.scope;
    let before = scope.report.errors();
    let (mut out, places) = match table {
        Some(table) => settings_of(protocol, table, delivery),
        None => (empty(protocol, listed, delivery), Places::new()),
    };
    if let Some(table) = table {
        for item in table.map("map") {
            let Some(inner) = item.table(table.path(&format!("map.{}", item.key))) else {
                continue;
            };
            let read = settings(&inner, protocol.point_settings, &mut Places::new());
            inner.close();
            let Some(kind) = kind else { continue };
            if let Some(point) = find_point(&item.at_key(), item.key, &kind.kind, &kind.broken) {
                out.points.insert(point, read);
            }
        }
        table.close();
    }
    if mode == Mode::Physical && protocol.needs_addr && !places.contains_key("addr") {
        scope.error_help(
            out.span,
            "missing-addr",
            format!("{} is physical, but its {} path has no `addr`", device.what, protocol.name),
            format!("add `addr = \"HOST:PORT\"` to {}", device.path(protocol.name)),
        );
    }
    if delivery == Delivery::Durable && out.integer("qos") == Some(0) {
        let at = places.get("qos").copied().unwrap_or(out.span);
        let message = format!(
            "{} is durable, but `qos` 0 is never acknowledged: what is lost on the way stays lost",
            device.what
        );
        scope.warn(at, "durable-qos", message, "write qos = 1, or leave it out".to_owned());
    }
    // What is already known to be wrong is not judged a second time.
    if scope.report.errors() == before {
        validate(protocol, &out, &places, scope);
    }
    out
}

/// A path without settings, but for what follows from its delivery.
fn empty(protocol: &ProtocolSchema, span: Span, delivery: Delivery) -> PathSpec {
    let mut settings = BTreeMap::new();
    // What is promised must be acknowledged, where the protocol can.
    if delivery == Delivery::Durable && protocol.settings.iter().any(|s| s.key == "qos") {
        settings.insert("qos".to_owned(), SettingValue::Integer(1));
    }
    PathSpec { protocol: protocol.name, settings, points: BTreeMap::new(), span }
}

/// The settings of a table for a protocol, not yet judged; `table` stays open.
pub(super) fn settings_of<'t>(
    protocol: &ProtocolSchema,
    table: &Table<'t, '_>,
    delivery: Delivery,
) -> (PathSpec, Places<'t>) {
    let mut out = empty(protocol, table.span, delivery);
    let mut places = Places::new();
    out.settings.append(&mut settings(table, protocol.settings, &mut places));
    (out, places)
}

/// Lets the protocol judge the settings of a path.
pub(super) fn validate(
    protocol: &ProtocolSchema,
    path: &PathSpec,
    places: &Places,
    scope: &super::parse::Scope,
) {
    for (key, message) in (protocol.validate)(path) {
        let span = places.get(key.as_str()).copied().unwrap_or(path.span);
        let message =
            if key.is_empty() { message } else { format!("`{}`: {message}", quoted(&key)) };
        scope.error(span, "bad-setting", message);
    }
}

fn settings<'t>(
    table: &Table<'t, '_>,
    schemas: &[SettingSchema],
    places: &mut Places<'t>,
) -> BTreeMap<String, SettingValue> {
    let mut out = BTreeMap::new();
    for schema in schemas {
        let Some(item) = table.get(schema.key) else { continue };
        places.insert(item.key, item.span);
        let value = match schema.kind {
            SettingKind::Text => item.text().map(|t| SettingValue::Text(t.to_owned())),
            SettingKind::Integer(low, high) => item.integer(low, high).map(SettingValue::Integer),
            SettingKind::Number => item.number().map(SettingValue::Number),
            SettingKind::Flag => item.flag().map(SettingValue::Flag),
        };
        if let Some(value) = value {
            out.insert(schema.key.to_owned(), value);
        }
    }
    out
}

/// Reads `[listen]`: where the embedded servers listen.
pub(super) fn listen(root: &Table, catalog: &Catalog) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for item in root.map("listen") {
        if !names(catalog).any(|n| n == item.key) {
            let help = suggest(item.scope.report, item.key, "protocols", names(catalog));
            let message = format!("unknown protocol `{}`", quoted(item.key));
            item.scope.error_help(item.key_span, "unknown-protocol", message, help);
            continue;
        }
        let Some(address) = item.text() else { continue };
        if address.parse::<std::net::SocketAddr>().is_err() {
            item.scope.error_help(
                item.span,
                "bad-address",
                format!("`{}` is not an address to listen on", quoted(address)),
                "write IP:PORT: \"127.0.0.1:1883\", or port 0 for a free one".to_owned(),
            );
            continue;
        }
        out.insert(item.key.to_owned(), address.to_owned());
    }
    out
}
