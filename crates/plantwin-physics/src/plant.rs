//! All simulated devices of a plant, moved together.
//!
//! The states of all devices are one system of equations, so that coupled devices are as exact
//! as a single one. Absent: noise and faults (see [`crate::Sensor`]), pace (who steps decides).

mod order;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fmt, ops::Range, sync::Arc, time::Duration};

use plantwin_model::{DeviceIx, FlowSource, Method, Mode, PlantSpec, PointIx, TwinType};

use crate::{
    Model, Problem, model,
    solver::{self, System},
};

/// The coupled simulation of a plant's simulated devices.
///
/// Time is a whole number of ticks; a tick is the plant's step, divided evenly where a model
/// wants a shorter one. Between ticks everything is evaluated: points, outputs and derivatives
/// belong to the same instant. Values that are not finite are not taken in; a state whose next
/// value would not be finite keeps its value, and its device is reported by
/// [`PlantSim::is_finite`].
#[derive(Clone)]
pub struct PlantSim {
    core: Core,
    tick_ns: u64,
    substeps: u64,
    method: Method,
    ticks: u64,
    held_steps: u64,
}

/// One simulated device.
#[derive(Clone)]
pub(crate) struct Unit {
    pub(crate) model: Arc<Model>,
    /// Place of its frame among all values.
    pub(crate) frame: Range<usize>,
}

/// A piece of work of one evaluation.
#[derive(Clone, Debug)]
enum Job {
    /// Runs code of a unit's model on its frame.
    Run { unit: u32, code: Range<u32> },
    /// Sums what flows into an input.
    Sum { to: usize, sources: Range<u32> },
}

/// Where a state and what belongs to it lie among all values.
#[derive(Clone, Copy, Debug)]
struct StateRef {
    unit: u32,
    state: usize,
    slope: usize,
    start: usize,
    sum: usize,
}

/// Everything that moves.
#[derive(Clone)]
struct Core {
    values: Vec<f64>,
    units: Vec<Unit>,
    /// By device; `None` if it is not simulated.
    unit_of: Vec<Option<u32>>,
    jobs: Vec<Job>,
    /// Places of what flows, as [`Job::Sum`] lists it.
    sources: Vec<usize>,
    states: Vec<StateRef>,
    /// Places of `t` where equations use it.
    clocks: Vec<usize>,
    /// By unit: whether no state was held in the last tick.
    finite: Vec<bool>,
}

impl fmt::Debug for PlantSim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlantSim")
            .field("devices", &self.core.units.len())
            .field("states", &self.core.states.len())
            .field("ticks", &self.ticks)
            .finish_non_exhaustive()
    }
}

impl System for Core {
    fn count(&self) -> usize {
        self.states.len()
    }

    fn state(&mut self, i: usize) -> &mut f64 {
        &mut self.values[self.states[i].state]
    }

    fn slope(&self, i: usize) -> f64 {
        self.values[self.states[i].slope]
    }

    fn start(&mut self, i: usize) -> &mut f64 {
        &mut self.values[self.states[i].start]
    }

    fn sum(&mut self, i: usize) -> &mut f64 {
        &mut self.values[self.states[i].sum]
    }

    fn evaluate(&mut self, time: f64) {
        for clock in &self.clocks {
            self.values[*clock] = time;
        }
        for job in &self.jobs {
            match job {
                Job::Run { unit, code } => {
                    let unit = &self.units[*unit as usize];
                    let frame = &mut self.values[unit.frame.clone()];
                    unit.model.evaluate_part(frame, code.start as usize..code.end as usize);
                }
                Job::Sum { to, sources } => {
                    let sources = &self.sources[sources.start as usize..sources.end as usize];
                    self.values[*to] = sources.iter().map(|s| self.values[*s]).sum();
                }
            }
        }
    }

    fn held(&mut self, i: usize) {
        self.finite[self.states[i].unit as usize] = false;
    }
}

