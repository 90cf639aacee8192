//! A type's model, compiled once and shared by all its devices.
//!
//! A device of the model is a *frame*: one slice of numbers with everything in its place, all in
//! SI base units. The model says where what lies and holds the code that works on frames.
//! Absent: motion over time (see [`crate::Predictor`] and [`crate::PlantSim`]).

mod build;
#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc, time::Duration};

use plantwin_model::{DeviceSpec, FlowSource, Method, PointIx, Severity, Span, TwinType, Unit};

use crate::{
    Problem,
    expr::{Instr, Need, Table, run},
};

/// A compiled model: immutable, to be shared by [`Arc`].
#[derive(Debug)]
pub struct Model {
    pub(crate) name: String,
    pub(crate) file: Arc<str>,
    pub(crate) span: Span,
    step: Duration,
    pub(crate) method: Method,
    correction: f64,
    points: Vec<Point>,
    /// Register of each output.
    outputs: Vec<u16>,
    states: Vec<State>,
    inputs: Vec<f64>,
    params: Vec<f64>,
    layout: Layout,
    constants: Vec<f64>,
    init: Vec<Instr>,
    /// Equations in an order in which each finds its needs done, then all derivatives.
    code: Vec<Instr>,
    equations: Vec<Equation>,
    tables: Vec<Table>,
    pub(crate) uses_time: bool,
}

/// What the model does with a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// Integrates it.
    State,
    /// Keeps what was written to it.
    Setpoint,
    /// Keeps what was measured: the model says nothing about it.
    Measured,
    /// Computes it, by place among the equations.
    Computed(u16),
}

#[derive(Debug)]
struct Point {
    role: Role,
    register: u16,
    unit: Unit,
    /// In the point's unit.
    start: f64,
    /// In the point's unit.
    range: (f64, f64),
}

/// A state, in the order of the registers.
#[derive(Debug)]
struct State {
    name: Arc<str>,
    /// The point it is, or its start in SI base units if hidden.
    origin: Result<usize, f64>,
}

/// An equation other than a derivative.
#[derive(Debug)]
pub(crate) struct Equation {
    pub(crate) code: Range<u32>,
    pub(crate) needs: Vec<Need>,
}

/// Where the parts of a frame begin; the states come first.
#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    /// Derivatives, then states at the start of the step, then sums of slopes.
    slopes: u16,
    inputs: u16,
    time: u16,
    params: u16,
    constants: u16,
    length: u16,
}

/// Compiles the model of `kind`; `None` if it has none.
///
/// The error lists every problem that [`crate::check_type`] would list, except for those that
/// take a simulation to find (steps that are too large).
pub fn compile(kind: &TwinType) -> Result<Option<Arc<Model>>, Vec<Problem>> {
    match kind.model {
        Some(_) => build(kind).map(Some),
        None => Ok(None),
    }
}

/// Compiles `kind`, if need be as points that keep what they were given.
pub(crate) fn build(kind: &TwinType) -> Result<Arc<Model>, Vec<Problem>> {
    let (model, problems) = build::build(kind);
    match model {
        Some(model) if problems.iter().all(|p| p.severity != Severity::Error) => {
            Ok(Arc::new(model))
        }
        _ => Err(problems),
    }
}

/// All problems that compiling finds, warnings too.
pub(crate) fn problems(kind: &TwinType) -> Vec<Problem> {
    build::build(kind).1
}

impl Model {
    /// Longest step of the method.
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// Share of each residual that corrects a state, 0 to 1.
    pub const fn correction(&self) -> f64 {
        self.correction
    }

    /// Whether the model foresees `point`, rather than only keeping what was measured.
    pub fn predicts(&self, point: PointIx) -> bool {
        self.points.get(point.index()).is_some_and(|p| p.role != Role::Measured)
    }

    /// Whether `point` is integrated.
    pub fn is_state(&self, point: PointIx) -> bool {
        self.points.get(point.index()).is_some_and(|p| p.role == Role::State)
    }

    /// Number of states, hidden ones too.
    pub fn states(&self) -> usize {
        self.states.len()
    }

    pub(crate) fn state_name(&self, state: usize) -> &str {
        self.states.get(state).map_or("", |s| &s.name)
    }

    pub(crate) fn frame_length(&self) -> usize {
        usize::from(self.layout.length)
    }

    /// A frame of `device`, or of the type's defaults, evaluated at time zero.
    pub(crate) fn frame(&self, device: Option<&DeviceSpec>) -> Box<[f64]> {
        let mut frame = vec![0.0; self.frame_length()].into_boxed_slice();
        let at = |first: u16, i: usize| usize::from(first) + i;
        for (i, value) in self.inputs.iter().enumerate() {
            frame[at(self.layout.inputs, i)] = *value;
        }
        for (i, default) in self.params.iter().enumerate() {
            let own = device.and_then(|d| d.params.get(i));
            frame[at(self.layout.params, i)] = *own.unwrap_or(default);
        }
        for (i, value) in self.constants.iter().enumerate() {
            frame[at(self.layout.constants, i)] = *value;
        }
        run(&self.init, &self.tables, &mut frame);
        self.restart(&mut frame, device.map_or(&[], |d| &d.start));
        frame
    }

