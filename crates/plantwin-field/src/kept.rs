//! What a device keeps of its durable values until its gateway has them on record.
//!
//! An envelope opens with the keys of its session alone, and a gateway that is started anew has
//! none of them: what a broker still held for it is lost. So the device keeps what it measured, in
//! order, and each session begins with the gateway's word of what is on record. What came after
//! that is sent again, before anything newer, so that a number never hides the ones before it.
//! What was measured while there was no session is sent the same way.
//!
//! Several ways may lead to the gateway. The one on which it last spoke carries everything in order;
//! the others carry what is newest, and nothing while that one catches up.
//! Absent: sealing and sending ([`crate::NativeDevice`]), and outliving the device's own restart.

use std::collections::VecDeque;

use plantwin_adapter::Measurement;
use plantwin_model::Timestamp;

/// Frames before the gateway's word that are kept on: so many it may have taken and not yet have on
/// record, twice over (`plantwin_twin::MAX_RECEIPTS`).
const MARGIN: usize = 128;
/// Longest wait for the gateway's word, in seconds of the device's clock.
const WORD_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Frames that may be wanted again, oldest first.
pub(crate) struct Kept {
    frames: VecDeque<Measurement>,
    limit: usize,
    /// Frames that were let go because there were too many, and never sent.
    let_go: u64,
    /// Number of the newest frame up to which all were sent.
    sent: Option<u64>,
    /// On which way the gateway spoke last.
    leader: u16,
    /// The leader is behind: nobody else may send what is newer.
    behind: bool,
    /// Until then nothing is sent: the gateway is about to say what it has.
    waits: Option<Timestamp>,
}

impl Kept {
    /// Keeps up to so many frames.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            limit: limit.max(1),
            let_go: 0,
            sent: None,
            leader: 0,
            behind: false,
            waits: None,
        }
    }

    /// Takes a frame, unless another way brought it before.
    pub(crate) fn add(&mut self, measured: &Measurement) {
        if self.frames.back().is_some_and(|newest| newest.sequence >= measured.sequence) {
            return;
        }
        if self.frames.len() >= self.limit {
            let oldest = self.frames.pop_front();
            let unsent = oldest.filter(|frame| self.sent.is_none_or(|sent| frame.sequence > sent));
            self.let_go += u64::from(unsent.is_some());
        }
        self.frames.push_back(measured.clone());
    }

    /// Frames that were let go so far and never sent, because more came than may be kept.
    pub(crate) const fn let_go(&self) -> u64 {
        self.let_go
    }

    /// A session is up that the gateway asked for over this way. One that does not continue the one
    /// before begins with the gateway's word.
    pub(crate) fn session_up(&mut self, way: u16, continued: bool, now: Timestamp) {
        self.leader = way;
        self.waits = (!continued).then(|| now.plus(WORD_WITHIN));
    }

    /// The gateway says over this way what it has: all up to the frame of that number and print,
    /// and whether the device must send again what came after. `print` tells the print of a frame.
    pub(crate) fn received(
        &mut self,
        way: u16,
        after: Option<(u64, u32)>,
        again: bool,
        print: impl Fn(&Measurement) -> u32,
    ) {
        (self.leader, self.waits) = (way, None);
        let known = after.and_then(|(sequence, said)| {
            let place = self.place(sequence)?;
            let frame = self.frames.get(place).filter(|frame| frame.sequence == sequence)?;
            (print(frame) == said).then_some((sequence, place))
        });
        if again {
            // Of a frame that is not kept here, or that said something else, nothing follows: all
            // that is kept is news to this gateway.
            self.sent = known.map(|(sequence, _)| sequence);
            self.behind = true;
        }
        if let Some((_, place)) = known {
            self.frames.drain(..place.saturating_sub(MARGIN));
        }
    }

    /// What is to be sent next over this way, when `newest` was measured last; `None` while the
    /// gateway's word is awaited, and when there is no more.
    pub(crate) fn next(&self, way: u16, newest: u64, now: Timestamp) -> Option<&Measurement> {
        if self.waits.is_some_and(|until| now < until) {
            return None;
        }
        if way != self.leader {
            let frame = self.frames.back().filter(|frame| frame.sequence == newest);
            return frame.filter(|_| !self.behind);
        }
        self.frames.get(self.sent.map_or(0, |sent| self.place(sent + 1).unwrap_or(usize::MAX)))
    }

    /// That frame was handed to the wire. Whether this way carries what comes next, too.
    pub(crate) fn sent(&mut self, way: u16, sequence: u64) -> bool {
        let leads = way == self.leader;
        if leads {
            self.sent = Some(sequence);
            self.behind = self.frames.back().is_some_and(|newest| newest.sequence > sequence);
        }
        leads
    }

    /// That frame could not be sent, nor what follows it.
    pub(crate) fn failed(&mut self, way: u16, sequence: u64) {
        if way == self.leader {
            self.sent = match self.place(sequence) {
                Some(place) if place > 0 => Some(self.frames[place - 1].sequence),
                _ => sequence.checked_sub(1),
            };
            self.behind = true;
        }
    }

    /// Where the first frame is of this number or a higher one.
    fn place(&self, sequence: u64) -> Option<usize> {
        let place = self.frames.partition_point(|frame| frame.sequence < sequence);
        (place < self.frames.len()).then_some(place)
    }
}