impl PlantSim {
    /// The plant at its start. Fails on what [`crate::compile`] finds in a type and on loops
    /// without state; whether steps are small enough is [`crate::check`]'s to say.
    pub fn new(plant: &PlantSpec) -> Result<Self, Vec<Problem>> {
        let mut models: HashMap<*const TwinType, Arc<Model>> = HashMap::new();
        let mut problems = Vec::new();
        for device in plant.devices.iter().filter(|d| d.mode == Mode::Simulated) {
            let key = Arc::as_ptr(&device.kind);
            if models.contains_key(&key) {
                continue;
            }
            match model::build(&device.kind) {
                Ok(model) => drop(models.insert(key, model)),
                Err(found) => {
                    // A type of many devices is wrong once.
                    problems.extend(
                        found.into_iter().filter(|p| !problems.contains(p)).collect::<Vec<_>>(),
                    );
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (mut units, mut values, mut unit_of) = (Vec::new(), Vec::new(), Vec::new());
        for device in &plant.devices {
            let model = models.get(&Arc::as_ptr(&device.kind));
            let Some(model) = model.filter(|_| device.mode == Mode::Simulated) else {
                unit_of.push(None);
                continue;
            };
            unit_of.push(Some(units.len() as u32));
            let first = values.len();
            values.extend_from_slice(&model.frame(Some(device)));
            units.push(Unit { model: model.clone(), frame: first..values.len() });
        }
        let (jobs, sources) = order::schedule(plant, &units, &unit_of).map_err(|p| vec![p])?;
        let core = Core {
            states: states(&units),
            clocks: units
                .iter()
                .filter(|u| u.model.uses_time)
                .map(|u| u.frame.start + u.model.time_register())
                .collect(),
            finite: vec![true; units.len()],
            values,
            units,
            unit_of,
            jobs,
            sources,
        };
        Ok(Self::start(plant, core))
    }

    fn start(plant: &PlantSpec, core: Core) -> Self {
        let moving = || core.units.iter().map(|u| &u.model).filter(|m| m.states() > 0);
        let tick_ns = u64::try_from(plant.step.as_nanos()).unwrap_or(u64::MAX).max(1);
        let longest = moving().map(|m| m.step().as_nanos()).min().unwrap_or(u128::MAX).max(1);
        let substeps = u128::from(tick_ns).div_ceil(longest) as u64;
        let euler = moving().all(|m| m.method == Method::Euler);
        let method = if euler { Method::Euler } else { Method::Rk4 };
        let mut new = Self { core, tick_ns, substeps, method, ticks: 0, held_steps: 0 };
        new.core.evaluate(0.0);
        new
    }

    /// One tick on.
    pub fn step(&mut self) {
        self.core.finite.fill(true);
        let h = self.tick_ns as f64 / (self.substeps as f64 * 1e9);
        let began = self.tick_ns.saturating_mul(self.ticks) as f64 / 1e9;
        for i in 1..=self.substeps {
            let end = began + i as f64 * h;
            match self.method {
                Method::Euler => solver::euler(&mut self.core, end, h),
                Method::Rk4 => solver::rk4(&mut self.core, end, h),
            }
        }
        self.ticks += 1;
        self.held_steps += u64::from(self.core.finite.contains(&false));
    }

    /// Ticks since the start.
    pub const fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Time since the start: ticks times the plant's step.
    pub const fn time(&self) -> Duration {
        Duration::from_nanos(self.tick_ns.saturating_mul(self.ticks))
    }

    /// The integration step in seconds: the plant's step, divided evenly if a model wants so.
    pub fn integration_step(&self) -> f64 {
        self.tick_ns as f64 / (self.substeps as f64 * 1e9)
    }

    /// Replaces `out` by the true values of all points of `device`, in their units; nothing if the
    /// device is not simulated. A computed point may be `NaN`, as its equation says.
    pub fn points(&self, device: DeviceIx, out: &mut Vec<f64>) {
        out.clear();
        let Some(unit) = self.core.unit(device) else { return };
        let frame = &self.core.values[unit.frame.clone()];
        out.extend((0..unit.model.point_count()).filter_map(|i| unit.model.read(frame, i)));
    }

    /// What a flow from `source` of `device` carries, in SI base units; `None` if the device is
    /// not simulated or has no such source.
    pub fn source(&self, device: DeviceIx, source: FlowSource) -> Option<f64> {
        let unit = self.core.unit(device)?;
        self.core.values.get(unit.frame.start + unit.model.source_register(source)?).copied()
    }

    /// Writes a point in its unit, between ticks. Nothing happens if the device is not simulated,
    /// the point is computed or the value is not finite.
    pub fn set(&mut self, device: DeviceIx, point: PointIx, value: f64) {
        let now = self.time().as_secs_f64();
        let Some(unit) = self.core.unit(device) else { return };
        let (model, frame) = (unit.model.clone(), unit.frame.clone());
        if model.write(&mut self.core.values[frame], point, value) {
            self.core.evaluate(now);
        }
    }

    /// Whether no state of `device` was held in the last tick; true if it is not simulated.
    pub fn is_finite(&self, device: DeviceIx) -> bool {
        let unit = self.core.unit_of.get(device.index()).copied().flatten();
        unit.is_none_or(|u| self.core.finite[u as usize])
    }

    /// Ticks in which some state was held because its next value was not finite.
    pub const fn held_steps(&self) -> u64 {
        self.held_steps
    }

    /// Number of states of all devices.
    pub fn states(&self) -> usize {
        self.core.states.len()
    }

    /// All derivatives as they would be with one state at a value in SI base units.
    pub(crate) fn probe(&mut self, state: usize, value: f64, slopes: &mut Vec<f64>) {
        let now = self.time().as_secs_f64();
        let before = std::mem::replace(self.core.state(state), value);
        self.core.evaluate(now);
        slopes.clear();
        slopes.extend((0..self.core.count()).map(|i| self.core.slope(i)));
        *self.core.state(state) = before;
        self.core.evaluate(now);
    }

    /// The unit of a state, the state's place in it, and its value in SI base units.
    pub(crate) fn state(&self, state: usize) -> (usize, &Unit, usize, f64) {
        let at = self.core.states[state];
        let unit = &self.core.units[at.unit as usize];
        (at.unit as usize, unit, at.state - unit.frame.start, self.core.values[at.state])
    }

    /// The frame of `device` as it is now, with its model.
    pub(crate) fn frame(&self, device: DeviceIx) -> Option<(&Arc<Model>, &[f64])> {
        let unit = self.core.unit(device)?;
        Some((&unit.model, &self.core.values[unit.frame.clone()]))
    }
}

impl Core {
    fn unit(&self, device: DeviceIx) -> Option<&Unit> {
        let unit = self.unit_of.get(device.index()).copied().flatten()?;
        self.units.get(unit as usize)
    }
}

fn states(units: &[Unit]) -> Vec<StateRef> {
    let mut out = Vec::new();
    for (unit, Unit { model, frame }) in (0_u32..).zip(units) {
        let (count, slopes) = (model.states(), frame.start + model.slopes());
        out.extend((0..count).map(|i| StateRef {
            unit,
            state: frame.start + i,
            slope: slopes + i,
            start: slopes + count + i,
            sum: slopes + 2 * count + i,
        }));
    }
    out
}
