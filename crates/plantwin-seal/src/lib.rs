//! Sealing: what keeps a message secret, whole, in order and from the right sender.
//!
//! The sole owner of the workspace's cryptography: ChaCha20-Poly1305 and randomness (`ring`), BLAKE3,
//! Ed25519, X25519 and Noise. Two parties share a secret, shake hands and hold a [`Session`] each:
//!
//! ```
//! use plantwin_model::Timestamp;
//! use plantwin_seal::{Content, KeyDistributor, Lane, PartyId, SealError, Sealed, Session};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, PartialEq, Debug)]
//! struct Level {
//!     metres: f64,
//! }
//!
//! impl Content for Level {
//!     const CONTENT_TYPE: u16 = 7;
//! }
//!
//! # fn main() -> Result<(), SealError> {
//! let (tank, pump) = (PartyId(1), PartyId(2));
//! let now = Timestamp::from_millis(1_000);
//! let secret = KeyDistributor::new()?.pair_secret(tank, pump);
//! let (mut at_tank, mut at_pump) = Session::pair(&secret, tank, pump, now)?;
//!
//! let sealed: Sealed<Level> = at_tank.sealer.seal(&Level { metres: 1.5 }, Lane::Durable, None, now)?;
//! let mut scratch = Vec::new();
//! let level = at_pump.opener.open_ref(&sealed, &mut scratch, now)?;
//! assert_eq!(level, Level { metres: 1.5 });
//!
//! // The pump's actor crashed before it was done: its successor gets the same envelope.
//! assert_eq!(at_pump.opener.reopen(&sealed, &mut scratch, now)?, level);
//! at_pump.opener.acknowledge(sealed.header().sequence)?;
//!
//! // For everybody else a second delivery is a replay.
//! assert_eq!(at_pump.opener.open(sealed, now), Err(SealError::Replay(0)));
//! # Ok(())
//! # }
//! ```
//!
//! Absent: actors, input and output, clocks, policy, device enrolment and tokens,
//! keeping keys.

mod aead;
mod chain;
mod distributor;
mod envelope;
mod epoch;
mod error;
mod handshake;
mod header;
mod in_flight;
pub mod noise;
mod opener;
mod origin;
mod passphrase;
mod primitives;
mod rest;
mod sealer;
mod signature;
#[cfg(test)]
mod testing;
mod window;
mod wrap;

pub use chain::{
    ChainHash, ChainState, Checkpoint, CheckpointNote, CheckpointSigner, audit_identity,
};
pub use distributor::KeyDistributor;
pub use envelope::{Content, Sealed};
pub use epoch::{EPOCH_MESSAGES, EPOCH_SKIP, EPOCH_TIME, MAX_MESSAGES};
pub use error::SealError;
pub use handshake::{Answer, Confirm, Hello, Initiator, Responder, Session};
pub use header::{
    HEADER_BYTES, Header, Lane, MAX_ENVELOPE_BYTES, OVERHEAD_BYTES, PartyId, TAG_BYTES, VERSION,
};
pub use in_flight::IN_FLIGHT_LIMIT;
pub use noise::{DhKey, DhPublic, open_from, seal_to};
pub use opener::Opener;
pub use origin::{
    ORIGIN_BYTES, OriginDigest, OriginValue, origin_digest, origin_key, verify_origin,
};
pub use passphrase::{PassphraseCost, SALT_BYTES, argon2id};
pub use primitives::{
    DIGEST_BYTES, Secret, constant_time_eq, derive_key, hash, mac, random_bytes, verify_mac,
};
pub use rest::{REST_OVERHEAD_BYTES, open_at_rest, seal_at_rest};
pub use sealer::Sealer;
pub use signature::{KEY_BYTES, SIGNATURE_BYTES, Signature, SigningKey, VerifyingKey};
pub use window::WINDOW;
pub use wrap::{Kek, MATERIAL_BYTES, WRAPPED_BYTES};
