//! The session of a device: what stands between bytes off the wire and a trusted value.
//!
//! Only a session yields a [`Reading`]. It refuses values of a device that has not proved who it
//! is, what was received before, and what is not a finite number; it marks what is implausible.
//! Absent: the wire (adapters), and the proof itself: the line holds the keys of the handshake and
//! tells what became of it.

use plantwin_adapter::{Frame, Sample};
use plantwin_model::{Flaw, PointIx, PointSpec, Quality, SessionView, Timestamp};

use crate::{SessionMail, TwinPlan};
use memory::Memory;
pub use memory::Recorded;

mod memory;
#[cfg(test)]
mod tests;

/// A value that passed the session.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Reading {
    point: PointIx,
    value: f64,
    quality: Quality,
    source_time: Timestamp,
    received: Timestamp,
}

impl Reading {
    /// Which point.
    pub const fn point(&self) -> PointIx {
        self.point
    }
    /// Its value in the point's unit; always finite.
    pub const fn value(&self) -> f64 {
        self.value
    }
    /// Good, or uncertain with the reason; bad values are [`Refused`].
    pub const fn quality(&self) -> Quality {
        self.quality
    }
    /// When the device measured it (when it was received, if the device does not say).
    pub const fn source_time(&self) -> Timestamp {
        self.source_time
    }
    /// When it was received.
    pub const fn received(&self) -> Timestamp {
        self.received
    }
}

/// A value that was refused, and why.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Refused {
    /// Which point.
    pub point: PointIx,
    /// Why.
    pub flaw: Flaw,
}

/// What a frame as a whole is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Its samples may be opened.
    Fresh {
        /// Frames between the last one and this that never came, by the device's sequence.
        missing: u64,
    },
    /// A newer one overtook it: its samples may be opened, but say nothing of now.
    Late,
    /// It was received before.
    Duplicate,
    /// The device has not proved who it is (yet).
    Unauthenticated,
}

/// How a frame came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// As the device sent it.
    Live,
    /// Sealed in a session that another took over from: whatever its number, it is of the count that
    /// is known.
    Replaced,
    /// Later than newer values: it says nothing of now, nor of where the device's count is.
    Outdated,
}

/// Up to where a device's frames were received without a gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The device's number of the last of them.
    pub sequence: u64,
    /// What it said ([`plantwin_adapter::print`]): a device that counts anew had other frames of
    /// that number.
    pub print: u32,
}

/// Whether a value is one of the past, which its link had from a store and not from the device (a
/// message that an MQTT broker retained): it says nothing of the device now.
pub(crate) const fn is_past(quality: Quality) -> bool {
    matches!(quality, Quality::Uncertain(Flaw::Stale))
}

/// Source times further ahead of the plant's clock than this are not believed.
const MAX_AHEAD: std::time::Duration = std::time::Duration::from_secs(5);

/// The state of a device's session.
#[derive(Clone, Debug)]
pub struct Session {
    grade: Grade,
    memory: Memory,
}

#[derive(Clone, PartialEq, Debug)]
enum Grade {
    /// `asked`: the line is about to tell.
    None {
        asked: bool,
    },
    Plain,
    Proved {
        expires: Timestamp,
        sealed: bool,
    },
    Refused {
        reason: String,
        again: bool,
    },
}

impl Session {
    /// No session.
    pub const fn new() -> Self {
        Self { grade: Grade::None { asked: false }, memory: Memory::new() }
    }

    /// A path is up. Returns whether the device must prove who it is before it is believed.
    pub fn begin(&mut self, plan: &TwinPlan) -> bool {
        let native = plan.native();
        self.grade = if native { Grade::None { asked: true } } else { Grade::Plain };
        native
    }

