//! Which of a device's paths to use.
//!
//! The rule of the doubling dwell: a dead path is left at once; a better one is returned to only
//! after it was tried and a dwell has passed that doubles with every return, so that a path which
//! comes and goes costs a bounded number of switches. Policy and security have filtered the list
//! before it comes here. Absent: measuring path quality beyond alive or dead, sockets.

#[cfg(test)]
mod tests;

use std::time::Duration;

use plantwin_model::Timestamp;

/// First dwell before a return to a preferred path.
const DWELL_MIN: Duration = Duration::from_secs(10);
/// Longest dwell.
const DWELL_MAX: Duration = Duration::from_mins(10);
/// Returns further back than this no longer lengthen the dwell.
const MEMORY: Duration = Duration::from_hours(1);
/// First wait before a path that failed to connect is tried again.
const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The choice among the paths of one device, by rank; rank 0 is preferred.
#[derive(Clone, Debug)]
pub struct PathChooser {
    paths: Vec<PathHealth>,
    current: Option<usize>,
    left_preferred: Option<Timestamp>,
    returns: Vec<Timestamp>,
    switches: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct PathHealth {
    failures: u32,
    retry_at: Timestamp,
}

impl PathChooser {
    /// A chooser among `paths` paths; at least one.
    pub fn new(paths: usize) -> Self {
        Self {
            paths: vec![PathHealth::default(); paths.max(1)],
            current: None,
            left_preferred: None,
            returns: Vec::new(),
            switches: 0,
        }
    }

    /// The path in use.
    pub const fn current(&self) -> Option<usize> {
        self.current
    }

    /// How many times the device left one path for another.
    pub const fn switches(&self) -> u32 {
        self.switches
    }

    /// While no path is up: the one to try now, or the time until which to wait.
    pub fn next_attempt(&self, now: Timestamp) -> Result<usize, Timestamp> {
        let due = self.paths.iter().position(|p| p.retry_at <= now);
        due.ok_or_else(|| self.paths.iter().map(|p| p.retry_at).min().unwrap_or(now))
    }

    /// The path could not be reached or broke. `jitter` in 0..1 spreads the retries of many.
    pub fn on_failure(&mut self, path: usize, now: Timestamp, jitter: f64) {
        let Some(health) = self.paths.get_mut(path) else { return };
        let factor = 2_u32.saturating_pow(health.failures.min(16));
        let wait = RETRY_MIN.saturating_mul(factor).min(RETRY_MAX);
        health.failures = health.failures.saturating_add(1);
        health.retry_at = now.plus(wait.mul_f64(jitter.clamp(0.0, 1.0).mul_add(0.25, 1.0)));
        if self.current == Some(path) {
            self.current = None;
            if path == 0 {
                self.left_preferred = Some(now);
            }
        }
    }

    /// The path carries values.
    pub fn on_up(&mut self, path: usize, now: Timestamp, came_from: Option<usize>) {
        let Some(health) = self.paths.get_mut(path) else { return };
        *health = PathHealth::default();
        if came_from.is_some_and(|from| from != path) {
            self.switches += 1;
            if came_from.is_some_and(|from| from > path) {
                self.returns.push(now);
            }
        }
        if path != 0 && self.left_preferred.is_none() {
            self.left_preferred = Some(now);
        }
        self.current = Some(path);
    }

    /// While on a lesser path: a better one that may be probed now.
    pub fn probe(&mut self, now: Timestamp) -> Option<usize> {
        let current = self.current.filter(|&c| c > 0)?;
        self.returns.retain(|&t| now.since(t) < MEMORY);
        let doublings = u32::try_from(self.returns.len()).unwrap_or(u32::MAX).min(16);
        let dwell = DWELL_MIN.saturating_mul(2_u32.saturating_pow(doublings)).min(DWELL_MAX);
        let since = self.left_preferred.unwrap_or(now);
        if now.since(since) < dwell {
            return None;
        }
        (0..current).find(|&p| self.paths[p].retry_at <= now)
    }
}
