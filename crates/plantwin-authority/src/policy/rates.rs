//! How often: the state behind `rate`, bounded.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A) with a burst of the whole count: one
//! number for each pair of rule and subject.

use std::time::Duration;

use plantwin_model::{Rate, Timestamp};

use super::quick::QuickMap;

/// Most pairs that are remembered; far above what people and rules make.
const LIMIT: usize = 16_384;

/// What was used of each rate.
#[derive(Debug, Default)]
pub struct Rates {
    /// When the last use will have been paid back, by rule and subject.
    due: QuickMap<(u32, u32), i64>,
}

impl Rates {
    /// Whether there is room for one more.
    pub(super) fn has_room(&self, key: (u32, u32), rate: Rate, now: Timestamp) -> bool {
        match self.due.get(&key) {
            Some(due) => has_room(*due, rate, now),
            None => self.due.len() < LIMIT,
        }
    }

    /// Takes one, if there is room.
    pub(super) fn take(&mut self, key: (u32, u32), rate: Rate, now: Timestamp) -> bool {
        if self.due.len() >= LIMIT && !self.due.contains_key(&key) {
            self.due.retain(|_, due| *due > now.0);
        }
        if !self.has_room(key, rate, now) {
            return false;
        }
        let due = self.due.entry(key).or_insert(now.0);
        *due = after(*due, rate, now);
        true
    }

    /// Pairs remembered now.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Time that one use takes to be paid back.
fn each(rate: Rate) -> i64 {
    nanos(rate.per) / i64::from(rate.count.max(1))
}

/// Whether one more fits when what was used is paid back at `due`.
pub(super) fn has_room(due: i64, rate: Rate, now: Timestamp) -> bool {
    due.saturating_sub(now.0) <= nanos(rate.per).saturating_sub(each(rate))
}

/// When it is paid back after one more use.
pub(super) fn after(due: i64, rate: Rate, now: Timestamp) -> i64 {
    due.max(now.0).saturating_add(each(rate))
}
