//! Who may speak for a device: enrolment, tokens and the proof of both.
//!
//! Two factors: a device proves that it holds its Ed25519 key, and shows a token of the plant's
//! [`Authority`] that lives ten minutes and is bound to that key. Neither is worth anything alone.
//! The gateway's [`Verifier`] sends a challenge, the device's [`DeviceAgent`] answers; both are
//! opaque bytes that every adapter can carry. Each way to fail has its own [`AuthError`].
//!
//! What this does not do, and what is planned for it:
//! - the session is authenticated at its start only and yields no keys, and the gateway does not
//!   prove itself to the device: [`pws`] does both, and mixes a secret that belongs to the token
//!   into its handshake;
//! - whoever may call [`Authority::enrol`] may enrol anything: vouchers, single use and bound to
//!   device and zone, come before it;
//! - the issuer's key is the root of trust and lies in this process: an offline root will sign
//!   short-lived issuer keys;
//! - who takes the whole disk of a device takes both factors: only short life, revocation and
//!   detection help against that.
//!
//! ```
//! use plantwin_authority::{Authority, DeviceAgent};
//! use plantwin_model::Timestamp;
//!
//! let (device, zone, now) = ("tank1".into(), "field".into(), Timestamp::from_millis(0));
//! let authority = Authority::generate()?;
//! let mut agent = DeviceAgent::new(authority.enrol(&device, &zone)?);
//! agent.accept(authority.issue(&device, now)?)?;
//!
//! let gateway = authority.verifier("gateway");
//! let pending = gateway.challenge(now)?;
//! let answer = agent.answer(pending.bytes(), now)?;
//! let grant = gateway.verify(pending, &answer, &device, &zone, now)?;
//! assert_eq!(grant.expires, Timestamp::from_millis(600_000));
//! # Ok::<(), plantwin_authority::AuthError>(())
//! ```

mod agent;
mod authority;
mod error;
pub mod native;
pub mod policy;
pub mod pws;
pub mod registry;
pub mod service;
mod token;
mod verifier;
mod wire;

#[cfg(test)]
mod tests;

pub use agent::DeviceAgent;
pub use authority::{Authority, DeviceCredentials, Revocations};
pub use error::AuthError;
pub use token::{CLOCK_SKEW, Claims, TOKEN_LIFE, Token};
pub use verifier::{CHALLENGE_LIFE, PendingChallenge, SessionGrant, Verifier};
pub use wire::MESSAGE_LIMIT;
