//! The station: opens what twins tell and keeps the plant's view.
//!
//! Twins post sealed events; the station applies the newest of each twin to a shared table and
//! publishes a snapshot at most ten times a second, and only when something changed. A snapshot
//! copies what changed, never all twins. Absent: deciding anything.

mod actor;
pub(crate) mod book;

pub(crate) use actor::{Station, StationInit, StationNote};
pub use book::StationReport;
