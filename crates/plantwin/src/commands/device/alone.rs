//! A plant as one of its devices sees it: everything else is somewhere else.
//!
//! Absent: running it.

use std::sync::Arc;

use plantwin_adapter::Registry;
use plantwin_model::{DeviceIx, Identity, Mode, PathSpec, PlantSpec, ScenarioAction, SettingValue};

use super::args::RunArgs;
use crate::exit::{Code, Failure};

/// Leaves the one device to be played, on the paths that are wanted and at their addresses.
pub(super) fn alone(
    mut plant: PlantSpec,
    args: &RunArgs,
    registry: &Registry,
) -> Result<(PlantSpec, DeviceIx), Failure> {
    let found = plant.devices.iter().position(|d| d.id.as_str() == args.device);
    let Some(at) = found else {
        let known: Vec<&str> = plant.devices.iter().map(|d| d.id.as_str()).take(20).collect();
        return Err(Code::Usage.failure(format!(
            "{} has no device {}; it has {}",
            args.plant.display(),
            args.device,
            known.join(", ")
        )));
    };
    for (ix, device) in plant.devices.iter_mut().enumerate() {
        Arc::make_mut(device).mode = if ix == at { Mode::Simulated } else { Mode::Physical };
    }
    let device = &plant.devices[at];
    if device.identity != Identity::Native {
        return Err(Code::Config.failure(format!(
            "{} is not native in {}: write `identity = \"native\"` under [device.{}]",
            args.device,
            args.plant.display(),
            args.device
        )));
    }
    let ix = device.ix;
    if let Some(wanted) = &args.path {
        keep_path(&mut plant, ix, wanted, args)?;
    }
    let device = Arc::make_mut(&mut plant.devices[at]);
    let has_hub = |protocol: &str| {
        // Nothing starts before it is awaited.
        registry.get(protocol).is_some_and(|p| p.start_hub(None, Vec::new()).is_some())
    };
    let (mut joined, mut served) = (0, 0);
    for path in &mut device.paths {
        let address = if has_hub(path.protocol) {
            joined += 1;
            args.hub.clone()
        } else {
            served += 1;
            args.listen.map(|a| a.to_string())
        };
        if let Some(address) = address {
            path.settings.insert("addr".to_owned(), SettingValue::Text(address));
        }
    }
    if args.listen.is_some() && served != 1 {
        return Err(Code::Usage.failure(format!(
            "--listen is for one path that listens, and {} has {served}: choose one by --path",
            args.device
        )));
    }
    if args.hub.is_some() && joined == 0 {
        return Err(Code::Usage.failure(format!("no path of {} joins a broker", args.device)));
    }
    let listens = &plant.listen;
    let is_homeless = |p: &&PathSpec| {
        p.text("addr").is_none() && !has_hub(p.protocol) && !listens.contains_key(p.protocol)
    };
    if let Some(path) = device.paths.iter().find(is_homeless) {
        return Err(Code::Config.failure(format!(
            "the plant would not find {0}: write `addr` under [device.{0}.{1}], or name where to \
             listen by --listen",
            args.device, path.protocol
        )));
    }
    Ok((plant, ix))
}

/// Takes all other paths of the device away, and what the scenario does to them.
fn keep_path(
    plant: &mut PlantSpec,
    ix: DeviceIx,
    wanted: &str,
    args: &RunArgs,
) -> Result<(), Failure> {
    let device = Arc::make_mut(&mut plant.devices[ix.index()]);
    let Some(rank) = device.paths.iter().position(|p| p.protocol == wanted) else {
        let known: Vec<&str> = device.paths.iter().map(|p| p.protocol).collect();
        return Err(Code::Usage.failure(format!(
            "{} has no path {wanted}; it has {}",
            args.device,
            known.join(", ")
        )));
    };
    device.paths = vec![device.paths.swap_remove(rank)];
    device.via = device.via.get(rank).copied().into_iter().collect();
    plant.scenario.retain_mut(|step| match &mut step.action {
        ScenarioAction::PathDown { device, path, .. } if *device == ix => {
            let kept = usize::from(*path) == rank;
            *path = 0;
            kept
        }
        _ => true,
    });
    Ok(())
}
