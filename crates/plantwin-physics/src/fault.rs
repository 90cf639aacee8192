//! The channel between the truth and what a device measures: noise, resolution, faults.
//!
//! The truth goes on unseen. Absent: silence (a path going down is no matter of one point).

#[cfg(test)]
mod tests;

use std::time::Duration;

use plantwin_model::{DeviceSpec, FaultKind, PointIx};

use crate::random::Stream;

/// Most faults on one sensor at a time; one more ends the oldest.
pub const FAULT_LIMIT: usize = 16;

/// Measures one point of a simulated device, in the point's unit.
///
/// What is measured depends on seed, device, point, time and faults alone, not on how often
/// anybody looked; only [`FaultKind::Stuck`] remembers the last measurement before it.
#[derive(Clone, Debug)]
pub struct Sensor {
    stream: Stream,
    noise: f64,
    resolution: f64,
    faults: Vec<Active>,
    last: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    kind: FaultKind,
    from: Duration,
    until: Option<Duration>,
}

impl Active {
    fn acts(&self, now: Duration) -> bool {
        now >= self.from && self.until.is_none_or(|end| now < end)
    }
}

impl Sensor {
    /// The sensor of `point` of `device`; `seed` is the plant's. A point that the type does not
    /// have is measured as it is.
    pub fn new(seed: u64, device: &DeviceSpec, point: PointIx) -> Self {
        let spec = device.kind.points.get(point.index());
        Self {
            stream: Stream::new(seed, device.id.as_str(), u64::from(point.0)),
            noise: spec.map_or(0.0, |p| p.noise),
            resolution: spec.map_or(0.0, |p| p.resolution),
            faults: Vec::new(),
            last: None,
        }
    }

    /// Begins a fault at `from` (plant time since start) that lasts `lasts`, or for ever.
    pub fn inject(&mut self, kind: FaultKind, from: Duration, lasts: Option<Duration>) {
        if self.faults.len() >= FAULT_LIMIT {
            self.faults.remove(0);
        }
        let until = lasts.map(|d| from.saturating_add(d));
        self.faults.push(Active { kind, from, until });
    }

    /// Ends all faults.
    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// Whether any fault acts at `now`.
    pub fn is_faulty(&self, now: Duration) -> bool {
        self.faults.iter().any(|f| f.acts(now))
    }

    /// What is measured at `now` (plant time since start) if the truth is `truth`.
    ///
    /// Scale, bias and drift act before noise and resolution, as they do in a transducer before
    /// its converter; a stuck sensor repeats its last value; `NaN` beats all.
    pub fn measure(&mut self, truth: f64, now: Duration) -> f64 {
        self.faults.retain(|f| f.until.is_none_or(|end| now < end));
        let counter = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let mut value = truth;
        let (mut stuck, mut broken) = (false, false);
        for (lane, fault) in (1_u64..).zip(self.faults.iter().filter(|f| f.acts(now))) {
            match fault.kind {
                FaultKind::Scale(by) => value *= by,
                FaultKind::Bias(by) => value += by,
                FaultKind::Drift(rate) => {
                    value += rate * now.saturating_sub(fault.from).as_secs_f64();
                }
                FaultKind::Noise(deviation) => {
                    value += deviation * self.stream.normal(counter, lane);
                }
                FaultKind::Stuck => stuck = true,
                FaultKind::NotANumber => broken = true,
            }
        }
        if self.noise > 0.0 {
            value += self.noise * self.stream.normal(counter, 0);
        }
        if self.resolution > 0.0 {
            let steps = (value / self.resolution).round();
            // Adding zero turns -0 into 0.
            value = steps * self.resolution + 0.0;
        }
        if stuck {
            value = *self.last.get_or_insert(value);
        } else {
            self.last = Some(value);
        }
        if broken { f64::NAN } else { value }
    }
}
