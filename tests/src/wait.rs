//! Waiting for something to become true.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Longest wait: generous, since test machines are busy; nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The wall clock of the harness.
#[expect(clippy::disallowed_methods, reason = "a test harness may look at the wall clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits until `look` finds what it looks for.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_or(look, || what.to_owned())
}

/// The same, where what is told in vain is known only then.
pub(crate) fn wait_or<T>(mut look: impl FnMut() -> Option<T>, what: impl FnOnce() -> String) -> T {
    let started = now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {}", what());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until `look` says yes.
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}
