//! What a session remembers of the frames it accepted, to know one that comes again.
//!
//! Delivery is at least once: a link that breaks brings again what was not confirmed, the same to
//! the bit, and it must count once. But a number that comes again may as well be of a device that
//! restarted its count, and that is a new value. A device without a clock of its own, or whose
//! clock fell back with its restart, does not say which it is. So in doubt a frame is new:
//!
//! - a number that is [`MEMORY`] or more below the last is a restart: nothing that far back is
//!   unconfirmed;
//! - so is one whose frame is dated later than the last, or a day and more before it: the clock
//!   was lost;
//! - so is one below all that came, of a device without a clock;
//! - otherwise a number within the memory that never came was overtaken, and one that did come is
//!   known by its number, its time and its values together: only the very same is a repetition.
//!
//! What that loses: a device that tells no time and whose first values after a restart are, number
//! for number, those of the run before, is taken to repeat itself up to the first that differs, at
//! most [`MEMORY`] frames long. All of those values are on record, under these very numbers, and
//! none of them is shown as live meanwhile: the twin's values grow stale, and each frame is counted
//! as repeated. A device that restarted with a clock a little behind (less than a day) and small
//! numbers looks overtaken: its values are on record, and shown as live again after at most as many
//! frames. What it doubles: frames of a run whose memory is gone, at most as many.
//!
//! A source time that lies ahead of the plant's clock is none: one wrong time would otherwise hide
//! all that come until it is reached. Absent: whether the device may speak at all (the session).

use std::time::Duration;

use plantwin_adapter::{Frame, print};
use plantwin_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Admission, MAX_AHEAD, Manner, Taken};

/// How far back single numbers are remembered: as many as a line may have unconfirmed.
const MEMORY: u64 = u64::BITS as u64;
/// A source time this far before the last one is of another clock.
const CLOCK_LOST: Duration = Duration::from_hours(24);
/// No time is known.
const NEVER: Timestamp = Timestamp(i64::MIN);

/// The frames that were accepted last.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    last: Option<u64>,
    /// Which of the [`MEMORY`] numbers up to the last one were received; the last one is bit 0.
    seen: u64,
    /// What each of them said, by number modulo [`MEMORY`]; 0 if that is not known. Empty until
    /// the first one.
    prints: Vec<u32>,
    source: Timestamp,
    /// The newest source time of the run before, whatever the clock says now: frames of it whose
    /// content is not known are known by their time.
    before: Timestamp,
}

/// What of the memory is on record with the frames themselves: without it, or with one that is
/// older than they are, frames that come again after a restart would count twice.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Recorded {
    /// The device's number of the newest frame.
    pub sequence: u64,
    /// When it was measured; before all time if the device did not say.
    pub source: Timestamp,
    /// Which of the 64 numbers up to this one were received; this one is bit 0.
    seen: u64,
    /// What they said. Times alone do not tell: clocks fall back and run ahead, and what was measured
    /// first may come last.
    prints: Vec<u32>,
}

impl Recorded {
    /// Of a frame of which only number and time are known.
    pub fn of(sequence: u64, source: Timestamp) -> Self {
        Self { sequence, source, seen: u64::MAX, prints: Vec::new() }
    }

    /// As bytes for the store.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serializing these plain types into memory cannot fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// From bytes of the store, also those of versions that kept only number and time; `None` if
    /// they are neither.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok().or_else(|| {
            let (sequence, source) = postcard::from_bytes(bytes).ok()?;
            Some(Self::of(sequence, source))
        })
    }
}

impl Memory {
    /// Of nothing.
    pub(super) const fn new() -> Self {
        let (source, before) = (NEVER, NEVER);
        Self { last: None, seen: 0, prints: Vec::new(), source, before }
    }

    /// What is to be on record together with the frames; `None` of a device that does not number
    /// them.
    pub(super) fn recorded(&self) -> Option<Recorded> {
        let prints = self.prints.clone();
        Some(Recorded { sequence: self.last?, source: self.source, seen: self.seen, prints })
    }

    /// The newest number up to which nothing is missing of what came since the oldest that is
    /// remembered, and what that frame said; `None` before the first, and if that is not known.
    pub(super) fn taken(&self) -> Option<Taken> {
        let last = self.last?;
        // The numbers up to the oldest one, which is the highest bit, and the first gap above it.
        let oldest = u64::BITS - 1 - self.seen.leading_zeros().min(u64::BITS - 1);
        let back = (0..=oldest).rev().take_while(|&back| self.seen & (1 << back) != 0).last()?;
        let sequence = last.checked_sub(u64::from(back))?;
        let print = *self.prints.get((sequence % MEMORY) as usize)?;
        (print != 0).then_some(Taken { sequence, print })
    }

