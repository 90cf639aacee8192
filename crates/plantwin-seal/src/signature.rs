//! Ed25519 (RFC 8032) keys and signatures, as newtypes over `ed25519-dalek`.
//!
//! Verification is always the strict one: it refuses weak keys and malleable signatures, so that a
//! signature identifies one signer and one message. Absent: prehashing, batch verification,
//! certificates, storage of keys.

use std::fmt;

use ed25519_dalek::Signer;

use crate::{SealError, random_bytes};

#[cfg(test)]
mod tests;

/// Length of a public key and of a secret seed, in bytes.
pub const KEY_BYTES: usize = 32;
/// Length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// A secret signing key: wiped when dropped, never printed.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// The public half of a [`SigningKey`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

/// A signature; only [`VerifyingKey::verify_strict`] tells whether it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(ed25519_dalek::Signature);

impl SigningKey {
    /// A fresh key from the operating system's random source.
    pub fn generate() -> Result<Self, SealError> {
        let seed = zeroize::Zeroizing::new(random_bytes()?);
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed (the "secret key" of RFC 8032).
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, for storing it under protection. Named so that it stands out in review.
    pub fn expose_seed(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// Signs a message; deterministic.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message))
    }
}

impl VerifyingKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// [`SealError::PublicKey`] if the bytes are no point of the curve, or one of small order.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, SealError> {
        ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .ok()
            .filter(|key| !key.is_weak())
            .map(Self)
            .ok_or(SealError::PublicKey)
    }

    /// The public key's bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }

    /// Checks a signature over `message`.
    ///
    /// # Errors
    /// [`SealError::Signature`] if it does not match or is of a malleable form.
    pub fn verify_strict(&self, message: &[u8], signature: &Signature) -> Result<(), SealError> {
        self.0.verify_strict(message, &signature.0).map_err(|_| SealError::Signature)
    }
}

impl Signature {
    /// Takes over the bytes of a signature; nothing is checked before verification.
    pub fn from_bytes(bytes: &[u8; SIGNATURE_BYTES]) -> Self {
        Self(ed25519_dalek::Signature::from_bytes(bytes))
    }

    /// The signature's bytes.
    pub fn to_bytes(self) -> [u8; SIGNATURE_BYTES] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(.., {:?})", self.verifying_key())
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Eight bytes tell keys apart in a log; a fingerprint for people to compare is longer.
        let [a, b, c, d, e, g, h, i, ..] = *self.as_bytes();
        write!(f, "VerifyingKey({:016x})", u64::from_be_bytes([a, b, c, d, e, g, h, i]))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.to_bytes();
        write!(f, "Signature({:08x}..)", u32::from_be_bytes([a, b, c, d]))
    }
}
