//! The residual band: how far measurement and prediction usually lie apart, and when it is more.
//!
//! The first [`CALIBRATION_SAMPLES`] finite residuals are kept; then their median and median
//! absolute deviation (MAD) give the half-width once, and the buffer is freed. The band lies
//! symmetrically around zero, so that a console may draw it around the prediction:
//!
//! `half-width = |median| + max(6 x 1.4826 MAD, 3 x max(noise, resolution), 0.5 % of range)`
//!
//! - 1.4826 = 1/Φ⁻¹(3/4) makes the MAD an estimate of a Gaussian's σ; it withstands up to half
//!   of the samples being outliers (P. J. Rousseeuw, C. Croux, "Alternatives to the Median
//!   Absolute Deviation", J. Am. Stat. Assoc. 88 (1993) 1273-1283).
//! - 6 and not the usual 3, for two reasons: from 60 samples σ itself is known to about 15 %
//!   (the MAD's efficiency is 37 %, same paper), and residuals of a real process are not white,
//!   so that they lean to one side for minutes.
//! - The noise floor keeps a sensor whose calibration happened to be quiet, or that repeats one
//!   quantised value (MAD = 0), from alarming at its first step.
//! - 0.5 % of the range is the accuracy of a common instrument (class 0.5 in the sense of
//!   IEC 60051-1); less than that is no evidence of anything.
//! - A model that is off by a constant widens its band by that constant: the bias stays visible
//!   in the console instead of being learnt away.
//!
//! An alarm needs 4 of the last 5 residuals outside; with white Gaussian residuals and a band as
//! narrow as 3σ that is below 3e-10 per sample. It ends after 5 residuals in a row inside half
//! the band. Absent: adapting the band later (an attacker could walk it along), cross-channel
//! residuals, change detection faster than the band.

use plantwin_model::PointSpec;
use serde::{Deserialize, Serialize};

/// Finite residuals from which a band is learnt.
pub const CALIBRATION_SAMPLES: usize = 60;

/// σ of a Gaussian in units of its MAD.
const SIGMA_PER_MAD: f64 = 1.4826;
/// Half-width in units of the robust σ.
const WIDTH_SIGMAS: f64 = 6.0;
/// Half-width in units of the sensor's noise or resolution.
const WIDTH_NOISE: f64 = 3.0;
/// Smallest half-width as share of the range.
const WIDTH_RANGE: f64 = 0.005;
/// Window of judgements, as bits.
const WINDOW: u8 = 0b1_1111;
/// Judgements in the window that must be "outside".
const OUTSIDE_NEEDED: u32 = 4;
/// Residuals in a row inside half the band that end an alarm.
const QUIET_NEEDED: u8 = 5;

/// What a band's width may not fall below; the same for all twins of a type.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BandPlan {
    floor: f64,
}

impl BandPlan {
    /// The floor that a point's noise, resolution and range give.
    pub fn of(point: &PointSpec) -> Self {
        let sensor = WIDTH_NOISE * point.noise.max(point.resolution);
        Self { floor: sensor.max(WIDTH_RANGE * (point.range.1 - point.range.0).abs()) }
    }

    /// Smallest half-width, in the point's unit; >= 0.
    pub const fn floor(&self) -> f64 {
        self.floor
    }
}

/// What a residual changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BandChange {
    /// Nothing.
    None,
    /// The residual left its band for good.
    Left,
    /// The residual is back.
    Back,
}

/// The band of one point of one twin.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ResidualBand(State);

#[derive(Clone, PartialEq, Debug)]
enum State {
    Learning(Vec<f64>),
    Watching(Watching),
}

impl Default for State {
    fn default() -> Self {
        Self::Learning(Vec::new())
    }
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
struct Watching {
    half_width: f64,
    /// The last judgements, newest in bit 0; set = outside.
    history: u8,
    /// Residuals in a row inside half the band.
    quiet: u8,
    outside: bool,
}

/// A band as it is stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BandSnapshot(SnapshotState);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum SnapshotState {
    Learning(Vec<f64>),
    Watching(Watching),
}

