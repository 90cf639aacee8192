//! Kill loops on the real binary: `kill -9` at any moment under load, and nothing is lost.
//!
//! The load comes from programs of others: `mosquitto_pub` measures, `mosquitto_sub` obeys and
//! listens northbound. Three books say what must be there: `telemetry`, `commands`,
//! `alarms`; each is tested with invented histories. Absent: power cuts (a killed process
//! leaves the page cache; images of the store as a power cut leaves it are for the store's own
//! drill).

mod alarms;
mod commands;
mod lives;
mod load;
mod report;
mod telemetry;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
};

use crate::Control;

/// Devices of the plant.
const DEVICES: usize = 8;
/// Its name.
const PLANT: &str = "nothing-lost";

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Kills {
    /// How often the plant is killed.
    pub loops: u64,
    /// Seed of load and moments.
    pub seed: u64,
}

/// Runs the loops in `folder` and prints the report; `false` if anything was lost.
pub fn run(kills: Kills, folder: &Path) -> bool {
    lives::run(kills, folder)
}

/// What the threads share.
struct Shared {
    control: Control,
    telemetry: Mutex<telemetry::Telemetry>,
    commands: Mutex<commands::Commands>,
    alarms: Mutex<alarms::Alarms>,
    /// Held while an alarm is being acknowledged, so that the word cannot reach a later life.
    acknowledging: Mutex<()>,
    /// What each device's valve was set to last.
    valves: Vec<AtomicU64>,
    /// The life that answers, 0 for none.
    up: AtomicU64,
    /// The load may end.
    over: AtomicBool,
    /// Statuses that were read.
    statuses: AtomicU64,
    /// Statuses with an alarm of a damaged or failing store.
    store_alarms: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked ends the run with what the others found.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
