//! Everything that can go wrong in this crate, as one enum.
//!
//! The fragments fit behind "failed to open: ". They tell an operator which check refused, and
//! never carry key material, plaintext or the expected value of a tag.

use thiserror::Error;

/// Why sealing, opening, a handshake or a primitive failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The operating system gave no randomness.
    #[error("the operating system's random source failed")]
    Random,
    /// A MAC does not match: wrong key or altered bytes.
    #[error("message authentication code does not match")]
    Mac,
    /// An Ed25519 signature does not match, or is of a refused form.
    #[error("signature does not match")]
    Signature,
    /// Bytes that are no valid Ed25519 public key, or a weak one (of small order).
    #[error("malformed or weak public key")]
    PublicKey,
    /// Fewer bytes than a header and a tag, or more than [`crate::MAX_ENVELOPE_BYTES`].
    #[error("envelope of {0} bytes is outside the allowed length")]
    Length(usize),
    /// The header names a version that this build does not speak.
    #[error("unknown envelope version {0}")]
    Version(u8),
    /// The header names a lane that does not exist.
    #[error("unknown lane {0}")]
    Lane(u8),
    /// The envelope belongs to another session.
    #[error("envelope of another session")]
    Session,
    /// The envelope comes from, or is for, somebody else than this session's two ends.
    #[error("envelope for another recipient or from another sender")]
    Party,
    /// The envelope holds a message of another type than the one asked for.
    #[error("envelope holds content type {0} and not the expected one")]
    ContentType(u16),
    /// The sequence number was seen before, or lies behind the receive window.
    #[error("sequence number {0} was seen before or lies behind the window")]
    Replay(u64),
    /// The epoch's key is gone already, or lies more than [`crate::EPOCH_SKIP`] epochs ahead.
    #[error("epoch {0} is not acceptable now")]
    Epoch(u32),
    /// The tag does not match: the envelope was altered, or sealed under another key.
    #[error("authentication tag does not match")]
    Tag,
    /// The message is authentic but came too late.
    #[error("deadline passed")]
    Deadline,
    /// Authentic plaintext that is no message of the expected type.
    #[error("plaintext is no message of the expected type")]
    Decode,
    /// The message cannot be serialized.
    #[error("message cannot be serialized")]
    Encode,
    /// All [`crate::MAX_MESSAGES`] sequence numbers of the session are used: start a new one.
    #[error("session is exhausted and needs a new handshake")]
    Exhausted,
    /// The envelope asked for again is not in flight.
    #[error("sequence number {0} is not in flight")]
    NotInFlight(u64),
    /// As many envelopes as allowed are unacknowledged already.
    #[error("too many envelopes in flight")]
    InFlightFull,
    /// A handshake message does not prove knowledge of the pair's secret, was made for other
    /// parties, or was reflected to its sender.
    #[error("handshake refused")]
    Handshake,
    /// A wrapped key was wrapped under another key than this one.
    #[error("it was wrapped under another key")]
    WrongKey,
    /// A passphrase is empty, or the stored cost of guessing it is beyond its bounds.
    #[error("the passphrase is empty or its stored cost is out of bounds")]
    Passphrase,
    /// Key material is shorter than [`crate::MATERIAL_BYTES`].
    #[error("{0} bytes are too few for a key")]
    Material(usize),
}
