//! The station: opens what twins tell and keeps the plant's view.
//!
//! Twins post sealed events; the station applies the newest of each twin to a shared table and
//! publishes a snapshot at most ten times a second, and only when something changed. A snapshot
//! copies what changed, never all twins. What must outlive the process it hands to the keeper,
//! and shows an alarm only when it is on record, or cannot be. Absent: deciding anything.

mod actor;
mod alarms;
pub(crate) mod book;
mod notes;
mod slot;
#[cfg(test)]
mod tests;
mod upkeep;

pub(crate) use actor::{PLANT, Station, StationInit};
pub(crate) use alarms::AlarmRecord;
pub use book::StationReport;
pub(crate) use notes::{Notes, StationNote};
pub(crate) use upkeep::GAVE_UP;
