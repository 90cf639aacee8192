//! The envelopes that were opened and are not acknowledged yet.
//!
//! Each entry keeps its epoch's key, so that an envelope can be opened again however far the session
//! has gone on in the meantime. That is a deliberate exception to the wiping of old keys, bounded by
//! [`IN_FLIGHT_LIMIT`] and ended by the acknowledgement. Absent: the envelopes themselves.

use crate::{SealError, Secret};

/// How many envelopes of one session may be unacknowledged at once.
pub const IN_FLIGHT_LIMIT: usize = 4;

#[derive(Debug)]
struct Slot {
    /// `None` when the slot is free; its key is all zeros then.
    sequence: Option<u64>,
    key: Secret,
}

/// Takes no heap until the first envelope is in flight, and one block from then on.
#[derive(Debug)]
pub(crate) struct InFlight(Vec<Slot>);

impl InFlight {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().filter(|slot| slot.sequence.is_some()).count()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= IN_FLIGHT_LIMIT
    }

    /// Marks `sequence`; the caller has made sure that there is room.
    pub(crate) fn insert(&mut self, sequence: u64, key: Secret) {
        let slot = Slot { sequence: Some(sequence), key };
        if let Some(free) = self.0.iter_mut().find(|slot| slot.sequence.is_none()) {
            *free = slot;
        } else {
            // All at once: a vector that grows leaves copies of its keys in freed memory.
            if self.0.capacity() == 0 {
                self.0.reserve_exact(IN_FLIGHT_LIMIT);
            }
            self.0.push(slot);
        }
    }

    /// Forgets `sequence` and wipes its key.
    pub(crate) fn remove(&mut self, sequence: u64) -> Result<(), SealError> {
        let slot = self
            .0
            .iter_mut()
            .find(|slot| slot.sequence == Some(sequence))
            .ok_or(SealError::NotInFlight(sequence))?;
        *slot = Slot { sequence: None, key: Secret::new([0; 32]) };
        Ok(())
    }

    pub(crate) fn key(&self, sequence: u64) -> Result<&Secret, SealError> {
        self.0
            .iter()
            .find(|slot| slot.sequence == Some(sequence))
            .map(|slot| &slot.key)
            .ok_or(SealError::NotInFlight(sequence))
    }
}
