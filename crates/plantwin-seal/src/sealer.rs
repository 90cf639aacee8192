//! The sending half of a session.
//!
//! A sealer is not `Clone` and cannot be stored: its counter is what keeps nonces unique, so there
//! must be one of it, and after any restart of the process there is a new handshake instead.
//! Absent: queues, routing, retries. A message that is sealed and then shed leaves a gap in the
//! sequence, which the opener accepts.

use plantwin_model::Timestamp;
use serde::Serialize;

use crate::{
    Content, Header, Lane, MAX_ENVELOPE_BYTES, OVERHEAD_BYTES, PartyId, SealError, Sealed, Secret,
    aead,
    epoch::{DirectionKeys, EPOCH_MESSAGES, EPOCH_TIME, Iv, MAX_MESSAGES, ratchet},
    header::HEADER_BYTES,
};

#[cfg(test)]
mod tests;

/// Hands every number out once. Neither `Clone` nor serializable, on purpose.
#[derive(Debug)]
struct Counter(u64);

impl Counter {
    fn take(&mut self) -> Result<u64, SealError> {
        if self.0 >= MAX_MESSAGES {
            return Err(SealError::Exhausted);
        }
        let taken = self.0;
        self.0 += 1;
        Ok(taken)
    }
}

/// Seals messages of one party to another.
#[derive(Debug)]
pub struct Sealer {
    me: PartyId,
    peer: PartyId,
    session: u64,
    key: Secret,
    iv: Iv,
    epoch: u32,
    epoch_messages: u32,
    epoch_since: Timestamp,
    counter: Counter,
}

impl Sealer {
    pub(crate) fn new(
        me: PartyId,
        peer: PartyId,
        session: u64,
        keys: DirectionKeys,
        now: Timestamp,
    ) -> Self {
        Self {
            me,
            peer,
            session,
            key: keys.key,
            iv: keys.iv,
            epoch: 0,
            epoch_messages: 0,
            epoch_since: now,
            counter: Counter(0),
        }
    }

    /// Who may open what this sealer seals.
    pub const fn peer(&self) -> PartyId {
        self.peer
    }

    /// The session, as it stands in each header.
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// The epoch of the last sealed message.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many sequence numbers are used, out of [`MAX_MESSAGES`].
    pub const fn used(&self) -> u64 {
        self.counter.0
    }

    /// Seals a message with one allocation: it is serialized behind the header and encrypted there.
    ///
    /// `now` serves the change of epochs only; it may not be later than the true time.
    ///
    /// # Errors
    /// [`SealError::Encode`] if `message` cannot be serialized, [`SealError::Length`] if it is longer
    /// than an envelope may be (both use no sequence number up); [`SealError::Exhausted`].
    pub fn seal<M: Content + Serialize>(
        &mut self,
        message: &M,
        lane: Lane,
        deadline: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Sealed<M>, SealError> {
        // A first pass for the size costs less than growing the buffer would.
        let size =
            postcard::experimental::serialized_size(message).map_err(|_| SealError::Encode)?;
        let buffer = postcard::to_extend(message, reserve(size)?).map_err(|_| SealError::Encode)?;
        self.finish(buffer, M::CONTENT_TYPE, lane, deadline, now)
    }

    /// Seals bytes; otherwise as [`Self::seal`].
    pub fn seal_bytes(
        &mut self,
        content_type: u16,
        payload: &[u8],
        lane: Lane,
        deadline: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Sealed<[u8]>, SealError> {
        let mut buffer = reserve(payload.len())?;
        buffer.extend_from_slice(payload);
        self.finish(buffer, content_type, lane, deadline, now)
    }

    /// Encrypts what stands behind the gap for the header.
    fn finish<M: ?Sized>(
        &mut self,
        mut buffer: Vec<u8>,
        content_type: u16,
        lane: Lane,
        deadline: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Sealed<M>, SealError> {
        self.advance_epoch(now)?;
        let sequence = self.counter.take()?;
        self.epoch_messages += 1;
        let header =
            Header::new(lane, content_type, self.epoch, self.session, self.me, self.peer, sequence)
                .with_deadline(deadline);
        let aad = header.encode();
        let (gap, payload) = buffer.split_at_mut(HEADER_BYTES);
        gap.copy_from_slice(&aad);
        let tag = aead::seal(&self.key, self.iv.nonce(sequence), &aad, payload)
            .map_err(|_| SealError::Encode)?;
        buffer.extend_from_slice(&tag);
        Ok(Sealed::from_parts(header, buffer))
    }

    fn advance_epoch(&mut self, now: Timestamp) -> Result<(), SealError> {
        let old = now.since(self.epoch_since) >= EPOCH_TIME;
        if old || self.epoch_messages >= EPOCH_MESSAGES {
            // Assigning drops, and so wipes, the old key.
            (self.epoch, self.key) = ratchet(&self.key, self.epoch)?;
            self.epoch_messages = 0;
            self.epoch_since = now;
        }
        Ok(())
    }
}

/// A buffer for an envelope of `payload` bytes, with the header's place filled with zeros.
fn reserve(payload: usize) -> Result<Vec<u8>, SealError> {
    let total = payload.saturating_add(OVERHEAD_BYTES);
    if total > MAX_ENVELOPE_BYTES {
        return Err(SealError::Length(total));
    }
    let mut buffer = Vec::with_capacity(total);
    buffer.resize(HEADER_BYTES, 0);
    Ok(buffer)
}
