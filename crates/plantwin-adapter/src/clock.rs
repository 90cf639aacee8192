//! The only place that asks the operating system for the time.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use plantwin_model::{Clock, Timestamp};

/// Wall time at start, advanced by the monotonic clock, times a speed.
///
/// It never runs backwards, whatever happens to the system's wall clock. The next process may
/// begin earlier all the same: the wall clock was set back meanwhile, or this one ran ahead of it.
#[derive(Debug)]
pub struct SystemClock {
    origin: Timestamp,
    started: Instant,
    speed: f64,
}

impl SystemClock {
    /// A clock that runs `speed` times as fast as wall time; `speed` > 0.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is given")]
    pub fn new(speed: f64) -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX));
        Self { origin, started: Instant::now(), speed }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.origin.plus(self.started.elapsed().mul_f64(self.speed))
    }

    fn speed(&self) -> f64 {
        self.speed
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `now`.
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves on.
    pub fn advance(&self, by: std::time::Duration) {
        self.0.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Jumps.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}
