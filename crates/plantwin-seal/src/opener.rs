//! The receiving half of a session.
//!
//! What is refused, in this order: length, version and lane (when a [`Sealed`] is made), session,
//! parties and content type, a sequence number that the window knows, an epoch without a key, the
//! tag. Only then does anything move: window, epoch, and last the deadline is looked at. So no forged
//! byte changes the opener's state.
//!
//! **Crashes.** The opener belongs to the guardian, beside the mailbox, and outlives the actor: the
//! mail waiting there is sealed for this session. The guardian keeps the envelope, opens it with
//! [`Opener::open_ref`], lets the actor work and then calls [`Opener::acknowledge`]. If the actor
//! dies, the guardian hands the very same envelope to its successor with [`Opener::reopen`], which
//! skips the window for exactly the sequence numbers that were opened and not acknowledged, and for
//! no others. A stranger who holds a copy gains nothing: the guardian alone calls `reopen`.
//!
//! **Order.** A session accepts any order within the last [`WINDOW`] sequence numbers, and an older
//! epoch only up to there. Whoever lets one lane overtake another by more than that, say because a
//! mailbox with several lanes waits through a long outage, gives each lane its own session.
//! Absent: queues, capability checks, clocks.

use plantwin_model::Timestamp;
use serde::de::DeserializeOwned;

use crate::{
    Content, HEADER_BYTES, Header, PartyId, SealError, Sealed, Secret, aead,
    epoch::{DirectionKeys, EPOCH_SKIP, EPOCH_TIME, Iv, ratchet},
    in_flight::InFlight,
    window::{WINDOW, Window},
};

#[cfg(test)]
mod tests;

/// The key before the current one, while messages sealed under it may still be on their way.
#[derive(Debug)]
struct Previous {
    key: Secret,
    /// Lowest sequence number known to belong to a later epoch: this key's messages lie below.
    below: u64,
    until: Timestamp,
}

/// Which key a header calls for.
enum Choice {
    Current,
    Previous,
    Ahead { key: Secret, before: Secret },
}

/// Opens messages of one party for another.
#[derive(Debug)]
pub struct Opener {
    me: PartyId,
    peer: PartyId,
    session: u64,
    key: Secret,
    iv: Iv,
    epoch: u32,
    previous: Option<Previous>,
    window: Window,
    in_flight: InFlight,
}

impl Opener {
    pub(crate) fn new(me: PartyId, peer: PartyId, session: u64, keys: DirectionKeys) -> Self {
        Self {
            me,
            peer,
            session,
            key: keys.key,
            iv: keys.iv,
            epoch: 0,
            previous: None,
            window: Window::new(),
            in_flight: InFlight::new(),
        }
    }

    /// Whose messages this opener opens.
    pub const fn peer(&self) -> PartyId {
        self.peer
    }

    /// The session, as it stands in each header.
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// The newest epoch from which a message was opened.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many envelopes were opened by reference and not acknowledged; at most
    /// [`crate::IN_FLIGHT_LIMIT`].
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Opens an envelope for good, decrypting in its own buffer.
    ///
    /// # Errors
    /// All that the module's documentation lists, in that order; [`SealError::Deadline`] and
    /// [`SealError::Decode`] come after the sequence number was marked as seen.
    pub fn open<M: Content + DeserializeOwned>(
        &mut self,
        sealed: Sealed<M>,
        now: Timestamp,
    ) -> Result<M, SealError> {
        let header = *sealed.header();
        let mut bytes = sealed.into_bytes();
        let (aad, body) = bytes.split_at_mut(HEADER_BYTES);
        let plain = self.admit(&header, M::CONTENT_TYPE, aad, body, 0, now)?;
        decode(plain)
    }

