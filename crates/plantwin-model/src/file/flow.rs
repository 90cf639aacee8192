//! Flows between the models of devices.
//!
//! Absent: loops without state (the physics layer orders the equations).

use std::collections::HashSet;

use super::{
    device::Devices, item::Item, parse::Scope, quantity::quoted, table::Table, zone::Zones,
};
use crate::{DeviceIx, FlowSource, FlowSpec, Mode, Unit};

/// Reads `[[flow]]`.
pub(super) fn read(root: &Table, devices: &Devices, zones: &Zones) -> Vec<FlowSpec> {
    let mut out = Vec::new();
    let mut seen = HashSet::new();
    let mut complete = true;
    for table in root.tables("flow") {
        let (from, to) = (table.need("from"), table.need("to"));
        table.close();
        let giver = from.and_then(|i| devices.member(&i, i.text()?));
        let taker = to.and_then(|i| devices.member(&i, i.text()?));
        let source = from.zip(giver).and_then(|(i, (d, name))| source(&i, devices, d, name));
        let input = to.zip(taker).and_then(|(i, (d, name))| input(&i, devices, d, name));
        let (Some((from_ix, from_name)), Some((to_ix, to_name))) = (giver, taker) else {
            complete = false;
            continue;
        };
        conduit(&table, devices, zones, from_ix, to_ix);
        let (Some((source, gives)), Some((input, takes)), Some(from)) = (source, input, from)
        else {
            complete = false;
            continue;
        };
        if gives.dimension() != takes.dimension() {
            let message = format!(
                "`{}` gives `{gives}` (dimension {}), but input `{}` takes `{takes}` (dimension {})",
                quoted(from_name),
                gives.dimension(),
                quoted(to_name),
                takes.dimension()
            );
            from.error("wrong-dimension", message);
        }
        if !seen.insert((from_ix, source, to_ix, input)) {
            let message = "the same flow is listed twice and counts twice";
            table.scope.warn(table.span, "duplicate-flow", message, None);
        }
        let (from, to) = (DeviceIx(from_ix as u32), DeviceIx(to_ix as u32));
        out.push(FlowSpec { from, source, to, input, span: table.span });
    }
    if complete {
        // A flow that could not be read may be the one that feeds.
        unfed(root.scope, devices, &out);
    }
    out
}

fn source<'d>(
    item: &Item,
    devices: &'d Devices,
    device: usize,
    name: &str,
) -> Option<(FlowSource, &'d Unit)> {
    let kind = devices.list[device].kind.as_ref()?;
    let outputs = kind.kind.model.as_ref().map_or(&[][..], |m| &m.outputs);
    if let Some(place) = outputs.iter().position(|o| &*o.name == name) {
        return Some((FlowSource::Output(place as u16), &outputs[place].unit));
    }
    if let Some(point) = kind.kind.point(name) {
        return Some((FlowSource::Point(point), &kind.kind.points[point.index()].unit));
    }
    if kind.is_sound() {
        let known = outputs.iter().map(|o| &*o.name);
        let known = known.chain(kind.kind.points.iter().map(|p| &*p.name));
        item.unknown("unknown-output", name, "output", known);
    }
    None
}

fn input<'d>(
    item: &Item,
    devices: &'d Devices,
    device: usize,
    name: &str,
) -> Option<(u16, &'d Unit)> {
    let kind = devices.list[device].kind.as_ref()?;
    let inputs = kind.kind.model.as_ref().map_or(&[][..], |m| &m.inputs);
    let place = inputs.iter().position(|i| &*i.name == name);
    if place.is_none() && kind.is_sound() {
        item.unknown("unknown-input", name, "input", inputs.iter().map(|i| &*i.name));
    }
    place.map(|p| (p as u16, &inputs[p].unit))
}

/// Reports a flow between zones that no conduit joins.
fn conduit(table: &Table, devices: &Devices, zones: &Zones, from: usize, to: usize) {
    let (from, to) = (&devices.list[from], &devices.list[to]);
    let (Some(from_zone), Some(to_zone)) = (from.zone, to.zone) else { return };
    if zones.joined(from_zone, to_zone) {
        return;
    }
    let (giving, taking) = (&zones.list[from_zone.index()], &zones.list[to_zone.index()]);
    let message = format!("no conduit lets zone `{}` receive from zone `{}`", taking.id, giving.id);
    let both = |c: &&crate::ConduitSpec| (c.from, c.to) == (from_zone, to_zone);
    if let Some(conduit) = zones.conduits.iter().find(both) {
        let help = format!("add \"read\" to the actions of the conduit at line {}", conduit.line);
        table.scope.error_help(table.span, "no-conduit", message, help);
        return;
    }
    let mut peers: Vec<_> =
        giving.peers.iter().take(4).map(|p| format!("\"{}\"", zones.list[p.index()].id)).collect();
    if giving.peers.len() > 4 {
        peers.push("...".into());
    }
    peers.push(format!("\"{}\"", taking.id));
    let help = format!("write `peers = [{}]` in [zone.{}]", peers.join(", "), giving.id);
    table.scope.error_help(table.span, "no-conduit", message, help);
}

/// Warns of inputs of simulated devices that stay at a value nobody chose.
fn unfed(scope: &Scope, devices: &Devices, flows: &[FlowSpec]) {
    let fed: HashSet<(usize, u16)> = flows.iter().map(|f| (f.to.index(), f.input)).collect();
    for (ix, device) in devices.list.iter().enumerate() {
        let Some(kind) = device.kind.as_ref().filter(|_| device.mode == Mode::Simulated) else {
            continue;
        };
        let inputs = kind.kind.model.iter().flat_map(|m| &m.inputs);
        for (place, (input, default)) in inputs.zip(&kind.input_has_default).enumerate() {
            if *default || fed.contains(&(ix, place as u16)) {
                continue;
            }
            let name = format!("{}.{}", quoted(&device.name), input.name);
            let message = format!("no flow feeds input `{name}`: it stays 0");
            let help = format!("add a [[flow]] to = \"{name}\", or a default to the type's input");
            scope.warn(device.span, "unfed-input", message, help);
        }
    }
}