    /// Puts states, setpoints and time back to the start and evaluates.
    pub(crate) fn restart(&self, frame: &mut [f64], start: &[f64]) {
        for (i, point) in self.points.iter().enumerate() {
            if !matches!(point.role, Role::Computed(_)) {
                let value = start.get(i).copied().unwrap_or(point.start);
                frame[usize::from(point.register)] = point.unit.to_si(value);
            }
        }
        for (i, state) in self.states.iter().enumerate() {
            if let Err(start) = state.origin {
                frame[i] = start;
            }
        }
        self.evaluate(frame, 0.0);
    }

    /// Computes all equations and derivatives at `time` (seconds) from states and inputs.
    #[inline]
    pub(crate) fn evaluate(&self, frame: &mut [f64], time: f64) {
        frame[usize::from(self.layout.time)] = time;
        run(&self.code, &self.tables, frame);
    }

    /// Computes equations in `code` alone.
    #[inline]
    pub(crate) fn evaluate_part(&self, frame: &mut [f64], code: Range<usize>) {
        run(&self.code[code], &self.tables, frame);
    }

    pub(crate) fn equations(&self) -> &[Equation] {
        &self.equations
    }

    /// The code of all derivatives.
    pub(crate) fn derivatives(&self) -> Range<usize> {
        self.equations.last().map_or(0, |e| e.code.end as usize)..self.code.len()
    }

    pub(crate) fn input_count(&self) -> usize {
        self.inputs.len()
    }

    pub(crate) fn input_register(&self, input: u16) -> Option<usize> {
        (usize::from(input) < self.inputs.len())
            .then(|| usize::from(self.layout.inputs) + usize::from(input))
    }

    pub(crate) fn time_register(&self) -> usize {
        usize::from(self.layout.time)
    }

    /// First register of the derivatives; [`Model::states`] many, then as many states at the start
    /// of the step, then as many sums.
    pub(crate) fn slopes(&self) -> usize {
        usize::from(self.layout.slopes)
    }

    pub(crate) fn output_register(&self, output: u16) -> Option<usize> {
        self.outputs.get(usize::from(output)).map(|r| usize::from(*r))
    }

    pub(crate) fn source_register(&self, source: FlowSource) -> Option<usize> {
        match source {
            FlowSource::Output(output) => self.output_register(output),
            FlowSource::Point(point) => {
                self.points.get(point.index()).map(|p| usize::from(p.register))
            }
        }
    }

    /// The equation that computes `source`; none if it needs no computing.
    pub(crate) fn source_equation(&self, source: FlowSource) -> Option<u16> {
        match source {
            // Outputs are the last equations.
            FlowSource::Output(output) => (usize::from(output) < self.outputs.len())
                .then(|| (self.equations.len() - self.outputs.len()) as u16 + output),
            FlowSource::Point(point) => match self.points.get(point.index())?.role {
                Role::Computed(equation) => Some(equation),
                _ => None,
            },
        }
    }

    pub(crate) fn point_count(&self) -> usize {
        self.points.len()
    }

    /// A point in its unit.
    pub(crate) fn read(&self, frame: &[f64], point: usize) -> Option<f64> {
        let point = self.points.get(point)?;
        Some(point.unit.from_si(*frame.get(usize::from(point.register))?))
    }

    /// Writes a point given in its unit; false if it is computed or the value is not finite.
    pub(crate) fn write(&self, frame: &mut [f64], point: PointIx, value: f64) -> bool {
        let Some(point) = self.points.get(point.index()) else { return false };
        let si = point.unit.to_si(value);
        if matches!(point.role, Role::Computed(_)) || !si.is_finite() {
            return false;
        }
        frame[usize::from(point.register)] = si;
        true
    }

    /// Moves a point towards `measured`, in its unit; false if nothing moved.
    pub(crate) fn correct(&self, frame: &mut [f64], point: PointIx, measured: f64) -> bool {
        let Some(p) = self.points.get(point.index()) else { return false };
        if p.role != Role::State {
            return self.write(frame, point, measured);
        }
        let state = &mut frame[usize::from(p.register)];
        let next = *state + self.correction * (p.unit.to_si(measured) - *state);
        let moved = next.is_finite();
        if moved {
            *state = next;
        }
        moved
    }

    /// Setpoints with the ends of their range, in the point's unit.
    pub(crate) fn setpoints(&self) -> impl Iterator<Item = (PointIx, (f64, f64))> {
        let points = self.points.iter().enumerate();
        points.filter(|(_, p)| p.role == Role::Setpoint).map(|(i, p)| (PointIx(i as u16), p.range))
    }

    /// Plausible values of a state in SI base units, if it is a point.
    pub(crate) fn state_range(&self, state: usize) -> Option<(f64, f64)> {
        let point = self.points.get(*self.states.get(state)?.origin.as_ref().ok()?)?;
        Some((point.unit.to_si(point.range.0), point.unit.to_si(point.range.1)))
    }
}
