//! A hash chain over records, and signed checkpoints of where it has got to.
//!
//! `h_i = BLAKE3("plantwin audit" ‖ h_{i-1} ‖ record)`, framed as in [`crate::hash`]. A checkpoint says
//! "after so many records the chain stood at this hash". It is signed with a key of one boot that
//! was never written down; the long-lived identity certifies it when the boot begins and is then
//! let go of. So a process that is read out can sign for its own boot only. Whoever holds the
//! identity's secret can write another history; a checkpoint kept elsewhere (a *witness*) shows it.
//! Absent: files, encryption of records, deciding when a checkpoint is due.

use std::fmt;

use plantwin_model::Timestamp;

use crate::{
    DIGEST_BYTES, SealError, Secret, Signature, SigningKey, VerifyingKey, derive_key, hash,
};

mod note;
#[cfg(test)]
mod tests;

pub use note::CheckpointNote;

/// Where a hash chain stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainHash([u8; DIGEST_BYTES]);

impl ChainHash {
    /// Before the first record.
    pub const ORIGIN: Self = Self([0; DIGEST_BYTES]);

    /// Takes over a hash that was written down.
    pub const fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_BYTES] {
        &self.0
    }

    /// Where the chain stands after one more record.
    pub fn then(&self, record: &[u8]) -> Self {
        Self(hash(&[b"plantwin audit", &self.0, record]))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "ChainHash({:08x}..)", u32::from_be_bytes([a, b, c, d]))
    }
}

/// At which moment a checkpoint was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainState {
    /// A boot began: it vouches for what it found.
    Opened,
    /// In between.
    Running,
    /// The boot ended in order: no record of it follows.
    Closed,
}

/// What is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Sequence of the last record that it covers; 0 before the first one.
    pub size: u64,
    /// Where the chain stands after that record.
    pub hash: ChainHash,
    /// Number of the boot that signs, from 1.
    pub boot: u64,
    /// When it was signed.
    pub time: Timestamp,
    /// At which moment of the boot.
    pub state: ChainState,
}

/// The key that certifies those of the boots, derived from a secret of the plant.
///
/// It is as secret as what it is derived from: keep it no longer than a certificate takes.
pub fn audit_identity(secret: &Secret) -> SigningKey {
    SigningKey::from_seed(derive_key("plantwin v1 audit identity", &[secret.expose()]).expose())
}

/// Signs the checkpoints of one boot.
#[derive(Debug)]
pub struct CheckpointSigner {
    identity: VerifyingKey,
    boot: u64,
    key: SigningKey,
    certificate: Signature,
}

impl CheckpointSigner {
    /// Makes a key for this boot and has the identity certify it.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn begin(identity: &SigningKey, boot: u64) -> Result<Self, SealError> {
        let key = SigningKey::generate()?;
        let certificate = identity.sign(&certified(boot, &key.verifying_key()));
        Ok(Self { identity: identity.verifying_key(), boot, key, certificate })
    }

    /// The boot it signs for.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Signs where the chain stands.
    pub fn sign(
        &self,
        size: u64,
        hash: ChainHash,
        time: Timestamp,
        state: ChainState,
    ) -> CheckpointNote {
        let checkpoint = Checkpoint { size, hash, boot: self.boot, time, state };
        let key = self.key.verifying_key();
        let signed = |text: &str| self.key.sign(text.as_bytes());
        CheckpointNote::new(checkpoint, self.identity, key, self.certificate, signed)
    }
}

/// What the identity signs for a boot.
fn certified(boot: u64, key: &VerifyingKey) -> [u8; DIGEST_BYTES] {
    hash(&[b"plantwin v1 audit boot key", &boot.to_le_bytes(), key.as_bytes()])
}
