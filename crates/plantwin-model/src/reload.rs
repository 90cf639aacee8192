//! What of a changed plant file a running plant takes: the policy, its users and the conduits.
//!
//! Absent: putting it in force.

use std::{collections::BTreeMap, fmt::Debug};

use crate::{
    ConduitSpec, DeviceSpec, FlowSpec, GrantSpec, ObjectGlob, PlantSpec, TwinType, Who, ZoneIx,
    policy,
};

/// Most things that are named one by one.
const NAMED: usize = 8;

impl PlantSpec {
    /// This plant with the policy and the conduits of `file`, and what else differs between the
    /// two, for people. A conduit of a zone that this plant does not have is left out and named.
    ///
    /// Fails, as a lowercase fragment, if `file` is of another plant or lacks a conduit that a
    /// flow of this plant needs: flows cannot be changed while they run.
    pub fn with_policy_of(&self, file: &Self) -> Result<(Self, Vec<String>), String> {
        if self.name != file.name {
            return Err(format!("{} is of plant {}, and {} runs", file.file, file.name, self.name));
        }
        let mut left = Vec::new();
        let zone = |ix: ZoneIx| {
            let name = file.zones.get(ix.index()).map(|z| &z.id);
            self.zones.iter().position(|z| Some(&z.id) == name).map(|at| ZoneIx(at as u16))
        };
        let mut conduits = Vec::with_capacity(file.conduits.len());
        for conduit in &file.conduits {
            match (zone(conduit.from), zone(conduit.to)) {
                (Some(from), Some(to)) => {
                    conduits.push(ConduitSpec { from, to, ..conduit.clone() });
                }
                _ => left.push(format!("the conduit at line {} (a new zone)", conduit.line)),
            }
        }
        let mut plant =
            Self { policy: file.policy.clone(), conduits, file: file.file.clone(), ..self.clone() };
        for flow in &plant.flows {
            let (giver, taker) =
                (&plant.devices[flow.from.index()], &plant.devices[flow.to.index()]);
            let (from, to) = (giver.zone, taker.zone);
            let carried = from == to
                || plant.conduits.iter().any(|c| c.carries(from, to, None, crate::Action::Read));
            if !carried {
                let [from, to] = [from, to].map(|z| &plant.zones[z.index()].id);
                return Err(format!(
                    "the running flow from {} to {} needs a conduit from {from} to {to} for \
                     \"read\"; keep it, or restart the plant without the flow",
                    giver.id, taker.id
                ));
            }
        }
        if let Some(flow) = plant.flows_without_grant().next() {
            let [from, to] = [flow.from, flow.to].map(|ix| &plant.devices[ix.index()].id);
            return Err(format!(
                "the running flow from {from} to {to} needs a grant of \"write\" to \
                 device:{from}, since the file grants something to devices; add it, or restart the \
                 plant without the flow"
            ));
        }
        for (zone, spec) in plant.zones.iter_mut().zip(&self.zones) {
            zone.peers.clone_from(&spec.peers);
        }
        differences(self, file, &mut left);
        Ok((plant, left))
    }
}

impl PlantSpec {
    /// Flows that no grant lets run at any time: once something is granted to devices, each needs
    /// one to `write` to the device that takes it.
    pub fn flows_without_grant(&self) -> impl Iterator<Item = &FlowSpec> {
        let grants = self.policy.grants.as_deref().unwrap_or_default();
        let to_devices = |grant: &GrantSpec| grant.who.iter().any(|w| matches!(w, Who::Device(_)));
        let named = grants.iter().any(to_devices);
        let granted = |flow: &FlowSpec| {
            let from = self.devices[flow.from.index()].id.as_str();
            let taker = &self.devices[flow.to.index()];
            let zone = self.zones[taker.zone.index()].id.as_str();
            grants.iter().any(|grant| {
                let mine = |who: &Who| matches!(who, Who::Device(glob) if policy::glob(glob, from));
                let whole = |on: &ObjectGlob| {
                    policy::glob(&on.zone, zone)
                        && policy::glob(&on.device, taker.id.as_str())
                        && on.point.bytes().all(|b| b == b'*')
                };
                grant.actions.contains(crate::Action::Write)
                    && !grant.two_persons
                    && grant.who.iter().any(mine)
                    && grant.on.iter().any(whole)
            })
        };
        self.flows.iter().filter(move |flow| named && !granted(flow))
    }
}

