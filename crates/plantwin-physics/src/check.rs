//! Everything that can be wrong with the equations of a type or a plant.
//!
//! Absent: everything that needs no equations (see [`plantwin_model::file`]).

mod spectrum;
mod stability;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use plantwin_model::{PlantSpec, Severity, TwinType};

use crate::{PlantSim, Problem, model};

/// Most different devices that are rehearsed; beyond, devices are judged at their start alone, so
/// that a plant of thousands is checked within a second.
const REHEARSAL_LIMIT: usize = 50;

/// Checks the equations of one type with its own defaults: names, dimensions, loops, its step.
pub fn check_type(kind: &TwinType) -> Vec<Problem> {
    let mut problems = model::problems(kind);
    if sound(&problems)
        && let Ok(model) = model::build(kind)
    {
        let frame = model.frame(None);
        problems.extend(stability::device(&model, &frame, None, true));
    }
    problems
}

/// Checks all equations of a plant: each type, loops of flows without state, and whether steps
/// are small enough for each device alone and for all together.
///
/// The step is judged by h |lambda| <= 2, lambda being the eigenvalues of the Jacobian: inside
/// the stability regions of both methods on the negative real axis (Euler 2, classical
/// Runge-Kutta 2.785: Hairer, Wanner: Solving Ordinary Differential Equations II, section IV.2).
/// Since lambda moves with the state, each kind of device is also rehearsed for some time with
/// its setpoints at both ends of their ranges.
pub fn check(plant: &PlantSpec) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut seen = HashSet::new();
    for device in &plant.devices {
        if seen.insert(Arc::as_ptr(&device.kind)) {
            problems.extend(model::problems(&device.kind));
        }
    }
    if !sound(&problems) {
        return problems;
    }
    let sim = match PlantSim::new(plant) {
        Ok(sim) => sim,
        Err(found) => {
            problems.extend(found);
            return problems;
        }
    };
    let mut judged = HashSet::new();
    for device in &plant.devices {
        // The twin of a physical device runs its model too, with nothing flowing in yet.
        let (model, frame) = match sim.frame(device.ix) {
            Some((model, frame)) => (model.clone(), frame.into()),
            None => match model::build(&device.kind) {
                Ok(model) => (model.clone(), model.frame(Some(device))),
                Err(_) => continue,
            },
        };
        let bits: Vec<u64> = frame.iter().map(|v| v.to_bits()).collect();
        if !judged.insert((Arc::as_ptr(&device.kind), bits)) {
            continue;
        }
        let rehearse = judged.len() <= REHEARSAL_LIMIT;
        let found = stability::device(&model, &frame, Some((plant, device)), rehearse);
        // A step that is wrong for a type is wrong for all its devices: once will do.
        let same =
            |p: &Problem, q: &Problem| (p.code, p.span, &p.file) == (q.code, q.span, &q.file);
        problems.extend(found.filter(|f| !problems.iter().any(|p| same(p, f))));
    }
    if sound(&problems) {
        problems.extend(stability::plant(plant, sim));
    }
    problems
}

fn sound(problems: &[Problem]) -> bool {
    problems.iter().all(|p| p.severity != Severity::Error)
}
