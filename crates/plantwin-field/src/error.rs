//! What keeps the simulated devices from starting.

use plantwin_adapter::LinkError;
use thiserror::Error;

/// Why the field did not start. Fragments fit "failed to {error}".
#[derive(Debug, Error)]
pub enum FieldError {
    /// A server did not start.
    #[error("start the {protocol} devices: {source}")]
    Host {
        /// Protocol.
        protocol: String,
        /// Cause.
        source: LinkError,
    },
    /// A protocol of the plant is not in this build.
    #[error("find the protocol `{0}` in this build")]
    Protocol(String),
    /// An address in the plant file is none.
    #[error("read the listen address `{address}` of {protocol}: expected host:port")]
    Address {
        /// Protocol.
        protocol: String,
        /// Text.
        address: String,
    },
    /// The model cannot be simulated.
    #[error("simulate the plant: {0}")]
    Model(String),
    /// The authority refused to know a device.
    #[error("enrol {device}: {cause}")]
    Enrol {
        /// Device.
        device: String,
        /// Cause.
        cause: String,
    },
    /// The thread that steps the plant could not be started.
    #[error("start the plant's thread: {0}")]
    Thread(std::io::Error),
}