fn differences(running: &PlantSpec, file: &PlantSpec, left: &mut Vec<String>) {
    let mut part = |what: &str, a: &dyn Debug, b: &dyn Debug| {
        if without_places(a) != without_places(b) {
            left.push(what.to_owned());
        }
    };
    part("[plant]", &head(running), &head(file));
    part("[listen]", &running.listen, &file.listen);
    part("[supervision]", &running.supervision, &file.supervision);
    part("[spool]", &running.spool, &file.spool);
    part("[northbound]", &running.northbound, &file.northbound);
    part("[[scenario]]", &running.scenario, &file.scenario);
    part("[[flow]]", &flows(running), &flows(file));
    let zones = |plant: &PlantSpec| {
        let zone = |z: &crate::ZoneSpec| {
            (z.id.to_string(), without_places(&(&z.title, z.sl_t, z.plain, &z.supervision)))
        };
        plant.zones.iter().map(zone).collect()
    };
    named("zone", zones(running), zones(file), left);
    let devices = |plant: &PlantSpec| {
        let device = |d: &std::sync::Arc<DeviceSpec>| (d.id.to_string(), device_text(plant, d));
        plant.devices.iter().map(device).collect()
    };
    named("device", devices(running), devices(file), left);
    named("type", types(running), types(file), left);
}

fn head(plant: &PlantSpec) -> impl Debug {
    (&plant.title, &plant.site, plant.seed, plant.step, &plant.variant)
}

fn flows(plant: &PlantSpec) -> Vec<String> {
    let id = |ix: crate::DeviceIx| &plant.devices[ix.index()].id;
    let flow =
        |f: &crate::FlowSpec| format!("{} {:?} {} {}", id(f.from), f.source, id(f.to), f.input);
    plant.flows.iter().map(flow).collect()
}

/// What the file says of a device but for its name and its type's content.
fn device_text(plant: &PlantSpec, device: &DeviceSpec) -> String {
    let zone = |ix: ZoneIx| plant.zones.get(ix.index()).map(|z| z.id.clone());
    let via: Vec<_> = device.via.iter().map(|via| via.and_then(zone)).collect();
    without_places(&(
        (&device.kind.name, zone(device.zone), device.mode, device.identity, device.period),
        (&device.start, &device.params, &device.paths, via, device.delivery),
        (device.budget_joules, &device.energy_profile),
    ))
}

fn types(plant: &PlantSpec) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for device in &plant.devices {
        let kind: &TwinType = &device.kind;
        out.entry(kind.name.clone()).or_insert_with(|| without_places(kind));
    }
    out
}

/// Names what is added, gone or changed.
fn named(
    what: &str,
    running: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    left: &mut Vec<String>,
) {
    let gone = running.keys().filter(|name| !file.contains_key(*name));
    let gone = gone.map(|name| format!("{what} {name} (gone)"));
    let other = file.iter().filter_map(|(name, text)| match running.get(name) {
        None => Some(format!("{what} {name} (new)")),
        Some(before) if before != text => Some(format!("{what} {name} (changed)")),
        Some(_) => None,
    });
    let all: Vec<String> = gone.chain(other).collect();
    let more = all.len().saturating_sub(NAMED);
    left.extend(all.into_iter().take(NAMED));
    if more > 0 {
        left.push(format!("{more} more {what}s"));
    }
}

/// The debug form with every place in a file blanked, so that only meaning is compared.
fn without_places(what: &(impl Debug + ?Sized)) -> String {
    const SPAN: &str = "Span { start: ";
    let text = format!("{what:?}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(SPAN) {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once('}').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}
