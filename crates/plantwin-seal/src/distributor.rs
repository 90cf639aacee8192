//! Who knows which secret: the guardian spawns actors and gives each pair its own.
//!
//! Absent: anything that outlives the process. The root is fresh at every boot, so no key of an
//! earlier run opens anything.

use crate::{PartyId, SealError, Secret, derive_key};

/// The root from which the secrets of all pairs come. Stays with the guardian.
#[derive(Debug)]
pub struct KeyDistributor {
    root: Secret,
}

impl KeyDistributor {
    /// Draws a root for this boot from the operating system.
    pub fn new() -> Result<Self, SealError> {
        Ok(Self { root: Secret::random()? })
    }

    /// The secret of `a` and `b`, in whichever order they are named. Give it to these two alone.
    pub fn pair_secret(&self, a: PartyId, b: PartyId) -> Secret {
        let (low, high) = (a.min(b), a.max(b));
        derive_key(
            "plantwin v1 pair secret",
            &[self.root.expose(), &low.0.to_le_bytes(), &high.0.to_le_bytes()],
        )
    }
}
