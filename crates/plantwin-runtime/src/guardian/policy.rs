//! When to restart what crashed: data and a pure decision.

use std::{collections::VecDeque, time::Duration};

use plantwin_model::{
    SupervisionSpec, Timestamp,
    invariant::{self, Life},
};

/// How often and how fast a crashed twin is restarted.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RestartPolicy {
    /// Wait before the second restart within the window; the first one comes at once.
    pub backoff_min: Duration,
    /// Longest wait; each further crash doubles it up to here.
    pub backoff_max: Duration,
    /// Crashes within `window` that are answered by a restart; one more gives the twin up.
    pub max_restarts: usize,
    /// How far back crashes count, in plant time.
    pub window: Duration,
}

impl Default for RestartPolicy {
    /// First restart at once, then 0.1 s doubling to 30 s, at most 5 in 60 s.
    fn default() -> Self {
        Self {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            max_restarts: 5,
            window: Duration::from_mins(1),
        }
    }
}

impl From<&SupervisionSpec> for RestartPolicy {
    fn from(spec: &SupervisionSpec) -> Self {
        Self {
            backoff_min: spec.backoff_min,
            backoff_max: spec.backoff_max,
            max_restarts: spec.max_restarts as usize,
            window: spec.window,
        }
    }
}

/// What to do about a crash.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Decision {
    /// Restart after this wait (zero: at once).
    RestartAfter(Duration),
    /// Too many crashes: wait for an operator.
    GiveUp,
}

/// Crashes of one twin within the window.
#[derive(Clone, Debug, Default)]
pub struct RestartHistory {
    crashes: VecDeque<Timestamp>,
}

impl RestartHistory {
    /// Notes a crash at `now` and decides. `jitter` in 0..1 spreads restarts of many twins that
    /// crashed together: the wait is stretched by up to a quarter.
    pub fn on_crash(&mut self, policy: &RestartPolicy, now: Timestamp, jitter: f64) -> Decision {
        while self.crashes.front().is_some_and(|&t| now.since(t) >= policy.window) {
            self.crashes.pop_front();
        }
        if self.crashes.len() >= policy.max_restarts {
            return Decision::GiveUp;
        }
        let before = self.crashes.len();
        self.crashes.push_back(now);
        debug_assert_eq!(self.judge(policy), Ok(()));
        let Some(doublings) = before.checked_sub(1) else {
            return Decision::RestartAfter(Duration::ZERO);
        };
        let factor = 2_u32.saturating_pow(u32::try_from(doublings).unwrap_or(u32::MAX));
        let wait = policy.backoff_min.saturating_mul(factor).min(policy.backoff_max);
        Decision::RestartAfter(wait.mul_f64(jitter.clamp(0.0, 1.0).mul_add(0.25, 1.0)))
    }

    /// Whether the crashes that were answered are no more than the policy allows.
    fn judge(&self, policy: &RestartPolicy) -> invariant::Verdict {
        let life = self.crashes.iter().map(|&at| Life::Crashed(at)).chain([Life::Alive]);
        invariant::restarts("a supervised child", policy.max_restarts, policy.window, life)
    }

    /// Forgets all crashes: an operator restarted the twin.
    pub fn forgive(&mut self) {
        self.crashes.clear();
    }
}