    /// Takes up what an earlier run had received. Its clock may have been ahead of this one's.
    pub(super) fn restore(&mut self, recorded: Recorded, now: Timestamp) {
        let Recorded { sequence, source, seen, prints } = recorded;
        self.last = Some(sequence);
        self.seen = seen | 1;
        self.prints = if prints.len() as u64 == MEMORY { prints } else { Vec::new() };
        // Ahead by what is believed of a device's clock is no clock that was set back.
        self.source = if source <= now.plus(MAX_AHEAD) { source } else { now };
        self.before = source;
    }

    /// Judges a frame.
    pub(super) fn admit(&mut self, frame: &Frame, manner: Manner) -> Admission {
        let told = frame.samples.iter().filter_map(|s| s.source_time).max();
        let latest = frame.received.plus(MAX_AHEAD);
        let source = frame.samples.iter().filter_map(|s| s.source_time.filter(|&t| t <= latest));
        let source = source.max();
        let Some(sequence) = frame.sequence else {
            if manner == Manner::Outdated {
                return Admission::Late;
            }
            if !frame.is_past() {
                self.source = source.unwrap_or(self.source);
            }
            return Admission::Fresh { missing: 0 };
        };
        let back = self.last.and_then(|last| last.checked_sub(sequence));
        if frame.is_past() {
            // A device that has restarted since counts from below what its store still holds.
            let known = |back| source.map_or(back < MEMORY, |source| source <= self.source);
            return if back.is_some_and(known) {
                Admission::Duplicate
            } else {
                Admission::Fresh { missing: 0 }
            };
        }
        let dated = source.is_some_and(|source| source.plus(CLOCK_LOST) > frame.received);
        let print = print(&frame.samples);
        let near = back.filter(|&back| back < MEMORY);
        let known = near.is_some_and(|back| self.seen & (1 << back) != 0);
        let again = known && self.is_again(sequence, print, (told, source));
        let near = near.filter(|_| !known);
        if manner == Manner::Outdated {
            if let Some(back) = near {
                self.note(sequence, back, print);
            }
            return if again { Admission::Duplicate } else { Admission::Late };
        }
        if back.is_some() {
            let anew =
                |source: Timestamp| source > self.source || source.plus(CLOCK_LOST) <= self.source;
            // Without a clock, only what lies between two that came can have been overtaken.
            let between = |back: u64| dated || self.seen >> back != 0;
            match near {
                _ if again => return Admission::Duplicate,
                Some(back) if !source.is_some_and(anew) && between(back) => {
                    self.note(sequence, back, print);
                    return Admission::Late;
                }
                // Overtaken by more than is remembered.
                None if !known && manner == Manner::Replaced => return Admission::Late,
                // The device counts anew: what it said before is no measure of what it says now.
                _ => (self.last, self.seen) = (None, 0),
            }
        }
        let step = self.last.map(|last| sequence.saturating_sub(last));
        self.seen = step.filter(|&s| s < MEMORY).map_or(0, |s| self.seen << s);
        self.last = Some(sequence);
        self.note(sequence, 0, print);
        self.source = source.unwrap_or(self.source);
        Admission::Fresh { missing: step.unwrap_or(0).saturating_sub(1) }
    }

    fn note(&mut self, sequence: u64, back: u64, print: u32) {
        self.seen |= 1 << back;
        if self.prints.is_empty() {
            self.prints = vec![0; MEMORY as usize];
        }
        self.prints[(sequence % MEMORY) as usize] = print;
    }

    /// Whether a frame of a number that was received says what that one said. It is told by its
    /// time where only that is on record; `source` is what of the time is believed.
    fn is_again(
        &self,
        sequence: u64,
        print: u32,
        (told, source): (Option<Timestamp>, Option<Timestamp>),
    ) -> bool {
        match self.prints.get((sequence % MEMORY) as usize) {
            Some(&known) if known != 0 => known == print,
            _ if source.is_some_and(|source| source > self.source) => false,
            _ => match told {
                Some(told) => told <= self.before && told.plus(CLOCK_LOST) > self.before,
                None => self.before == NEVER,
            },
        }
    }
}