    /// The line tells what became of the proof. `Err` says why the device is not believed. A
    /// session that is open stays so when beginning anew is only delayed.
    pub fn on_news(&mut self, news: SessionMail, now: Timestamp) -> Result<(), String> {
        match news {
            SessionMail::Open { expires, sealed } => {
                self.grade = Grade::Proved { expires, sealed };
                Ok(())
            }
            SessionMail::Refused { reason, again } => {
                if !(again && self.is_open(now)) {
                    self.grade = Grade::Refused { reason: reason.clone(), again };
                }
                Err(reason)
            }
            SessionMail::Ended { reason } => {
                self.grade = Grade::Refused { reason: reason.clone(), again: true };
                Err(reason)
            }
        }
    }

    /// The path is gone, and the session with it.
    pub fn end(&mut self) {
        self.grade = Grade::None { asked: false };
    }

    /// Whether a device that is not believed yet will be asked again over this connection.
    pub(crate) const fn asks_again(&self) -> bool {
        matches!(self.grade, Grade::None { asked: true } | Grade::Refused { again: true, .. })
    }

    /// Whether the device is not believed and will not be asked again over this connection.
    pub(crate) const fn is_refused(&self) -> bool {
        matches!(self.grade, Grade::Refused { again: false, .. })
    }

    /// Whether the device may speak and be spoken to.
    pub fn is_open(&self, now: Timestamp) -> bool {
        match &self.grade {
            Grade::Plain => true,
            Grade::Proved { expires, .. } => now < *expires,
            Grade::None { .. } | Grade::Refused { .. } => false,
        }
    }

    /// As shown.
    pub fn view(&self) -> SessionView {
        match &self.grade {
            Grade::None { .. } => SessionView::None,
            Grade::Plain => SessionView::Plain,
            Grade::Proved { expires, sealed: true } => SessionView::Sealed { expires: *expires },
            Grade::Proved { expires, sealed: false } => SessionView::Token { expires: *expires },
            Grade::Refused { reason, .. } => SessionView::Refused { reason: reason.clone() },
        }
    }

    /// What is to be on record with the frames that were admitted; `None` of a device that does
    /// not number them.
    pub(crate) fn recorded(&self) -> Option<Recorded> {
        self.memory.recorded()
    }

    /// Up to where the device's frames were received, for the device to know.
    pub(crate) fn taken(&self) -> Option<Taken> {
        self.memory.taken()
    }

    /// Takes up what an earlier run of the process had received.
    pub(crate) fn restore(&mut self, recorded: Recorded, now: Timestamp) {
        self.memory.restore(recorded, now);
    }

    /// Judges a frame as a whole.
    pub(crate) fn admit(&mut self, frame: &Frame, manner: Manner, now: Timestamp) -> Admission {
        if !self.is_open(now) {
            return Admission::Unauthenticated;
        }
        self.memory.admit(frame, manner)
    }

    /// Judges a frame that is heard, and not believed: it is remembered like any other, so that it
    /// is neither missing nor new when the device is believed again.
    pub(crate) fn note(&mut self, frame: &Frame, manner: Manner) -> Admission {
        self.memory.admit(frame, manner)
    }

    /// Opens one sample of an admitted frame.
    pub(crate) fn open(
        sample: &Sample,
        spec: &PointSpec,
        received: Timestamp,
    ) -> Result<Reading, Refused> {
        let refuse = |flaw| Err(Refused { point: sample.point, flaw });
        if let Quality::Bad(flaw) = sample.quality {
            return refuse(flaw);
        }
        if !sample.value.is_finite() {
            return refuse(Flaw::NotFinite);
        }
        let (low, high) = spec.range;
        let outside = sample.value < low || sample.value > high;
        // That a value is old outweighs that it is implausible: it must not pass as live.
        let quality = if outside && !is_past(sample.quality) {
            Quality::Uncertain(Flaw::OutOfRange)
        } else {
            sample.quality
        };
        let latest = received.plus(MAX_AHEAD);
        let source_time = sample.source_time.filter(|&t| t <= latest).unwrap_or(received);
        Ok(Reading { point: sample.point, value: sample.value, quality, source_time, received })
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}
