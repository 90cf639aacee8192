//! Points in time and the clock that everything else is given.
//!
//! The model layer knows no clock of its own: whoever needs the time is handed a [`Clock`],
//! which a test or a simulation replaces. Absent: time zones, formatting, sleeping.

use std::{fmt::Debug, time::Duration};

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01T00:00:00Z of the plant's clock.
///
/// Plant time equals wall time at speed 1; under `--speed 10` it runs ten times as fast.
/// Signed 64 bit nanoseconds reach the year 2262.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From whole milliseconds since the epoch, saturating.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the epoch, rounded towards the past.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Time passed since `earlier`; zero if `earlier` lies in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This time plus `d`, saturating.
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// The source of time, injected so that tests and simulations may own it.
pub trait Clock: Send + Sync + Debug {
    /// The plant's time now.
    fn now(&self) -> Timestamp;

    /// How much plant time passes in one second of wall time; 1 unless `--speed` was given.
    fn speed(&self) -> f64 {
        1.0
    }
}
