//! ChaCha20-Poly1305 (RFC 8439) through `ring`, the one place that may be swapped for another.
//!
//! Why ring and not RustCrypto's `chacha20poly1305`: with the flags of a plain `cargo build` the
//! latter spends about 1.5 µs a message on the run-time AVX2 path of its `poly1305`, whatever the
//! size. Measured on a 2-core AMD EPYC, CPU time to seal 64 / 256 / 1024 bytes: RustCrypto 0.11
//! 1.79 / 1.90 / 2.51 µs, ring 0.17 0.18 / 0.27 / 0.64 µs. The tests check one against the other.
//!
//! Keys are kept as raw bytes and expanded for each message: ring's key type cannot be wiped and is
//! an order of magnitude larger than the 32 bytes it comes from. So an expanded key lies on the
//! stack for the length of a call and stays there until the stack is used again.
//! Absent: nonce handling, which belongs to the session.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::{Secret, TAG_BYTES};

#[cfg(test)]
mod tests;

/// Length of a nonce, in bytes.
pub(crate) const NONCE_BYTES: usize = 12;

/// The tag did not match, or the input is too short to hold one or too long for the cipher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused;

/// Encrypts `data` in place and returns its tag. The pair (key, nonce) must never be used twice.
pub(crate) fn seal(
    key: &Secret,
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    data: &mut [u8],
) -> Result<[u8; TAG_BYTES], Refused> {
    let tag = expand(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), data)
        .map_err(|_| Refused)?;
    tag.as_ref().try_into().map_err(|_| Refused)
}

/// Decrypts `buffer[from..]` (ciphertext and tag) to the front of `buffer`; returns the plaintext.
///
/// On refusal the buffer's content is garbage and must not be looked at.
pub(crate) fn open<'b>(
    key: &Secret,
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    buffer: &'b mut [u8],
    from: usize,
) -> Result<&'b mut [u8], Refused> {
    expand(key)?
        .open_within(Nonce::assume_unique_for_key(nonce), Aad::from(aad), buffer, from..)
        .map_err(|_| Refused)
}

fn expand(key: &Secret) -> Result<LessSafeKey, Refused> {
    UnboundKey::new(&CHACHA20_POLY1305, key.expose()).map(LessSafeKey::new).map_err(|_| Refused)
}
