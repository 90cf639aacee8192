//! The 48 bytes in front of every sealed message: readable by all, alterable by nobody.
//!
//! Fixed layout, little-endian; the whole header is the associated data of the AEAD.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 1 | version, now 1 |
//! | 1 | 1 | lane |
//! | 2 | 2 | content type |
//! | 4 | 4 | epoch |
//! | 8 | 8 | session |
//! | 16 | 8 | sender |
//! | 24 | 8 | recipient |
//! | 32 | 8 | sequence |
//! | 40 | 8 | deadline, milliseconds since 1970 on the plant's clock; all ones: none |
//!
//! Absent: any check that needs a key or a session; see [`crate::Opener`].

use plantwin_model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::SealError;

#[cfg(test)]
mod tests;

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 48;
/// Length of the authentication tag behind the ciphertext, in bytes (RFC 8439).
pub const TAG_BYTES: usize = 16;
/// What sealing adds to a message, in bytes.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// Longest envelope that is made or taken, in bytes: 1 MiB.
pub const MAX_ENVELOPE_BYTES: usize = 1 << 20;
/// The only version of the header that exists.
pub const VERSION: u8 = 1;

const NO_DEADLINE: u64 = u64::MAX;

/// One end of a session. The guardian hands the numbers out and keeps them unique in its plant.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartyId(pub u64);

/// The promise under which a message travels; the smaller lane goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Lane {
    /// A: alarms and audit. Never lost once raised.
    Alarm = 0,
    /// C: commands. Refused at admission or never dropped; they expire.
    Command = 1,
    /// T1: durable telemetry. At least once after acknowledgement; gaps are recorded.
    Durable = 2,
    /// T0: latest value. Coalesced, counted.
    Latest = 3,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Alarm, Self::Command, Self::Durable, Self::Latest];

    /// The lane of a header's byte.
    ///
    /// # Errors
    /// [`SealError::Lane`] if no lane has this number.
    pub const fn from_byte(byte: u8) -> Result<Self, SealError> {
        match byte {
            0 => Ok(Self::Alarm),
            1 => Ok(Self::Command),
            2 => Ok(Self::Durable),
            3 => Ok(Self::Latest),
            other => Err(SealError::Lane(other)),
        }
    }
}

/// A parsed header. Trust it only after the envelope was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The promise under which the message travels.
    pub lane: Lane,
    /// Which type of message: [`crate::Content::CONTENT_TYPE`].
    pub content_type: u16,
    /// Which of the session's successive keys sealed it.
    pub epoch: u32,
    /// Session, derived in the handshake.
    pub session: u64,
    /// Who sealed it.
    pub sender: PartyId,
    /// Who may open it.
    pub recipient: PartyId,
    /// Place in the sender's order, from 0, over all epochs and lanes of the session.
    pub sequence: u64,
    /// Milliseconds since 1970 on the plant's clock after which it is refused; `u64::MAX` for never.
    deadline_ms: u64,
}

impl Header {
    /// The last millisecond at which the message is still accepted, if it expires.
    pub fn deadline(&self) -> Option<Timestamp> {
        let ms = i64::try_from(self.deadline_ms).ok()?;
        Some(Timestamp::from_millis(ms))
    }

    /// Whether the deadline lies in the past of `now`, to the millisecond.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.deadline_ms != NO_DEADLINE
            && u64::try_from(now.as_millis()).is_ok_and(|now| now > self.deadline_ms)
    }

    /// Puts a deadline in; one before 1970 counts as 1970.
    pub(crate) fn with_deadline(mut self, deadline: Option<Timestamp>) -> Self {
        self.deadline_ms =
            deadline.map_or(NO_DEADLINE, |at| u64::try_from(at.as_millis()).unwrap_or(0));
        self
    }

    /// A header without a deadline.
    pub(crate) const fn new(
        lane: Lane,
        content_type: u16,
        epoch: u32,
        session: u64,
        sender: PartyId,
        recipient: PartyId,
        sequence: u64,
    ) -> Self {
        let deadline_ms = NO_DEADLINE;
        Self { lane, content_type, epoch, session, sender, recipient, sequence, deadline_ms }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0] = VERSION;
        out[1] = self.lane as u8;
        out[2..4].copy_from_slice(&self.content_type.to_le_bytes());
        out[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        let words =
            [self.session, self.sender.0, self.recipient.0, self.sequence, self.deadline_ms];
        for (place, word) in out[8..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(raw: &[u8; HEADER_BYTES]) -> Result<Self, SealError> {
        if raw[0] != VERSION {
            return Err(SealError::Version(raw[0]));
        }
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Self {
            lane: Lane::from_byte(raw[1])?,
            content_type: u16::from_le_bytes([raw[2], raw[3]]),
            epoch: u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]),
            session: word(8),
            sender: PartyId(word(16)),
            recipient: PartyId(word(24)),
            sequence: word(32),
            deadline_ms: word(40),
        })
    }
}
