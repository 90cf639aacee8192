//! The soak: a large plant for hours under troubles by chance, and what it takes over time.
//!
//! Absent: what is lost at a kill, which the kill loops look for more sharply.

mod north;
mod plant;
mod report;
mod run;
mod sample;
#[cfg(test)]
mod tests;
mod trouble;

use std::path::PathBuf;

/// What to do.
#[derive(Clone, Debug)]
pub struct Soak {
    /// How long.
    pub hours: f64,
    /// Simulated devices.
    pub devices: u32,
    /// Seed of the troubles.
    pub seed: u64,
    /// Where the report goes.
    pub out: PathBuf,
}

pub use run::run;
