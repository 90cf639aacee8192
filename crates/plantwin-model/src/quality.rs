//! How far a value may be trusted.
//!
//! The three levels are those of OPC UA (Part 8, good / uncertain / bad); the reason says why,
//! because an operator must see the cause. Absent: protocol status codes, which adapters map here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Trust in a value, with the reason where it is not good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// Measured, current, plausible.
    Good,
    /// Outside the point's declared range, or flagged uncertain by the device.
    Uncertain(Flaw),
    /// Not to be used.
    Bad(Flaw),
}

/// Why a value is not good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// Nothing was received yet.
    NoValue,
    /// Older than the point's `stale_after`.
    Stale,
    /// The device cannot be reached.
    CommLost,
    /// NaN or infinite: refused before it could reach a model.
    NotFinite,
    /// Outside the declared range.
    OutOfRange,
    /// The device itself reported the value as doubtful or wrong.
    DeviceReported,
    /// The session was not authenticated.
    Unauthenticated,
    /// The bytes could not be read as a value of this point.
    Malformed,
    /// The device is confined: the value is on record and counts for nothing.
    Quarantined,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NoValue,
        Self::Stale,
        Self::CommLost,
        Self::NotFinite,
        Self::OutOfRange,
        Self::DeviceReported,
        Self::Unauthenticated,
        Self::Malformed,
        Self::Quarantined,
    ];
}

impl Quality {
    /// Whether the value is fit for use without reservation.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// Whether the value must not be used.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Bad(_))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoValue => "no value yet",
            Self::Stale => "stale",
            Self::CommLost => "comm lost",
            Self::NotFinite => "not finite",
            Self::OutOfRange => "out of range",
            Self::DeviceReported => "device reported",
            Self::Unauthenticated => "unauthenticated",
            Self::Malformed => "malformed",
            Self::Quarantined => "quarantined",
        })
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Uncertain(flaw) => write!(f, "uncertain: {flaw}"),
            Self::Bad(flaw) => write!(f, "bad: {flaw}"),
        }
    }
}
