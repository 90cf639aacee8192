//! A plant file as a whole: `[plant]`, then everything else in the order of its references.
//!
//! Absent: the parts themselves, each of which has its module.

use std::time::Duration;

use super::{
    Catalog, ReadOptions, address, conduit,
    device::{Common, Devices, PERIOD},
    flow,
    model::STEP,
    northbound,
    parse::Scope,
    path, policy,
    quantity::show,
    scenario,
    table::Table,
    types::Types,
    upkeep, variant,
    zone::Zones,
};
use crate::{Delivery, PlantSpec, SupervisionSpec};

/// Default report period.
const DEFAULT_PERIOD: Duration = Duration::from_secs(1);

/// Step of a plant in which no type has a model.
const DEFAULT_STEP: Duration = Duration::from_millis(100);

/// Reads a plant; what is missing in the result was reported.
pub(super) fn read(
    scope: &Scope,
    root: Table,
    catalog: &Catalog,
    options: &ReadOptions,
    types: &mut Types,
) -> Option<PlantSpec> {
    let head = root.table("plant");
    if head.is_none() && root.get("plant").is_none() {
        let help = "begin with [plant] and name = \"my-plant\"".to_owned();
        scope.error_help(root.span, "missing-key", "a plant file needs [plant]", help);
    }
    let (mut name, mut title, mut site) = (None, String::new(), String::new());
    let (mut seed, mut step, mut period, mut variant) = (1, None, DEFAULT_PERIOD, None);
    let mut delivery = Delivery::Latest;
    let (mut at, mut variant_at) = (root.span, root.span);
    if let Some(head) = head {
        at = head.span;
        name = head.need("name").and_then(|i| i.text_name(true));
        title = head.text_or("title", name.unwrap_or_default());
        site = head.text_or("site", "");
        if let Some(given) = head.get("seed").and_then(|i| i.integer(0, i64::MAX)) {
            seed = given as u64;
        }
        step = head.get("step").and_then(|i| i.duration(STEP.0, STEP.1));
        if let Some(given) = head.get("period").and_then(|i| i.duration(PERIOD.0, PERIOD.1)) {
            period = given;
        }
        delivery = upkeep::delivery(&head).unwrap_or_default();
        if let Some(item) = head.get("variant") {
            variant = item.text().map(str::to_owned);
            variant_at = item.span;
        }
        head.close();
    }
    if let Some(given) = options.step {
        if given < STEP.0 || given > STEP.1 {
            let message = format!("step must lie within {} and {}", show(STEP.0), show(STEP.1));
            scope.error(at, "out-of-range", message);
        }
        step = Some(given);
    }
    if let Some(given) = &options.variant {
        variant = Some(given.clone());
        variant_at = at;
    }
    let default = SupervisionSpec::default();
    let supervision = upkeep::supervision(&root, &default).unwrap_or(default);
    let mut zones = Zones::read(&root, &supervision);
    conduit::read(&root, &mut zones, catalog);
    types.read_inline(&root);
    let common = Common { catalog, zones: &zones, period, delivery, simulate: &options.simulate };
    let mut devices = Devices::read(&root, &common, types);
    if devices.list.is_empty() {
        let message = "the plant has no device: add [device.NAME]";
        scope.warn(at, "no-device", message, None);
    }
    let variants = variant::apply(&root, &mut devices, variant.as_deref(), variant_at);
    let flows = flow::read(&root, &devices, &zones);
    let scenario = scenario::read(&root, &devices);
    let listen = path::listen(&root, catalog);
    let spool = upkeep::spool(&root);
    let policy = policy::read(&root, &devices, &zones);
    let northbound = northbound::read(&root, catalog);
    northbound::check(&root, &devices);
    root.close();
    address::check(scope, &devices, catalog);

    let count = devices.list.len();
    let devices: Vec<_> = devices.list.into_iter().filter_map(|d| d.spec).collect();
    let model_steps = devices.iter().filter_map(|d| Some(d.kind.model.as_ref()?.step));
    let step = step.or_else(|| model_steps.min()).unwrap_or(DEFAULT_STEP);
    let complete = devices.len() == count;
    let plant = Some(PlantSpec {
        name: name?.to_owned(),
        file: scope.file.clone(),
        title,
        site,
        seed,
        step,
        variant,
        variants,
        zones: zones.list,
        policy,
        conduits: zones.conduits,
        devices: devices.into_iter().map(std::sync::Arc::new).collect(),
        flows,
        scenario,
        listen,
        supervision,
        spool,
        northbound,
    });
    let plant = plant.filter(|_| complete)?;
    for flow in plant.flows_without_grant() {
        let [from, to] = [flow.from, flow.to].map(|ix| &plant.devices[ix.index()].id);
        let message = format!("no grant lets {from} feed {to}: the flow carries nothing");
        let help = format!(
            "the policy grants something to devices, so each flow needs a grant: add one with \
             who = \"device:{from}\", action = \"write\" on {to}"
        );
        scope.warn(flow.span, "no-grant", message, help);
    }
    Some(plant)
}
