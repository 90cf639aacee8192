//! What keeps a plant from running.

use plantwin_field::FieldError;
use plantwin_store::StoreError;
use thiserror::Error;

/// Why the plant did not start. Fragments fit "failed to {error}".
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The simulated devices.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Keys for the sealed mailboxes.
    #[error("make keys for the mailboxes: {0}")]
    Keys(String),
    /// A model does not compile; `plantwin check` says more.
    #[error("compile the model of type {kind}: {cause}")]
    Model {
        /// Type.
        kind: String,
        /// First problem.
        cause: String,
    },
    /// A flow crosses zones without a conduit.
    #[error("route {from} to {to}: there is no conduit between their zones")]
    Conduit {
        /// Giving device.
        from: String,
        /// Taking device.
        to: String,
    },
    /// A device names an energy profile that does not exist.
    #[error("find the energy profile `{0}`")]
    Energy(String),
    /// A thread or runtime could not be started.
    #[error("start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The runtime ended before it was up.
    #[error("start the plant: it ended while starting")]
    Ended,
}
