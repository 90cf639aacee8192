//! Successive keys of one direction, and the nonces made from its sequence numbers.
//!
//! `k[e+1] = derive_key("plantwin v1 epoch", k[e] || e+1)` runs one way: whoever takes a key learns
//! nothing of the messages of earlier epochs once their keys are wiped. Sequence numbers run on over
//! all epochs, so a nonce would not even repeat if the key stayed. Absent: recovery of secrecy after
//! a key was taken (there is no fresh Diffie-Hellman here).

use std::{fmt, time::Duration};

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{SealError, Secret, aead::NONCE_BYTES, derive_key};

#[cfg(test)]
mod tests;

/// Messages after which the sealer goes to the next epoch.
pub const EPOCH_MESSAGES: u32 = 1 << 16;
/// Time after which the sealer goes to the next epoch, as WireGuard re-keys (plant time).
pub const EPOCH_TIME: Duration = Duration::from_mins(2);
/// How many epochs an opener looks ahead.
///
/// One would do if every message arrived. But a message that is shed by a full mailbox takes its
/// epoch with it, and a session must survive that; a forged header costs at most this many
/// derivations (about 0.2 µs each).
pub const EPOCH_SKIP: u32 = 16;
/// Sequence numbers of a session; the next one needs a new handshake.
pub const MAX_MESSAGES: u64 = 1 << 32;

/// The part of a direction's nonces that stays the same.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Iv([u8; NONCE_BYTES]);

impl Iv {
    pub(crate) const fn new(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(bytes)
    }

    /// `iv XOR (u32 0 || u64 sequence)`, little-endian as in Noise.
    pub(crate) fn nonce(&self, sequence: u64) -> [u8; NONCE_BYTES] {
        let mut nonce = self.0;
        for (byte, counter) in nonce[4..].iter_mut().zip(sequence.to_le_bytes()) {
            *byte ^= counter;
        }
        nonce
    }
}

impl fmt::Debug for Iv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iv(..)")
    }
}

/// What a handshake gives to each direction.
#[derive(Debug)]
pub(crate) struct DirectionKeys {
    pub(crate) key: Secret,
    pub(crate) iv: Iv,
}

/// The key after that of `epoch`, with its number.
pub(crate) fn ratchet(key: &Secret, epoch: u32) -> Result<(u32, Secret), SealError> {
    let next = epoch.checked_add(1).ok_or(SealError::Exhausted)?;
    Ok((next, derive_key("plantwin v1 epoch", &[key.expose(), &next.to_le_bytes()])))
}
