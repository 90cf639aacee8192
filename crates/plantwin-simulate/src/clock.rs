//! Virtual time: tokio's paused clock, counted on across crashes of the simulated process.
//!
//! *World time* only ever passes; the plant's clock shows it plus an offset that a fault may move
//! forwards, as on a machine that was suspended, or backwards between two processes, as when
//! somebody sets the machine's clock. Absent: moving backwards under a process that runs, which
//! the real clock (`plantwin_adapter::SystemClock`) never does either.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plantwin_model::{Clock, Timestamp};
use tokio::time::Instant;

/// When every simulation begins: 2026-01-01T00:00:00Z.
const ORIGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The clock of a simulation.
#[derive(Debug, Default)]
pub struct VirtualClock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// World time when the process that runs now began, or the last one ended.
    base: Duration,
    /// When it began in tokio's time.
    began: Option<Instant>,
    /// Nanoseconds by which the plant's clock is ahead of world time.
    offset: i64,
}

impl State {
    fn world(&self) -> Duration {
        self.base + self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }
}

impl VirtualClock {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that runs under the lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process begins; must be called within its paused tokio runtime.
    pub fn begin(&self) {
        self.state().began = Some(Instant::now());
    }

    /// The process ends; must be called within its runtime. Time stands still until
    /// [`Self::pass`] or the next [`Self::begin`].
    pub fn end(&self) {
        let mut state = self.state();
        state.base = state.world();
        state.began = None;
    }

    /// Time passes while no process runs.
    pub fn pass(&self, time: Duration) {
        self.state().base += time;
    }

    /// The plant's clock jumps forwards.
    pub fn jump(&self, by: Duration) {
        let mut state = self.state();
        state.offset = state.offset.saturating_add(nanos(by));
    }

    /// The plant's clock is set back; no process may run that saw it before.
    pub fn set_back(&self, by: Duration) {
        let mut state = self.state();
        state.offset = state.offset.saturating_sub(nanos(by));
    }

    /// Time since the simulation began, without jumps.
    pub fn world(&self) -> Duration {
        self.state().world()
    }

    /// When world time reaches `at`, in the time of the running process; now if that has passed.
    pub(crate) fn instant_of(&self, at: Duration) -> Instant {
        let state = self.state();
        let began = state.began.unwrap_or_else(Instant::now);
        began + at.saturating_sub(state.base)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let state = self.state();
        let world = ORIGIN.plus(state.world());
        Timestamp(world.0.saturating_add(state.offset))
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn world_time_goes_on_across_processes_and_jumps_move_the_plants_clock_alone() {
        let clock = VirtualClock::default();
        clock.begin();
        tokio::time::sleep(Duration::from_secs(5)).await;
        clock.end();
        tokio::time::sleep(Duration::from_secs(100)).await;
        clock.pass(Duration::from_secs(2));
        clock.begin();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(clock.world(), Duration::from_secs(8));
        assert_eq!(clock.now(), ORIGIN.plus(Duration::from_secs(8)));
        clock.jump(Duration::from_hours(1));
        assert_eq!(clock.world(), Duration::from_secs(8));
        assert_eq!(clock.now(), ORIGIN.plus(Duration::from_secs(3_608)));
        clock.set_back(Duration::from_hours(2));
        assert_eq!(clock.world(), Duration::from_secs(8));
        assert_eq!(clock.now().plus(Duration::from_secs(3_592)), ORIGIN);
        let due = clock.instant_of(Duration::from_secs(9));
        assert_eq!(due - Instant::now(), Duration::from_secs(1));
    }
}
