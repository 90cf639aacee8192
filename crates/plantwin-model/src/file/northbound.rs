//! Where durable telemetry goes: `[northbound]`, and whether that fits what devices promise.
//!
//! Knows no protocol, like [`super::path`]. Absent: sending.

use super::{
    Catalog,
    device::Devices,
    item::Item,
    path::{self, names},
    table::Table,
};
use crate::{Delivery, NorthboundSpec, ProtocolSchema, SettingValue};

/// Most records per second: far above what a protocol with acknowledgements carries.
const RATE_LIMIT: f64 = 1e6;
/// Records per second if the file does not say.
const RATE: f64 = 1000.0;
/// Records under way if the file does not say, and at most.
const WINDOW: (u16, i64) = (64, 1024);

/// Reads `[northbound]`, if it is there.
pub(super) fn read(root: &Table, catalog: &Catalog) -> Option<NorthboundSpec> {
    let table = root.table("northbound")?;
    let tables: Vec<(&'static ProtocolSchema, Item)> =
        table.entries().iter().filter_map(|i| Some((path::schema(catalog, i.key)?, *i))).collect();
    let rate = table.get("rate").map_or(Some(RATE), |i| {
        let rate = i.number()?;
        let fits = rate > 0.0 && rate <= RATE_LIMIT;
        if !fits {
            i.error("out-of-range", format!("`rate` must be above 0 and at most {RATE_LIMIT}"));
        }
        fits.then_some(rate)
    });
    let window = table.get("window").map_or(Some(i64::from(WINDOW.0)), |i| i.integer(1, WINDOW.1));
    let protocol = choose(&table, catalog, &tables);
    table.close_with(&names(catalog).collect::<Vec<_>>());
    let protocol = protocol?;
    let own = tables.iter().find(|(p, _)| p.name == protocol.name).map(|(_, item)| item);
    let Some(own) = own else {
        needs_addr(&table, &table.path(protocol.name));
        return None;
    };
    let settings = own.table(table.path(protocol.name))?;
    let before = root.scope.report.errors();
    let (spec, places) = path::settings_of(protocol, &settings, Delivery::Durable);
    settings.close();
    // What is already known to be wrong is not judged a second time.
    if root.scope.report.errors() == before {
        path::validate(protocol, &spec, &places, root.scope);
    }
    if !spec.settings.contains_key("addr") && !places.contains_key("addr") {
        needs_addr(&settings, &settings.what);
    }
    if spec.settings.get("qos") == Some(&SettingValue::Integer(0)) {
        let at = places.get("qos").copied().unwrap_or(settings.span);
        let message =
            "`qos` 0 is never acknowledged: what was sent could not be told from what is lost";
        root.scope.error_help(at, "bad-setting", message, "write qos = 1".to_owned());
    }
    Some(NorthboundSpec {
        protocol: protocol.name,
        settings: spec.settings,
        rate: rate?,
        window: window? as u16,
    })
}

fn needs_addr(table: &Table, what: &str) {
    let message = format!("{what} needs `addr`: plantwin's own server is no way out");
    let help = format!("add `addr = \"HOST:PORT\"` to {what}");
    table.scope.error_help(table.span, "missing-addr", message, help);
}

/// The protocol that `protocol` names, or that of the only table.
fn choose(
    table: &Table,
    catalog: &Catalog,
    tables: &[(&'static ProtocolSchema, Item)],
) -> Option<&'static ProtocolSchema> {
    let carrying = || catalog.protocols.iter().filter(|p| p.acknowledges).map(|p| p.name);
    let named = table.get("protocol");
    let (found, at) = match (named, tables) {
        (Some(item), _) => {
            let name = item.text()?;
            let Some(found) = path::schema(catalog, name) else {
                item.unknown("unknown-protocol", name, "protocol", carrying());
                return None;
            };
            for (other, item) in tables.iter().filter(|(p, _)| p.name != name) {
                let message = format!("`{}` is not the `protocol` and so never used", other.name);
                item.scope.warn(item.key_span, "unused-path", message, None);
            }
            (found, item.span)
        }
        (None, [(found, item)]) => (*found, item.key_span),
        (None, []) => {
            // A table of an unknown name is a misspelt protocol and reported as such.
            if !table.entries().iter().any(Item::is_table) {
                let first = carrying().next().unwrap_or("mqtt");
                let message = format!("{} names no protocol", table.what);
                let help = format!("add a table {} with `addr`", table.path(first));
                table.scope.error_help(table.span, "missing-key", message, help);
            }
            return None;
        }
        (None, several) => {
            let all: Vec<_> = several.iter().map(|(p, _)| format!("\"{}\"", p.name)).collect();
            let message =
                format!("{} has several protocols, and not the key `protocol`", table.what);
            let help = format!("say which: protocol = {}", all.join(" or "));
            table.scope.error_help(table.span, "missing-key", message, help);
            return None;
        }
    };
    if !found.acknowledges {
        let all: Vec<_> = carrying().collect();
        let message =
            format!("{} acknowledges nothing: durable telemetry would be lost on it", found.name);
        let help = format!("protocols that do: {}", all.join(", "));
        table.scope.error_help(at, "no-acknowledgement", message, help);
        return None;
    }
    Some(found)
}

/// Warns where promises and the way out do not fit together.
pub(super) fn check(root: &Table, devices: &Devices) {
    let durable = |d: &&super::device::Device| d.delivery == Delivery::Durable;
    let mut all = devices.list.iter().filter(durable);
    let way_out = root.get("northbound");
    match (all.next(), way_out) {
        (Some(first), None) => {
            let name = super::quantity::quoted(&first.name);
            let who = match all.count() {
                0 => format!("device `{name}` is durable"),
                more => format!("device `{name}` and {more} more are durable"),
            };
            let message = format!(
                "{who}, but the plant has no [northbound]: what they report is kept until the \
                 spool's bounds but goes nowhere"
            );
            let help = "add [northbound.PROTOCOL] with `addr`".to_owned();
            root.scope.warn(first.span, "durable-without-northbound", message, help);
        }
        (None, Some(item)) if !devices.list.is_empty() => {
            let message = "no device is durable: nothing goes northbound";
            let help = "write delivery = \"durable\" in [plant] or in a device".to_owned();
            root.scope.warn(item.key_span, "northbound-unused", message, help);
        }
        _ => {}
    }
}
