//! The two messages of a session start, byte by byte.
//!
//! Challenge: `"PWCH" | version u8 | nonce 32 B | gateway name, the rest`.
//! Answer: `"PWAN" | version u8 | challenge digest 32 B | public key 32 B | signature 64 B |
//! token, the rest`. Every byte is fixed or signed, so that no altered message is accepted.
//! Absent: framing on the wire (an adapter carries each message as a whole), negotiation.

use plantwin_seal::{DIGEST_BYTES, KEY_BYTES, SIGNATURE_BYTES, hash};

use crate::AuthError;

/// Longest message, in bytes: what an adapter's `exchange` carries.
pub const MESSAGE_LIMIT: usize = 4096;
/// Longest name of a gateway, in bytes.
const GATEWAY_LIMIT: usize = 128;
const VERSION: u8 = 1;
const CHALLENGE: &[u8; 4] = b"PWCH";
const ANSWER: &[u8; 4] = b"PWAN";
const NONCE_BYTES: usize = 32;

/// An answer, read but not believed.
pub(crate) struct Answer<'b> {
    pub(crate) challenge: &'b [u8; DIGEST_BYTES],
    pub(crate) key: &'b [u8; KEY_BYTES],
    pub(crate) signature: &'b [u8; SIGNATURE_BYTES],
    pub(crate) token: &'b [u8],
}

/// Writes a challenge.
pub(crate) fn challenge(nonce: &[u8; NONCE_BYTES], gateway: &str) -> Result<Vec<u8>, AuthError> {
    if gateway.len() > GATEWAY_LIMIT {
        return Err(AuthError::TooLong(gateway.len()));
    }
    Ok([CHALLENGE, &[VERSION][..], nonce, gateway.as_bytes()].concat())
}

/// Checks that `bytes` are a challenge; nothing in it is for the device to judge.
pub(crate) fn check_challenge(bytes: &[u8]) -> Result<(), AuthError> {
    let rest = body(bytes, CHALLENGE)?;
    match rest.split_at_checked(NONCE_BYTES) {
        Some((_, gateway)) if gateway.len() <= GATEWAY_LIMIT && str::from_utf8(gateway).is_ok() => {
            Ok(())
        }
        _ => Err(AuthError::Malformed("no challenge")),
    }
}

impl<'b> Answer<'b> {
    /// Writes the answer.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, AuthError> {
        let head = [VERSION];
        let parts = [ANSWER, &head[..], self.challenge, self.key, self.signature, self.token];
        let bytes = parts.concat();
        if bytes.len() > MESSAGE_LIMIT {
            return Err(AuthError::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// Reads an answer.
    pub(crate) fn decode(bytes: &'b [u8]) -> Result<Self, AuthError> {
        const SHORT: AuthError = AuthError::Malformed("the answer is too short");
        let rest = body(bytes, ANSWER)?;
        let (challenge, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (key, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let (signature, token) = rest.split_first_chunk().ok_or(SHORT)?;
        Ok(Self { challenge, key, signature, token })
    }
}

/// What follows the magic and the version.
fn body<'b>(bytes: &'b [u8], magic: &[u8]) -> Result<&'b [u8], AuthError> {
    if bytes.len() > MESSAGE_LIMIT {
        return Err(AuthError::Malformed("the message is too long"));
    }
    match bytes.strip_prefix(magic).and_then(|rest| rest.split_first()) {
        Some((&VERSION, body)) => Ok(body),
        Some((&version, _)) => Err(AuthError::Version(version)),
        None => Err(AuthError::Malformed("no session message")),
    }
}

/// What names a challenge in its answer.
pub(crate) fn challenge_digest(challenge: &[u8]) -> [u8; DIGEST_BYTES] {
    hash(&[b"plantwin v1 challenge", challenge])
}

/// What the device signs: this challenge, with this token, and for no other purpose.
pub(crate) fn proof(challenge: &[u8], token_id: &[u8; 16]) -> [u8; DIGEST_BYTES] {
    hash(&[b"plantwin v1 session", challenge, token_id])
}
