//! Explicit integration with a fixed step: Euler and the classical Runge-Kutta method.
//!
//! The formulae are those of Hairer, Norsett, Wanner: Solving Ordinary Differential Equations I,
//! sections I.7 and II.1. Absent: step size control and implicit methods; a step that is too
//! large is refused at load instead (see [`crate::check`]).

/// Something that moves: states, their slopes, and room to remember.
///
/// Between steps the slopes are those of the present states, so the first stage is free.
pub(crate) trait System {
    /// Number of states.
    fn count(&self) -> usize;
    /// A state.
    fn state(&mut self, i: usize) -> &mut f64;
    /// Its derivative, per second.
    fn slope(&self, i: usize) -> f64;
    /// Room for the state at the start of the step.
    fn start(&mut self, i: usize) -> &mut f64;
    /// Room for the sum of its slopes.
    fn sum(&mut self, i: usize) -> &mut f64;
    /// Computes all slopes at `time` seconds.
    fn evaluate(&mut self, time: f64);
    /// Hears that a state kept its value, because the next one would not be finite.
    fn held(&mut self, i: usize);
}

/// One explicit Euler step of `h` seconds that ends at `end` seconds.
pub(crate) fn euler<S: System>(s: &mut S, end: f64, h: f64) {
    for i in 0..s.count() {
        let next = *s.state(i) + h * s.slope(i);
        settle(s, i, next);
    }
    s.evaluate(end);
}

/// One Runge-Kutta step of `h` seconds that ends at `end` seconds.
pub(crate) fn rk4<S: System>(s: &mut S, end: f64, h: f64) {
    let half = 0.5 * h;
    for i in 0..s.count() {
        let (y, k) = (*s.state(i), s.slope(i));
        *s.start(i) = y;
        *s.sum(i) = k;
        *s.state(i) = y + half * k;
    }
    s.evaluate(end - half);
    for i in 0..s.count() {
        let (y, k) = (*s.start(i), s.slope(i));
        *s.sum(i) += 2.0 * k;
        *s.state(i) = y + half * k;
    }
    s.evaluate(end - half);
    for i in 0..s.count() {
        let (y, k) = (*s.start(i), s.slope(i));
        *s.sum(i) += 2.0 * k;
        *s.state(i) = y + h * k;
    }
    s.evaluate(end);
    for i in 0..s.count() {
        let (y, sum) = (*s.start(i), *s.sum(i));
        let next = y + h / 6.0 * (sum + s.slope(i));
        *s.state(i) = y;
        settle(s, i, next);
    }
    s.evaluate(end);
}

/// Lets no state become what cannot be computed with.
fn settle<S: System>(s: &mut S, i: usize, next: f64) {
    if next.is_finite() {
        *s.state(i) = next;
    } else {
        s.held(i);
    }
}
