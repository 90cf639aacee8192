//! Which of a device's paths to use.
//!
//! The rule of the doubling dwell: a dead path is left at once; a better one is returned to only
//! after it was tried and a dwell has passed that doubles with every return, so that a path which
//! comes and goes costs a bounded number of switches. Policy and security have filtered the list
//! before it comes here. A breaker per path says when a path may be tried and whether connecting
//! alone counts. Absent: measuring path quality beyond alive or dead, sockets.

mod breaker;
#[cfg(test)]
mod tests;

use std::time::Duration;

use plantwin_model::Timestamp;

use breaker::Breaker;
pub use breaker::BreakerState;

/// First dwell before a return to a preferred path.
const DWELL_MIN: Duration = Duration::from_secs(10);
/// Longest dwell.
const DWELL_MAX: Duration = Duration::from_mins(10);
/// Returns further back than this no longer lengthen the dwell.
const MEMORY: Duration = Duration::from_hours(1);
/// The choice among the paths of one device, by rank; rank 0 is preferred.
#[derive(Clone, Debug)]
pub struct PathChooser {
    paths: Vec<Breaker>,
    current: Option<usize>,
    left_preferred: Option<Timestamp>,
    returns: Vec<Timestamp>,
    switches: u32,
}

impl PathChooser {
    /// A chooser among `paths` paths; at least one.
    pub fn new(paths: usize) -> Self {
        Self {
            paths: vec![Breaker::default(); paths.max(1)],
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

    /// Where a path's breaker stands; an unknown path rests.
    pub fn state(&self, path: usize, now: Timestamp) -> BreakerState {
        self.paths.get(path).map_or(BreakerState::Open, |p| p.state(now))
    }

    /// Whether the path hung, so that a connection counts as up only after a sign of life.
    pub fn needs_life(&self, path: usize) -> bool {
        self.paths.get(path).is_some_and(Breaker::needs_life)
    }

    /// Whether a path may be tried now that would be up as soon as it connects.
    pub fn is_one_at_hand(&self, now: Timestamp) -> bool {
        self.paths.iter().any(|p| p.is_due(now) && !p.needs_life())
    }

    /// While no path is up: the one to try now, or the time until which to wait. One that hung
    /// does not delay one that did not.
    pub fn next_attempt(&self, now: Timestamp) -> Result<usize, Timestamp> {
        let due = |needs_life| {
            self.paths.iter().position(|p| p.is_due(now) && p.needs_life() == needs_life)
        };
        due(false)
            .or_else(|| due(true))
            .ok_or_else(|| self.paths.iter().map(|p| p.retry_at).min().unwrap_or(now))
    }

    /// While a path that hung is tried: when it is the turn of one that did not. Only each second
    /// try may be cut short, so that it has a chance while the others merely refuse.
    pub fn next_good(&self, tried: usize) -> Option<Timestamp> {
        let hung = self.paths.get(tried).is_some_and(|path| path.needs_life() && !path.cut);
        let others = self.paths.iter().filter(|path| hung && !path.needs_life());
        others.map(|path| path.retry_at).min()
    }

    /// The path could not be reached, or broke in good order. `jitter` in 0..1 spreads the
    /// retries of many.
    pub fn on_failure(&mut self, path: usize, now: Timestamp, jitter: f64) {
        self.fail(path, (false, false), now, jitter);
    }

    /// The path connected and then nothing came, or it died by a timeout: only a sign of life
    /// makes it count as up again.
    pub fn on_hang(&mut self, path: usize, now: Timestamp, jitter: f64) {
        self.fail(path, (true, false), now, jitter);
    }

    /// The try of a path that hung was cut short.
    pub fn on_cut(&mut self, path: usize, now: Timestamp, jitter: f64) {
        self.on_hang(path, now, jitter);
        if let Some(breaker) = self.paths.get_mut(path) {
            breaker.cut = true;
        }
    }

    /// The path carried values and fell silent. As [`Self::on_hang`], and the first try waits as
    /// long as a later one.
    pub fn on_silence(&mut self, path: usize, now: Timestamp, jitter: f64) {
        self.fail(path, (true, true), now, jitter);
    }

    fn fail(&mut self, path: usize, how: (bool, bool), now: Timestamp, jitter: f64) {
        let Some(breaker) = self.paths.get_mut(path) else { return };
        breaker.on_failure(how, now, jitter);
        if self.current == Some(path) {
            self.current = None;
            if path == 0 {
                self.left_preferred = Some(now);
            }
        }
    }

    /// The path carries values.
    pub fn on_up(&mut self, path: usize, now: Timestamp, came_from: Option<usize>) {
        let Some(breaker) = self.paths.get_mut(path) else { return };
        breaker.on_up();
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
        (0..current).find(|&p| self.paths[p].is_due(now))
    }
}
