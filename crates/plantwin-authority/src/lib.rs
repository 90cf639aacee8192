//! Who may speak for a device, and who may do what in a plant.
//!
//! Two factors: a device proves that it holds its keys, and shows a token of the plant's authority
//! that lives ten minutes and is bound to them; neither is worth anything alone. [`registry`] is
//! what the authority knows and decides, [`service`] how it is reached, in this process or far
//! away, [`pws`] the session that both factors open, [`native`] what is said inside it, and
//! [`policy`] what a person or a device may do then. Each way to fail is an [`AuthError`] with a
//! reason of its own for the record.
//!
//! Absent: carrying bytes (adapters), keeping sessions and acting on evidence (the runtime).
//! Who takes the whole disk of a device takes both factors: only short life, revocation and
//! detection help against that.

mod error;
pub mod native;
pub mod policy;
pub mod pws;
pub mod registry;
pub mod service;

pub use error::AuthError;
pub use pws::{CLOCK_SKEW, MESSAGE_LIMIT, TOKEN_LIFE};