impl ResidualBand {
    /// A band that has learnt nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a residual (measured minus predicted, in the point's unit). Residuals that are not
    /// finite are ignored; during calibration nothing is ever outside.
    pub fn push(&mut self, plan: &BandPlan, residual: f64) -> BandChange {
        if !residual.is_finite() {
            return BandChange::None;
        }
        match &mut self.0 {
            State::Learning(samples) => {
                if samples.capacity() == 0 {
                    samples.reserve_exact(CALIBRATION_SAMPLES);
                }
                samples.push(residual);
                if samples.len() >= CALIBRATION_SAMPLES {
                    let half_width = half_width(samples, plan.floor);
                    self.0 = State::Watching(Watching {
                        half_width,
                        history: 0,
                        quiet: 0,
                        outside: false,
                    });
                }
                BandChange::None
            }
            State::Watching(w) => w.judge(residual),
        }
    }

    /// The half-width in the point's unit, once learnt.
    pub fn half_width(&self) -> Option<f64> {
        match &self.0 {
            State::Learning(_) => None,
            State::Watching(w) => Some(w.half_width),
        }
    }

    /// Whether the residual is outside its band for good.
    pub fn is_outside(&self) -> bool {
        matches!(&self.0, State::Watching(w) if w.outside)
    }

    /// The band as it may be stored.
    pub fn snapshot(&self) -> BandSnapshot {
        BandSnapshot(match &self.0 {
            State::Learning(samples) => SnapshotState::Learning(samples.clone()),
            State::Watching(w) => SnapshotState::Watching(*w),
        })
    }

    /// The stored band; one that no band can have become (a half-width below the floor or not
    /// finite, too many samples) is learnt afresh.
    pub fn restore(plan: &BandPlan, snapshot: BandSnapshot) -> Self {
        match snapshot.0 {
            SnapshotState::Learning(samples)
                if samples.len() < CALIBRATION_SAMPLES && samples.iter().all(|s| s.is_finite()) =>
            {
                let mut kept = Vec::new();
                if !samples.is_empty() {
                    kept.reserve_exact(CALIBRATION_SAMPLES);
                    kept.extend(samples);
                }
                Self(State::Learning(kept))
            }
            SnapshotState::Watching(w)
                if w.half_width.is_finite() && w.half_width >= plan.floor =>
            {
                Self(State::Watching(w))
            }
            _ => Self::default(),
        }
    }

    /// Heap bytes held; zero once calibrated.
    #[cfg(test)]
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            State::Learning(samples) => samples.capacity() * size_of::<f64>(),
            State::Watching(_) => 0,
        }
    }
}

impl Watching {
    fn judge(&mut self, residual: f64) -> BandChange {
        let size = residual.abs();
        if self.outside {
            self.quiet =
                if size <= self.half_width / 2.0 { self.quiet.saturating_add(1) } else { 0 };
            if self.quiet < QUIET_NEEDED {
                return BandChange::None;
            }
            (self.outside, self.quiet, self.history) = (false, 0, 0);
            return BandChange::Back;
        }
        self.history = ((self.history << 1) | u8::from(size > self.half_width)) & WINDOW;
        if self.history.count_ones() < OUTSIDE_NEEDED {
            return BandChange::None;
        }
        (self.outside, self.quiet) = (true, 0);
        BandChange::Left
    }
}

/// The half-width that `samples` (not empty, finite) call for; reorders them.
fn half_width(samples: &mut [f64], floor: f64) -> f64 {
    let centre = median(samples);
    for sample in samples.iter_mut() {
        *sample = (*sample - centre).abs();
    }
    let sigma = SIGMA_PER_MAD * median(samples);
    // Residuals near the largest f64 could overflow here; a band must stay finite.
    (centre.abs() + floor.max(WIDTH_SIGMAS * sigma)).min(f64::MAX)
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let middle = samples.len() / 2;
    match samples {
        [] => 0.0,
        s if s.len() % 2 == 1 => s[middle],
        s => f64::midpoint(s[middle - 1], s[middle]),
    }
}
