//! Keeping the plant's step in time, and counting where it was not.
//!
//! Deadlines are absolute (start + tick x step), so lateness never adds up. What is late is
//! caught up; a gap longer than [`GIVE_UP_AFTER`] (a suspended machine) is skipped and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use plantwin_model::{Clock, Timestamp};

/// Longest backlog that is caught up, in plant time at speed 1.
const GIVE_UP_AFTER: Duration = Duration::from_secs(2);

/// Counts of the stepping thread. Executed plus skipped equals the ticks that were due.
#[derive(Debug, Default)]
pub struct StepStats {
    executed: AtomicU64,
    skipped: AtomicU64,
    overruns: AtomicU64,
    late_max_ns: AtomicU64,
    late_sum_ns: AtomicU64,
    dropped: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StepStatsSnapshot {
    /// Steps done.
    pub executed: u64,
    /// Steps left out after a long stall.
    pub skipped: u64,
    /// Steps that began more than one step late.
    pub overruns: u64,
    /// Greatest lateness of a step's begin.
    pub late_max: Duration,
    /// Mean lateness.
    pub late_mean: Duration,
    /// Measurements that a device's outlet was too slow to take (newest wins).
    pub dropped: u64,
}

impl StepStats {
    /// Reads all counts.
    pub fn snapshot(&self) -> StepStatsSnapshot {
        let executed = self.executed.load(Relaxed);
        StepStatsSnapshot {
            executed,
            skipped: self.skipped.load(Relaxed),
            overruns: self.overruns.load(Relaxed),
            late_max: Duration::from_nanos(self.late_max_ns.load(Relaxed)),
            late_mean: Duration::from_nanos(
                self.late_sum_ns.load(Relaxed).checked_div(executed).unwrap_or(0),
            ),
            dropped: self.dropped.load(Relaxed),
        }
    }

    pub(crate) fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }
}

/// Paces ticks against a clock.
pub(crate) struct Pacer {
    clock: Arc<dyn Clock>,
    stats: Arc<StepStats>,
    start: Timestamp,
    step: Duration,
    tick: u64,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// Sleep this long (wall time), then ask again.
    Wait(Duration),
    /// Do one step now; the plant time at its end.
    Step(Timestamp),
}

impl Pacer {
    pub(crate) fn new(clock: Arc<dyn Clock>, stats: Arc<StepStats>, step: Duration) -> Self {
        let start = clock.now();
        Self { clock, stats, start, step, tick: 0 }
    }

    fn due(&self, tick: u64) -> Timestamp {
        let ns = self.step.as_nanos().saturating_mul(u128::from(tick));
        Timestamp(self.start.0.saturating_add(i64::try_from(ns).unwrap_or(i64::MAX)))
    }

    pub(crate) fn next(&mut self) -> Pace {
        let now = self.clock.now();
        let due = self.due(self.tick + 1);
        if now < due {
            return Pace::Wait(due.since(now).div_f64(self.clock.speed().max(1e-6)));
        }
        let late = now.since(due);
        if late > GIVE_UP_AFTER.mul_f64(self.clock.speed().max(1.0)) {
            let skipped = (late.as_nanos() / self.step.as_nanos().max(1)) as u64;
            self.stats.skipped.fetch_add(skipped, Relaxed);
            self.start =
                self.start.plus(self.step.saturating_mul(skipped.min(u64::from(u32::MAX)) as u32));
            tracing::warn!(skipped, "the plant's thread was held up; steps were left out");
        }
        self.tick += 1;
        let nanos = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.stats.executed.fetch_add(1, Relaxed);
        self.stats.late_sum_ns.fetch_add(nanos, Relaxed);
        self.stats.late_max_ns.fetch_max(nanos, Relaxed);
        if late > self.step {
            self.stats.overruns.fetch_add(1, Relaxed);
        }
        Pace::Step(self.due(self.tick))
    }
}
