//! The receive window: which of the last 1024 sequence numbers were seen.
//!
//! Looking ([`Window::check`]) and moving ([`Window::commit`]) are two steps, because a forged
//! envelope must not be able to move the window (RUSTSEC-2024-0011 in `snow` was of this kind): the
//! caller verifies the tag in between. Absent: order. Within the window any order is accepted.

use crate::SealError;

#[cfg(test)]
mod tests;

/// How far behind the newest sequence number a message may arrive.
pub const WINDOW: u64 = 1024;

const WORDS: usize = (WINDOW / 64) as usize;

/// Bit `s % WINDOW` tells whether `s` was seen, for the `WINDOW` numbers below `next`.
#[derive(Debug)]
pub(crate) struct Window {
    next: u64,
    seen: [u64; WORDS],
}

impl Window {
    pub(crate) const fn new() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }

    /// The number behind the highest one seen.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Whether `sequence` may still come. Changes nothing.
    pub(crate) fn check(&self, sequence: u64) -> Result<(), SealError> {
        if sequence >= self.next {
            return Ok(());
        }
        let (word, bit) = place(sequence);
        if self.next - sequence > WINDOW || self.seen[word] & bit != 0 {
            return Err(SealError::Replay(sequence));
        }
        Ok(())
    }

    /// Marks `sequence` as seen. Only for numbers that [`Self::check`] accepted and a tag proved.
    pub(crate) fn commit(&mut self, sequence: u64) {
        if sequence >= self.next {
            if sequence - self.next >= WINDOW {
                self.seen = [0; WORDS];
            } else {
                // The numbers stepped over were not seen, but their bits are those of older ones.
                for skipped in self.next..sequence {
                    let (word, bit) = place(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.next = sequence.saturating_add(1);
        }
        let (word, bit) = place(sequence);
        self.seen[word] |= bit;
    }
}

const fn place(sequence: u64) -> (usize, u64) {
    let bit = sequence % WINDOW;
    ((bit / 64) as usize, 1 << (bit % 64))
}
