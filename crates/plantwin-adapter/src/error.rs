//! What goes wrong between plantwin and a device.

use thiserror::Error;

/// Why a link or a device face failed. Fragments fit "failed to {error}".
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LinkError {
    /// The path's settings make no sense to the protocol.
    #[error("use the path settings: {0}")]
    Settings(String),
    /// Nobody listens there, or the network refused.
    #[error("reach {endpoint}: {cause}")]
    Unreachable {
        /// Endpoint.
        endpoint: String,
        /// Cause, lowercase.
        cause: String,
    },
    /// The other side did not answer in time.
    #[error("hear from {endpoint} within {millis} ms")]
    Timeout {
        /// Endpoint.
        endpoint: String,
        /// How long was waited.
        millis: u64,
    },
    /// The connection ended.
    #[error("keep the connection: {0}")]
    Closed(String),
    /// The device refused a write or a request.
    #[error("have it accepted by the device: {0}")]
    Refused(String),
    /// The device does not offer what was asked for (e.g. a plain device has no session).
    #[error("find {0} on the device")]
    Unsupported(String),
    /// A local address could not be bound.
    #[error("listen on {address}: {cause}")]
    Listen {
        /// Address.
        address: String,
        /// Cause, lowercase.
        cause: String,
    },
}
