//! Durable telemetry on its way out: ordered per device, paced, deleted only when the other side
//! has acknowledged it.
//!
//! [`Forwarder`] is pure: which record next, how many now, what may be deleted. `task` connects,
//! sends and hears. Records are sent again after a lost connection, so the other side may see
//! one twice; device and sequence tell. What the spool had to drop is a gap record in its place.
//! Absent: keeping (`keeper`, `plantwin-store`), protocols.

mod record;
mod state;
mod task;
#[cfg(test)]
mod tests;

pub(crate) use record::{PointRecord, TelemetryRecord, body};
pub(crate) use state::Forwarder;
pub(crate) use task::{NorthboundStatus, TIMEOUT, Way, forward};