    /// Opens an envelope of plain bytes; otherwise as [`Self::open`]. The bytes stay in the
    /// envelope's buffer.
    pub fn open_bytes(
        &mut self,
        content_type: u16,
        sealed: Sealed<[u8]>,
        now: Timestamp,
    ) -> Result<Vec<u8>, SealError> {
        let header = *sealed.header();
        let mut bytes = sealed.into_bytes();
        let aad = header.encode();
        let len = self.admit(&header, content_type, &aad, &mut bytes, HEADER_BYTES, now)?.len();
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Opens an envelope and leaves it whole, so that it can be opened again after a crash; it is in
    /// flight until [`Self::acknowledge`].
    ///
    /// `scratch` is overwritten with the plaintext; keep it, and opening allocates nothing.
    ///
    /// # Errors
    /// As [`Self::open`], and [`SealError::InFlightFull`] before anything else. After an error the
    /// envelope is not in flight. If deserialization panics it is.
    pub fn open_ref<M: Content + DeserializeOwned>(
        &mut self,
        sealed: &Sealed<M>,
        scratch: &mut Vec<u8>,
        now: Timestamp,
    ) -> Result<M, SealError> {
        if self.in_flight.is_full() {
            return Err(SealError::InFlightFull);
        }
        let header = sealed.header();
        load(scratch, sealed);
        let plain = self.admit(header, M::CONTENT_TYPE, &sealed.aad(), scratch, 0, now)?;
        let key = match &self.previous {
            Some(previous) if header.epoch != self.epoch => &previous.key,
            _ => &self.key,
        };
        self.in_flight.insert(header.sequence, key.clone());
        let message = decode(plain);
        if message.is_err() {
            self.in_flight.remove(header.sequence)?;
        }
        message
    }

    /// Opens once more an envelope that [`Self::open_ref`] opened and nobody acknowledged.
    ///
    /// # Errors
    /// [`SealError::NotInFlight`] for any other sequence number; else as [`Self::open`], including
    /// the deadline: a command that outlived it in a crash loop is not carried out.
    pub fn reopen<M: Content + DeserializeOwned>(
        &self,
        sealed: &Sealed<M>,
        scratch: &mut Vec<u8>,
        now: Timestamp,
    ) -> Result<M, SealError> {
        let header = sealed.header();
        self.check_parties(header, M::CONTENT_TYPE)?;
        let key = self.in_flight.key(header.sequence)?;
        load(scratch, sealed);
        let nonce = self.iv.nonce(header.sequence);
        let plain =
            aead::open(key, nonce, &sealed.aad(), scratch, 0).map_err(|_| SealError::Tag)?;
        if header.is_expired(now) {
            return Err(SealError::Deadline);
        }
        decode(plain)
    }

    /// Decrypts an envelope in flight without making a message of it, whatever its deadline: for
    /// one that is set aside because nobody can work on it. It stays in flight.
    ///
    /// # Errors
    /// [`SealError::NotInFlight`], and as [`Self::open`] up to the tag.
    pub fn reopen_bytes<M: Content>(&self, sealed: &Sealed<M>) -> Result<Vec<u8>, SealError> {
        let header = sealed.header();
        self.check_parties(header, M::CONTENT_TYPE)?;
        let key = self.in_flight.key(header.sequence)?;
        let mut buffer = Vec::new();
        load(&mut buffer, sealed);
        let nonce = self.iv.nonce(header.sequence);
        let plain =
            aead::open(key, nonce, &sealed.aad(), &mut buffer, 0).map_err(|_| SealError::Tag)?;
        let length = plain.len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Ends the flight of an envelope: its effect is safe, or it was set aside for good.
    ///
    /// # Errors
    /// [`SealError::NotInFlight`] if it is not in flight.
    pub fn acknowledge(&mut self, sequence: u64) -> Result<(), SealError> {
        self.in_flight.remove(sequence)
    }

    /// All checks, decryption of `buffer[from..]` to the front of `buffer`, and all changes of state.
    fn admit<'b>(
        &mut self,
        header: &Header,
        content_type: u16,
        aad: &[u8],
        buffer: &'b mut [u8],
        from: usize,
        now: Timestamp,
    ) -> Result<&'b [u8], SealError> {
        self.check_parties(header, content_type)?;
        self.window.check(header.sequence)?;
        let choice = self.choose(header, now)?;
        let key = match &choice {
            Choice::Ahead { key, .. } => key,
            Choice::Previous => &self.previous.as_ref().ok_or(SealError::Epoch(header.epoch))?.key,
            Choice::Current => &self.key,
        };
        let nonce = self.iv.nonce(header.sequence);
        let plain = aead::open(key, nonce, aad, buffer, from).map_err(|_| SealError::Tag)?;
        self.advance(header, choice, now);
        if header.is_expired(now) {
            return Err(SealError::Deadline);
        }
        Ok(plain)
    }

    fn check_parties(&self, header: &Header, content_type: u16) -> Result<(), SealError> {
        if header.session != self.session {
            return Err(SealError::Session);
        }
        if header.recipient != self.me || header.sender != self.peer {
            return Err(SealError::Party);
        }
        if header.content_type != content_type {
            return Err(SealError::ContentType(header.content_type));
        }
        Ok(())
    }

    fn choose(&self, header: &Header, now: Timestamp) -> Result<Choice, SealError> {
        let refused = SealError::Epoch(header.epoch);
        let Some(ahead) = header.epoch.checked_sub(self.epoch) else {
            // Older than the current one: the previous epoch, or none that we know.
            return match &self.previous {
                Some(previous)
                    if header.epoch == self.epoch - 1
                        && header.sequence < previous.below
                        && now <= previous.until =>
                {
                    Ok(Choice::Previous)
                }
                _ => Err(refused),
            };
        };
        if ahead == 0 {
            return Ok(Choice::Current);
        }
        // Keys rise with sequence numbers, so a later epoch cannot begin below the newest message.
        if ahead > EPOCH_SKIP || header.sequence < self.window.next() {
            return Err(refused);
        }
        let (mut epoch, mut before) = (self.epoch, self.key.clone());
        loop {
            let (next, key) = ratchet(&before, epoch)?;
            if next == header.epoch {
                return Ok(Choice::Ahead { key, before });
            }
            (epoch, before) = (next, key);
        }
    }

    /// The tag has held: moves window and epoch. Keys that fall out are wiped as they drop.
    fn advance(&mut self, header: &Header, choice: Choice, now: Timestamp) {
        self.window.commit(header.sequence);
        match choice {
            Choice::Previous => return,
            Choice::Current => {
                if let Some(previous) = &mut self.previous {
                    previous.below = previous.below.min(header.sequence);
                }
            }
            Choice::Ahead { key, before } => {
                self.epoch = header.epoch;
                self.key = key;
                let until = now.plus(EPOCH_TIME);
                self.previous = Some(Previous { key: before, below: header.sequence, until });
            }
        }
        // Once the window has passed the border between the epochs, or the time is up, nothing
        // sealed under the previous key can be accepted any more.
        if self.previous.as_ref().is_some_and(|previous| {
            now > previous.until || self.window.next() >= previous.below.saturating_add(WINDOW)
        }) {
            self.previous = None;
        }
    }
}

fn load<M>(scratch: &mut Vec<u8>, sealed: &Sealed<M>) {
    scratch.clear();
    scratch.extend_from_slice(sealed.body());
}

/// The plaintext must be one message and nothing behind it.
fn decode<M: DeserializeOwned>(plain: &[u8]) -> Result<M, SealError> {
    match postcard::take_from_bytes(plain) {
        Ok((message, [])) => Ok(message),
        _ => Err(SealError::Decode),
    }
}
