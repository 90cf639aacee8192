//! What can go wrong here: numbers that are no energy.

use thiserror::Error;

/// Why a number was refused.
#[derive(Clone, Copy, PartialEq, Debug, Error)]
pub enum EnergyError {
    /// Not finite, or negative.
    #[error("read {0} as an energy: it must be finite and not negative")]
    NoEnergy(f64),
}
