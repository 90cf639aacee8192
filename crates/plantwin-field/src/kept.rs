//! What a device keeps of its durable values until its gateway has them on record.
//!
//! An envelope opens with the keys of its session alone, and a gateway that is started anew has
//! none of them: what a broker still held for it is lost. So the device keeps what it measured, in
//! order, and each session begins with the gateway's word of what is on record. Where the session
//! does not continue the one before, what came after that is sent again, before anything newer, so
//! that a number never hides the ones before it. What was measured while there was no session, and
//! what the wire did not take, is sent the same way.
//!
//! Several ways may lead to the gateway. The one on which it last spoke carries all frames, and the
//! others none, so that none comes twice, long after it was overtaken.
//! Absent: sealing and sending ([`crate::NativeDevice`]), and outliving the device's own restart.

use std::{collections::VecDeque, time::Duration};

use plantwin_adapter::Measurement;
use plantwin_model::Timestamp;

/// Frames before the gateway's word that are kept on: so many it may have taken and not yet have on
/// record, twice over (`plantwin_twin::MAX_RECEIPTS`).
const MARGIN: usize = 128;
/// Frames that a wire may have taken and not delivered when it breaks. A gateway knows as many that
/// come again.
const UNDER_WAY: u64 = 64;
/// Longest wait for the gateway's word.
const WORD_WITHIN: Duration = Duration::from_mins(1);

/// Frames that may be wanted again, oldest first.
pub(crate) struct Kept {
    frames: VecDeque<Measurement>,
    limit: usize,
    /// Frames that were let go because there were too many, and never sent.
    let_go: u64,
    /// Number of the newest frame up to which all were sent.
    sent: Option<u64>,
    /// Frames below this number are not sent again because a wire broke.
    floor: u64,
    /// On which way the gateway spoke last.
    leader: u16,
    /// What was sealed before the session that is up may never have been opened: number of the newest
    /// frame of then, 0 if there was none.
    broken: Option<u64>,
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
            floor: 0,
            leader: 0,
            broken: None,
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
    /// before, or not over its way, begins with the gateway's word.
    pub(crate) fn session_up(&mut self, way: u16, continued: bool, now: Timestamp) {
        if !continued || way != self.leader {
            self.broken = Some(self.frames.back().map_or(0, |newest| newest.sequence));
            self.waits = Some(now.plus(WORD_WITHIN));
        }
        self.leader = way;
    }

    /// The gateway says over this way what it has: all up to the frame of that number and print; or
    /// that it wants nothing of what was said before its session. `print` tells the print of a frame.
    pub(crate) fn received(
        &mut self,
        way: u16,
        after: Option<(u64, u32)>,
        discard: bool,
        print: impl Fn(&Measurement) -> u32,
    ) {
        (self.leader, self.waits) = (way, None);
        // A word that comes again must not have anything sent a third time.
        let broken = self.broken.take();
        let known = after.and_then(|(sequence, said)| {
            let place = self.place(sequence)?;
            let frame = self.frames.get(place).filter(|frame| frame.sequence == sequence)?;
            (print(frame) == said).then_some((sequence, place))
        });
        match broken {
            Some(before) if discard => self.go_on_after(Some(before)),
            // Of a frame that is not kept here, or that said something else, nothing follows: all
            // that is kept is news to this gateway.
            Some(_) => self.go_on_after(known.map(|(sequence, _)| sequence)),
            None => {}
        }
        if let Some((_, place)) = known {
            self.frames.drain(..place.saturating_sub(MARGIN));
        }
    }

    fn go_on_after(&mut self, sequence: Option<u64>) {
        self.sent = sequence;
        self.floor = sequence.map_or(0, |sequence| sequence.saturating_add(1));
    }

    /// Whether this way carries frames now. A gateway that says nothing stops the device for a
    /// while, not for ever; what it had to say then comes too late.
    pub(crate) fn carries(&mut self, way: u16, now: Timestamp) -> bool {
        if self.waits.take_if(|until| now >= *until).is_some() {
            self.broken = None;
        }
        self.waits.is_none() && way == self.leader
    }

    /// What is to be sent next.
    pub(crate) fn next(&self) -> Option<&Measurement> {
        let place = match self.sent {
            Some(sent) => self.place(sent.checked_add(1)?)?,
            None => 0,
        };
        self.frames.get(place)
    }

    /// That frame was handed to the wire.
    pub(crate) fn sent(&mut self, sequence: u64) {
        self.sent = Some(sequence);
    }

    /// This way did not take that frame, and may have lost those before it. Those of a way that
    /// carries nothing any more were sent again over the other.
    pub(crate) fn failed(&mut self, way: u16, sequence: u64) {
        if way == self.leader && self.sent.is_some_and(|sent| sent >= sequence) {
            self.floor = self.floor.max(sequence.saturating_sub(UNDER_WAY));
            self.sent = self.floor.checked_sub(1);
        }
    }

    /// Where the first frame is of this number or a higher one.
    fn place(&self, sequence: u64) -> Option<usize> {
        let place = self.frames.partition_point(|frame| frame.sequence < sequence);
        (place < self.frames.len()).then_some(place)
    }
}
