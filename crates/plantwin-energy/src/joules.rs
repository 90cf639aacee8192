//! Energy as a type: finite, never negative.
//!
//! Absent: subtraction below zero (see [`Joules::saturating_sub`]), other units but mWh.

use std::{fmt, iter::Sum, ops};

use serde::{Deserialize, Serialize};

use crate::EnergyError;

/// An amount of energy in joules, finite and >= 0.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Joules(f64);

impl Joules {
    /// No energy.
    pub const ZERO: Self = Self(0.0);

    /// From joules; refuses numbers that are negative or not finite.
    pub fn new(joules: f64) -> Result<Self, EnergyError> {
        if joules.is_finite() && joules >= 0.0 {
            Ok(Self(joules))
        } else {
            Err(EnergyError::NoEnergy(joules))
        }
    }

    /// From a product of sourced coefficients and counts: limits it to what a [`Joules`] may be.
    pub(crate) fn clamped(joules: f64) -> Self {
        // `clamp` would keep a NaN, which infinity times zero gives.
        if joules.is_nan() { Self::ZERO } else { Self(joules.clamp(0.0, f64::MAX)) }
    }

    /// Joules.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Milliwatt-hours (3.6 J each).
    pub fn milliwatt_hours(self) -> f64 {
        self.0 / 3.6
    }

    /// The difference, or zero if `other` is more.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self::clamped(self.0 - other.0)
    }
}

impl ops::Add for Joules {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::clamped(self.0 + other.0)
    }
}

impl ops::AddAssign for Joules {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Joules {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, ops::Add::add)
    }
}

impl TryFrom<f64> for Joules {
    type Error = EnergyError;

    fn try_from(joules: f64) -> Result<Self, EnergyError> {
        Self::new(joules)
    }
}

impl From<Joules> for f64 {
    fn from(joules: Joules) -> Self {
        joules.0
    }
}

impl fmt::Display for Joules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            j if j == 0.0 || j >= 1.0 => (j, "J"),
            j if j >= 1e-3 => (j * 1e3, "mJ"),
            j => (j * 1e6, "uJ"),
        };
        write!(f, "{value:.3} {unit}")
    }
}
