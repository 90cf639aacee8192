//! Every way in which enrolment, issuing or a session start can fail, as one enum.

use plantwin_model::DeviceId;
use plantwin_seal::SealError;
use thiserror::Error;

/// Why a device was not enrolled, got no token or no session.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The bytes are no message of this protocol.
    #[error("read a session message: {0}")]
    Malformed(&'static str),
    /// The message is of a version that is not spoken here.
    #[error("read a session message: unknown version {0}")]
    Version(u8),
    /// The token was not signed by this plant's authority, or was altered.
    #[error("accept the token: it was not signed by this plant's authority")]
    Forged,
    /// The token's life is over.
    #[error("accept the token: it expired")]
    Expired,
    /// The token was issued further in the future than clocks may differ.
    #[error("accept the token: it is not valid yet")]
    NotYetValid,
    /// The token is for another device.
    #[error("accept the token: it belongs to device {0}")]
    WrongDevice(DeviceId),
    /// The token is for another zone.
    #[error("accept the token: it is for another zone")]
    WrongZone,
    /// The token is bound to another key than the one shown.
    #[error("accept the token: it is bound to another key")]
    WrongKey,
    /// The key that the token is bound to was revoked.
    #[error("accept the token: the device's key was revoked")]
    Revoked,
    /// The answer does not prove that the device holds its key.
    #[error("accept the answer: it does not prove possession of the key")]
    NoPossession,
    /// The answer belongs to another challenge.
    #[error("accept the answer: it answers another challenge")]
    Replayed,
    /// The answer came too late.
    #[error("accept the answer: the challenge is too old")]
    StaleChallenge,
    /// The authority knows no such device.
    #[error("find device {0}: it is not enrolled")]
    UnknownDevice(DeviceId),
    /// The device has a key already; revoke it first.
    #[error("enrol device {0}: it has an active key already")]
    AlreadyEnrolled(DeviceId),
    /// The key belongs to another device, or was revoked.
    #[error("enrol device {0}: its key is known already")]
    KeyInUse(DeviceId),
    /// The device has no token that is still valid.
    #[error("answer the challenge: there is no valid token")]
    NoToken,
    /// A name is too long for a message.
    #[error("make a session message: {0} bytes are too long")]
    TooLong(usize),
    /// The operating system's randomness or a key failed.
    #[error("use a key: {0}")]
    Seal(#[from] SealError),
}
