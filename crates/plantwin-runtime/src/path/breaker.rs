//! The circuit breaker of one path: when it may be tried, and what counts as up.
//!
//! Closed: nothing speaks against the path. Open: it failed, and rests. Half-open: it may be
//! tried once more. A path that was found hanging (it connected, and then nothing came) is
//! believed only after a sign of life; one that merely refused or ended in good order is up when
//! it connects. Tries go on for ever. Absent: the try itself and its deadline (the line's).

use std::time::Duration;

use plantwin_model::Timestamp;

/// First wait before a path that failed is tried again.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(250);
/// Longest such wait before it is stretched.
const RETRY_MAX: Duration = Duration::from_secs(8);
/// Least and most of a wait, as shares of it, so that the tries of many devices that failed
/// together spread, and with them the load when all come back: the longest wait of all is 10 s.
/// A thousand devices of which three hundred came back within the 2 s of a narrower spread had
/// the request rate rise to 1.3 times its nominal value (benchmark `hung`).
const SPREAD: (f64, f64) = (0.5, 1.25);
/// Doublings from the first wait to the longest.
const DOUBLINGS: u32 = 5;

/// Where a path stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    /// Nothing speaks against it.
    Closed,
    /// It failed, and is left alone.
    Open,
    /// It failed, and may be tried again.
    HalfOpen,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    pub(super) retry_at: Timestamp,
    hung: bool,
    /// Its last try was cut short.
    pub(super) cut: bool,
}

impl Breaker {
    pub(super) fn state(&self, now: Timestamp) -> BreakerState {
        match self.failures {
            0 => BreakerState::Closed,
            _ if now < self.retry_at => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// Whether it may be tried now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.state(now) != BreakerState::Open
    }

    /// Whether a connection alone does not count as up.
    pub(super) const fn needs_life(&self) -> bool {
        self.hung
    }

    /// It failed; `hung` if only a sign of life can restore trust in it. One that hung while it was
    /// in use (`fell_silent`) begins with the longest wait: of many that fell silent together the
    /// first tries would otherwise be as close, and all would come back within a second.
    pub(super) fn on_failure(
        &mut self,
        (hung, fell_silent): (bool, bool),
        now: Timestamp,
        jitter: f64,
    ) {
        if fell_silent {
            self.failures = self.failures.max(DOUBLINGS);
        }
        let factor = 2_u32.saturating_pow(self.failures.min(16));
        let wait = RETRY_MIN.saturating_mul(factor).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        let (least, most) = SPREAD;
        let wait = wait.mul_f64(jitter.clamp(0.0, 1.0).mul_add(most - least, least));
        self.retry_at = now.plus(wait.max(RETRY_MIN));
        self.cut = false;
        self.hung |= hung;
    }

    /// It is up.
    pub(super) fn on_up(&mut self) {
        *self = Self::default();
    }
}
