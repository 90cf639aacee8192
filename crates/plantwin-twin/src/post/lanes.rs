//! Four bounded queues and the rule that picks between them: pure bookkeeping.
//!
//! Absent: locks, wakers, and anybody who waits.

use std::collections::VecDeque;

use plantwin_model::{LaneView, MailboxView};
use plantwin_seal::Lane;

use super::Mail;

/// A lane with letters that was passed over this often in a row gets one turn.
pub const PATIENCE: u8 = 8;

/// Most letters that may wait, by lane. None may be 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneLimits {
    /// A: alarms and what must go before all else.
    pub alarm: u32,
    /// C: commands and their results.
    pub command: u32,
    /// T1: durable telemetry.
    pub durable: u32,
    /// T0: latest values.
    pub latest: u32,
}

impl LaneLimits {
    /// The same limit for each lane.
    pub const fn each(limit: u32) -> Self {
        Self { alarm: limit, command: limit, durable: limit, latest: limit }
    }

    /// Limit of one lane.
    pub const fn of(&self, lane: Lane) -> u32 {
        match lane {
            Lane::Alarm => self.alarm,
            Lane::Command => self.command,
            Lane::Durable => self.durable,
            Lane::Latest => self.latest,
        }
    }

    /// Of all lanes together.
    pub const fn total(&self) -> u32 {
        self.alarm + self.command + self.durable + self.latest
    }
}

impl Default for LaneLimits {
    /// 64 a lane, 256 in all.
    fn default() -> Self {
        Self::each(64)
    }
}

/// One lane: its queue and what is counted of it.
#[derive(Debug)]
struct Queue<M> {
    letters: VecDeque<Mail<M>>,
    /// How often in a row another lane went first while letters waited here.
    passed: u8,
    coalesced: u64,
    shed: u64,
    refused: u64,
}

/// The lanes of a mailbox.
#[derive(Debug)]
pub(super) struct Lanes<M> {
    queues: [Queue<M>; 4],
    limits: LaneLimits,
    handled: u64,
}

impl<M> Lanes<M> {
    /// Empty; takes no heap until the first letter.
    pub(super) fn new(limits: LaneLimits) -> Self {
        let queue =
            || Queue { letters: VecDeque::new(), passed: 0, coalesced: 0, shed: 0, refused: 0 };
        Self { queues: [queue(), queue(), queue(), queue()], limits, handled: 0 }
    }

    /// Takes a letter into the lane of its header, or gives it back if that is full.
    pub(super) fn push(&mut self, mail: Mail<M>) -> Result<(), Mail<M>> {
        let lane = mail.0.header().lane;
        let full = !self.has_room(lane);
        let queue = &mut self.queues[lane as usize];
        if full {
            queue.refused += 1;
            return Err(mail);
        }
        queue.letters.push_back(mail);
        Ok(())
    }

    /// The letter whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Mail<M>> {
        let waiting = || self.queues.iter().enumerate().filter(|(_, q)| !q.letters.is_empty());
        // Of several without patience the one that waited longest; of equals the most urgent.
        let (turn, _) = waiting()
            .rev()
            .filter(|(_, q)| q.passed >= PATIENCE)
            .max_by_key(|(_, q)| q.passed)
            .or_else(|| waiting().next())?;
        for (i, queue) in self.queues.iter_mut().enumerate() {
            if i == turn {
                queue.passed = 0;
            } else if !queue.letters.is_empty() {
                queue.passed = queue.passed.saturating_add(1);
            }
        }
        self.handled += 1;
        self.queues[turn].letters.pop_front()
    }

    pub(super) fn has_room(&self, lane: Lane) -> bool {
        (self.queues[lane as usize].letters.len() as u64) < u64::from(self.limits.of(lane))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|q| q.letters.is_empty())
    }

    pub(super) fn note_coalesced(&mut self, lane: Lane, count: u64) {
        self.queues[lane as usize].coalesced += count;
    }

    pub(super) fn note_shed(&mut self, lane: Lane, count: u64) {
        self.queues[lane as usize].shed += count;
    }

    /// Takes all letters out, unhandled.
    pub(super) fn clear(&mut self) -> [VecDeque<Mail<M>>; 4] {
        self.queues.each_mut().map(|q| std::mem::take(&mut q.letters))
    }

    pub(super) fn view(&self) -> MailboxView {
        let lanes = self.queues.each_ref().map(|q| LaneView {
            depth: q.letters.len() as u32,
            coalesced: q.coalesced,
            shed: q.shed,
            refused: q.refused,
        });
        MailboxView {
            depth: lanes.iter().map(|l| l.depth).sum(),
            capacity: self.limits.total(),
            handled: self.handled,
            refused: lanes.iter().map(|l| l.refused).sum(),
            lanes,
        }
    }
}
