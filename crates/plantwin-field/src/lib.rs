//! The device side: simulated devices that serve their model over the real protocol.
//!
//! [`Field::start`] takes a plant, starts the embedded servers its simulated devices need and
//! steps the coupled plant model on its own thread with absolute deadlines. Twins reach these
//! devices through sockets exactly as they reach hardware: nothing passes beside the wire.
//! Absent: anything a physical device would not know (twins, alarms, other devices' values).

mod device;
mod error;
mod hosts;
mod native;
mod pace;
mod plant;
mod scenario;
#[cfg(test)]
mod tests;

pub use error::FieldError;
pub use hosts::{Field, FieldRequest, Identities};
pub use native::{NativeDevice, Said};
pub use pace::{StepStats, StepStatsSnapshot};
