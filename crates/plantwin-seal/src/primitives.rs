//! The hash, MAC, key derivation and randomness that the rest of the workspace borrows.
//!
//! This crate is the only one that names `blake3` and `ring`, so that an algorithm can be changed
//! in one place. Every function that takes `parts` frames them: each part is preceded by its
//! length as a little-endian `u64`. So `["ab", "c"]` and `["a", "bc"]` differ, and no caller has to
//! think about ambiguous concatenation. (A consequence: `hash(&[file])` is not what `b3sum` prints.)
//! Absent: password hashing, encryption at rest, X25519.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::SealError;

#[cfg(test)]
mod tests;

/// Length of a hash, a MAC and a secret, in bytes.
pub const DIGEST_BYTES: usize = 32;

/// A 32-byte secret: wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; DIGEST_BYTES]);

impl Secret {
    /// Takes over key material that must be uniformly random or derived.
    ///
    /// The caller's copy of the array is the caller's to wipe.
    pub const fn new(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// A fresh secret from the operating system.
    pub fn random() -> Result<Self, SealError> {
        random_bytes().map(Self)
    }

    /// The key material, for storing it or passing it to a cipher. Named so that it stands out in review.
    pub const fn expose(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `N` bytes from the operating system's cryptographic random source.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::Random)?;
    Ok(bytes)
}

/// BLAKE3 over the framed parts.
pub fn hash(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    finish(blake3::Hasher::new(), parts)
}

/// BLAKE3 keyed hash over the framed parts: a MAC and a pseudo-random function.
pub fn mac(key: &Secret, parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    finish(blake3::Hasher::new_keyed(key.expose()), parts)
}

/// Checks a MAC made by [`mac`] in constant time.
///
/// # Errors
/// [`SealError::Mac`] if key, parts or MAC differ.
pub fn verify_mac(
    key: &Secret,
    parts: &[&[u8]],
    expected: &[u8; DIGEST_BYTES],
) -> Result<(), SealError> {
    if constant_time_eq(&mac(key, parts), expected) { Ok(()) } else { Err(SealError::Mac) }
}

/// Compares two digests in constant time.
pub fn constant_time_eq(a: &[u8; DIGEST_BYTES], b: &[u8; DIGEST_BYTES]) -> bool {
    // `blake3::Hash` compares through the `constant_time_eq` crate; its documentation promises it.
    blake3::Hash::from_bytes(*a) == blake3::Hash::from_bytes(*b)
}

/// Derives a secret for one purpose from framed key material (BLAKE3 `derive_key` mode).
///
/// `context` must be a constant, unique to its purpose, such as `"plantwin v1 token psk"`.
pub fn derive_key(context: &'static str, parts: &[&[u8]]) -> Secret {
    let mut secret = Secret([0; DIGEST_BYTES]);
    derive_into(context, parts, &mut secret.0);
    secret
}

/// As [`derive_key`], for as many bytes as `out` holds.
pub(crate) fn derive_into(context: &'static str, parts: &[&[u8]], out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    feed(&mut hasher, parts);
    let mut reader = hasher.finalize_xof();
    reader.fill(out);
    // Both still hold key material, perhaps of a key that is about to be forgotten. A MAC skips
    // this wipe of 2 kB: its key stays in memory anyway, and it runs for every reading.
    reader.zeroize();
    hasher.zeroize();
}

fn finish(mut hasher: blake3::Hasher, parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    feed(&mut hasher, parts);
    *hasher.finalize().as_bytes()
}

fn feed(hasher: &mut blake3::Hasher, parts: &[&[u8]]) {
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
}
