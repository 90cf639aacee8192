//! What keeps devices from starting.

use std::path::PathBuf;

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
    /// A device that runs by itself has no hub to join.
    #[error("find the hub of {0}: the path names none by `addr`, nor does the plant's [listen]")]
    NoHub(String),
    /// A device's key file cannot be used.
    #[error("use the key file {}: {cause}", path.display())]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// Cause.
        cause: String,
    },
    /// A device's key file would be overwritten.
    #[error("write the key file {}: it is there already", path.display())]
    KeyFileThere {
        /// Which.
        path: PathBuf,
    },
    /// The passphrase does not open a device's key file.
    #[error("open the key file {}: wrong passphrase", path.display())]
    WrongPassphrase {
        /// Which.
        path: PathBuf,
    },
    /// The thread that steps the plant could not be started.
    #[error("start the plant's thread: {0}")]
    Thread(std::io::Error),
}
