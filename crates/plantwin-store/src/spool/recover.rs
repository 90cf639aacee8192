//! Reading all queues at opening, and mending what the store lost.
//!
//! In a store that lost nothing this changes nothing. Absent: finding the loss out, which the
//! store does.

use plantwin_model::Timestamp;

use super::{
    PAGE, QueueStats, SPOOL_TREE, Spool, SpoolEntry,
    codec::{self, BASE_KEY, Changes, Gap, Key},
};
use crate::StoreError;

/// A queue that is being read.
struct Reading {
    device: String,
    queue: QueueStats,
    /// The queue's own record was found.
    known: bool,
    /// The sequence that should come next.
    expected: u64,
    /// Time of the last record.
    time: Option<Timestamp>,
    changes: Changes,
}

impl Spool {
    pub(super) fn recover(&mut self) -> Result<(), StoreError> {
        let lost = self.store.lost(SPOOL_TREE);
        self.base = match self.store.get(SPOOL_TREE, BASE_KEY)? {
            Some(bytes) => bytes.try_into().map_or(0, u64::from_le_bytes),
            None => 0,
        };
        let mut reading: Option<Reading> = None;
        let mut from = String::new();
        loop {
            let page = self.store.scan_from(SPOOL_TREE, "", &from, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            from = format!("{last}\0");
            for (key, value) in &page {
                if key == BASE_KEY {
                    continue;
                }
                let Some((device, sequence)) = codec::split_key(key) else {
                    return Err(codec::decode(key, value).err().unwrap_or(StoreError::Failed));
                };
                if reading.as_ref().is_none_or(|r| r.device != device) {
                    self.end(reading.take(), lost)?;
                }
                let reading = reading.get_or_insert_with(|| Reading::new(device, self.base));
                match sequence {
                    None => reading.itself(value),
                    Some(sequence) => reading.record(key, value, sequence)?,
                }
            }
        }
        self.end(reading, lost)?;
        if lost > 0 {
            self.base = self.base.saturating_add(lost);
            let mut changes = Changes::default();
            changes.put(BASE_KEY.to_owned(), self.base.to_le_bytes().to_vec());
            self.apply(&changes)?;
        }
        Ok(())
    }

    fn end(&mut self, reading: Option<Reading>, lost: u64) -> Result<(), StoreError> {
        let Some(mut reading) = reading else { return Ok(()) };
        let Reading { queue, expected, .. } = &mut reading;
        // Records at the end that the queue still knows of, and what it cannot know of.
        let next = queue.next.max(*expected).saturating_add(lost);
        if next > *expected {
            reading.missing(next - 1);
            reading.queue.next = next;
        } else {
            reading.queue.next = *expected;
        }
        let Reading { device, queue, mut changes, .. } = reading;
        if changes.len() > 0 {
            changes.put(codec::meta_key(&device), queue.encode());
            self.apply(&changes)?;
        }
        self.set(&device, queue);
        // Only now adjacent gaps are one.
        self.refresh_oldest(&device)
    }
}

impl Reading {
    fn new(device: &str, base: u64) -> Self {
        Self {
            device: device.to_owned(),
            queue: QueueStats::beginning_after(base),
            known: false,
            expected: base + 1,
            time: None,
            changes: Changes::default(),
        }
    }

    /// The queue's own record comes before all others.
    fn itself(&mut self, value: &[u8]) {
        if let Some(queue) = QueueStats::decode(value) {
            self.expected = queue.upto + 1;
            self.queue = queue;
            self.known = true;
        }
    }

    fn record(&mut self, key: &str, value: &[u8], sequence: u64) -> Result<(), StoreError> {
        let record = codec::decode(key, value)?;
        let begins = match record.entry {
            SpoolEntry::Gap { count, .. } => (sequence + 1).saturating_sub(count),
            SpoolEntry::Value(_) => sequence,
        };
        if !self.known {
            // Nothing tells what came before.
            self.queue.upto = begins.saturating_sub(1);
            self.expected = self.queue.upto + 1;
            self.known = true;
        }
        if sequence < self.expected {
            // Acknowledged or dropped before; a damaged store may bring it back.
            self.changes.delete(key.to_owned());
            return Ok(());
        }
        if begins > self.expected {
            self.time = self.time.or(Some(record.time));
            self.missing(begins - 1);
        }
        match &record.entry {
            SpoolEntry::Value(payload) => {
                self.queue.records += 1;
                self.queue.bytes += codec::value_cost(&self.device, payload.len());
                self.queue.tail = None;
            }
            SpoolEntry::Gap { count, from, to } => {
                let gap = Gap { count: *count, from: *from, to: *to };
                let gap = if let Some(tail) = self.queue.tail {
                    self.changes.delete(Key(&self.device, self.expected - 1).text());
                    let gap = tail.followed_by(gap);
                    self.changes.put(key.to_owned(), gap.encode());
                    gap
                } else {
                    self.queue.bytes += codec::gap_cost(&self.device);
                    gap
                };
                self.queue.tail = Some(gap);
            }
        }
        self.expected = sequence + 1;
        self.time = Some(record.time);
        // What was added since the queue last wrote of itself.
        self.queue.appended += self.expected.saturating_sub(self.queue.next);
        self.queue.next = self.queue.next.max(self.expected);
        Ok(())
    }

    /// Everything from the expected sequence to `last` is gone.
    fn missing(&mut self, last: u64) {
        let count = last + 1 - self.expected;
        let time = self.time.unwrap_or_default();
        let gap = Gap { count, from: time, to: time };
        let gap = if let Some(tail) = self.queue.tail {
            self.changes.delete(Key(&self.device, self.expected - 1).text());
            tail.followed_by(gap)
        } else {
            self.queue.bytes += codec::gap_cost(&self.device);
            gap
        };
        self.changes.put(Key(&self.device, last).text(), gap.encode());
        self.queue.tail = Some(gap);
        self.queue.dropped += count;
        self.queue.appended += (last + 1).saturating_sub(self.queue.next.max(self.expected));
        self.expected = last + 1;
        self.queue.next = self.queue.next.max(self.expected);
    }
}
