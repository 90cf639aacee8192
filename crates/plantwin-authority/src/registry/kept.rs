//! A secret that may be written down: serializable, so that it can lie in a sealed file or travel
//! in a sealed message, and otherwise as shy as [`Secret`].
//!
//! Absent: sealing. Whoever serializes one seals what comes out of it.

use std::fmt;

use plantwin_seal::{SealError, Secret, constant_time_eq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// 32 secret bytes: wiped when dropped, never printed, compared in constant time.
#[derive(Clone)]
pub struct Kept(Secret);

impl Kept {
    /// Keeps a secret.
    pub const fn new(secret: Secret) -> Self {
        Self(secret)
    }

    /// Keeps a copy of these bytes.
    pub const fn copy_of(bytes: &[u8; 32]) -> Self {
        Self(Secret::new(*bytes))
    }

    /// Fresh from the operating system's random source.
    pub fn random() -> Result<Self, SealError> {
        Secret::random().map(Self)
    }

    /// The secret.
    pub const fn secret(&self) -> &Secret {
        &self.0
    }

    /// Its bytes. Named so that it stands out in review.
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

impl PartialEq for Kept {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.expose(), other.expose())
    }
}

impl Eq for Kept {}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept(..)")
    }
}

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.expose().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Zeroizing::new(<[u8; 32]>::deserialize(deserializer)?);
        Ok(Self::copy_of(&bytes))
    }
}
