//! One device's model in motion, as its twin and its agent run it.
//!
//! Absent: neighbours (what flows in is given by [`Predictor::set_input`] and holds until the
//! next word) and noise.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use plantwin_model::{DeviceSpec, FlowSource, Method, PointIx};

use crate::{
    Model,
    solver::{self, System},
};

/// Most steps of one [`Predictor::advance`]: bounded work whatever the gap.
pub const SUBSTEP_LIMIT: u64 = 10_000;

/// Foresees one device: an [`Arc`] to its model and one small frame of numbers.
///
/// Values that are not finite are ignored wherever they come in. A state whose next value would
/// not be finite keeps its value, and [`Predictor::is_finite`] is false until the next advance
/// in which none does.
pub struct Predictor {
    model: Arc<Model>,
    frame: Box<[f64]>,
    /// Start values of the points, in their units; shared by all clones.
    start: Arc<[f64]>,
    elapsed_ns: u64,
    finite: bool,
}

impl Clone for Predictor {
    fn clone(&self) -> Self {
        Self {
            model: self.model.clone(),
            frame: self.frame.clone(),
            start: self.start.clone(),
            ..*self
        }
    }

    /// Allocates nothing if both are of the same model.
    fn clone_from(&mut self, source: &Self) {
        self.model.clone_from(&source.model);
        self.frame.clone_from(&source.frame);
        self.start.clone_from(&source.start);
        self.elapsed_ns = source.elapsed_ns;
        self.finite = source.finite;
    }
}

impl fmt::Debug for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points: Vec<_> =
            (0..self.model.point_count()).filter_map(|i| self.model.read(&self.frame, i)).collect();
        f.debug_struct("Predictor")
            .field("model", &self.model.name)
            .field("points", &points)
            .field("finite", &self.finite)
            .finish_non_exhaustive()
    }
}

/// A frame with its model: what the solver moves.
pub(crate) struct Moving<'m> {
    pub(crate) model: &'m Model,
    pub(crate) frame: &'m mut [f64],
    pub(crate) finite: bool,
}

impl System for Moving<'_> {
    fn count(&self) -> usize {
        self.model.states()
    }

    fn state(&mut self, i: usize) -> &mut f64 {
        &mut self.frame[i]
    }

    fn slope(&self, i: usize) -> f64 {
        self.frame[self.model.slopes() + i]
    }

    fn start(&mut self, i: usize) -> &mut f64 {
        &mut self.frame[self.model.slopes() + self.model.states() + i]
    }

    fn sum(&mut self, i: usize) -> &mut f64 {
        &mut self.frame[self.model.slopes() + 2 * self.model.states() + i]
    }

    fn evaluate(&mut self, time: f64) {
        self.model.evaluate(self.frame, time);
    }

    fn held(&mut self, _: usize) {
        self.finite = false;
    }
}

impl Moving<'_> {
    /// One step of `h` seconds by the model's own method, ending at `end` seconds.
    pub(crate) fn step(&mut self, end: f64, h: f64) {
        match self.model.method {
            Method::Euler => solver::euler(self, end, h),
            Method::Rk4 => solver::rk4(self, end, h),
        }
    }
}

impl Predictor {
    /// A predictor of `device` at its start. `model` must be the one of the device's type.
    pub fn new(model: &Arc<Model>, device: &DeviceSpec) -> Self {
        let frame = model.frame(Some(device));
        let start = device.start.as_slice().into();
        let mut new = Self { model: model.clone(), frame, start, elapsed_ns: 0, finite: true };
        new.finite = new.slopes_are_finite();
        new
    }

    /// The model.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Moves on by `dt`, in equal steps of at most the model's own.
    ///
    /// At most [`SUBSTEP_LIMIT`] steps are taken: after a longer gap the state is that of
    /// so many steps while time has passed in full, which a model at rest does not notice and
    /// any other one mends by [`Predictor::correct`].
    pub fn advance(&mut self, dt: Duration) {
        let dt = u64::try_from(dt.as_nanos()).unwrap_or(u64::MAX);
        if dt == 0 {
            return;
        }
        let longest = u64::try_from(self.model.step().as_nanos()).unwrap_or(u64::MAX).max(1);
        let needed = dt.div_ceil(longest);
        let (steps, h) = if needed <= SUBSTEP_LIMIT {
            // One division of whole numbers: ten steps of 10 ms in 100 ms are exactly 0.01 s each.
            (needed, dt as f64 / (needed as f64 * 1e9))
        } else {
            (SUBSTEP_LIMIT, longest as f64 / 1e9)
        };
        let began = self.elapsed_ns as f64 / 1e9;
        let mut moving = Moving { model: &self.model, frame: &mut self.frame, finite: true };
        for step in 1..=steps {
            moving.step(began + step as f64 * h, h);
        }
        self.finite = moving.finite;
        self.elapsed_ns = self.elapsed_ns.saturating_add(dt);
        if needed > SUBSTEP_LIMIT {
            self.evaluate();
        }
        self.finite &= self.slopes_are_finite();
    }

    /// The value of a point in its unit; `None` if the model says nothing about it or it is not
    /// finite.
    pub fn point(&self, point: PointIx) -> Option<f64> {
        let known = self.model.predicts(point);
        self.model.read(&self.frame, point.index()).filter(|v| known && v.is_finite())
    }

    /// Takes a measurement, in the point's unit.
    ///
    /// A state moves by the model's share of the residual; a setpoint, and a point of which the
    /// model says nothing, take the value; a computed point stays what its equation says.
    pub fn correct(&mut self, point: PointIx, measured: f64) {
        if self.model.correct(&mut self.frame, point, measured) {
            self.evaluate();
        }
    }

    /// Puts a point to a value in its unit; a computed point stays what its equation says.
    pub fn set_point(&mut self, point: PointIx, value: f64) {
        if self.model.write(&mut self.frame, point, value) {
            self.evaluate();
        }
    }

    /// Sets what flows into an input, in SI base units, until the next word.
    pub fn set_input(&mut self, input: u16, si: f64) {
        if let Some(register) = self.model.input_register(input).filter(|_| si.is_finite()) {
            self.frame[register] = si;
            self.evaluate();
        }
    }

    /// What an output gives, in SI base units; `NaN` if there is no such output.
    pub fn output(&self, output: u16) -> f64 {
        self.source(FlowSource::Output(output))
    }

    /// What a flow from `source` would carry, in SI base units; `NaN` if there is no such source.
    pub fn source(&self, source: FlowSource) -> f64 {
        let register = self.model.source_register(source);
        register.and_then(|r| self.frame.get(r)).copied().unwrap_or(f64::NAN)
    }

    /// Time since the start, as far as [`Predictor::advance`] has come.
    pub const fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_ns)
    }

    /// Whether no state was held in the last advance and all derivatives are finite now.
    pub const fn is_finite(&self) -> bool {
        self.finite
    }

    /// Back to the start; inputs keep what flows into them.
    pub fn reset(&mut self) {
        self.elapsed_ns = 0;
        self.model.restart(&mut self.frame, &self.start);
        self.finite = self.slopes_are_finite();
    }

    fn evaluate(&mut self) {
        self.model.evaluate(&mut self.frame, self.elapsed_ns as f64 / 1e9);
    }

    fn slopes_are_finite(&self) -> bool {
        let first = self.model.slopes();
        self.frame[first..first + self.model.states()].iter().all(|k| k.is_finite())
    }
}
