//! The device side: devices that serve their model over the real protocol, and prove who they are.
//!
//! [`Field::start`] takes a plant, starts the embedded servers its simulated devices need and
//! steps the coupled plant model on its own thread with absolute deadlines. Twins reach these
//! devices through sockets exactly as they reach hardware: nothing passes beside the wire.
//! [`Field::start_alone`] does the same for one device that is a process of its own. A device of
//! somebody's own making takes [`NativeDevice`], which any way of carrying bytes serves, and keeps
//! its keys in a [`KeyFile`].
//! Absent: anything a physical device would not know (twins, alarms, other devices' values).

mod device;
mod error;
mod hosts;
mod kept;
mod key_file;
mod native;
mod pace;
mod plant;
mod scenario;
#[cfg(test)]
mod tests;

pub use error::FieldError;
pub use hosts::{Field, FieldRequest, Identities, Report};
pub use key_file::{KEY_FILE, KeyFile};
pub use native::{Envelope, NativeDevice, Said};
pub use pace::{StepStats, StepStatsSnapshot};
