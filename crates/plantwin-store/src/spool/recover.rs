//! Reading all queues at opening, and again after the store failed, and mending what it lost.
//!
//! In a store that lost nothing the first changes nothing. After a failure more is known than the
//! store tells: how far each queue had come when it was safe last, and what was acknowledged.
//! Absent: finding the loss out, which the store does.

use std::{collections::BTreeMap, sync::Arc};

use plantwin_model::Timestamp;

use super::{
    PAGE, QueueStats, SPOOL_TREE, Spool, SpoolEntry,
    codec::{self, BASE_KEY, Changes, Gap, Key},
};
use crate::StoreError;

/// What is known of queues before they are read.
pub(super) type Known = BTreeMap<Arc<str>, KnownQueue>;

/// How far a queue has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    next: u64,
    appended: u64,
}

impl Reach {
    pub(super) fn of(queue: &QueueStats) -> Self {
        Self { next: queue.next, appended: queue.appended }
    }
}

/// What is known of a queue before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownQueue {
    /// When it was safe last: what lies beyond is taken out.
    safe: Reach,
    upto: u64,
    acknowledged: u64,
}

impl KnownQueue {
    fn beginning_after(base: u64) -> Self {
        let safe = Reach::of(&QueueStats::beginning_after(base));
        Self { safe, upto: base, acknowledged: 0 }
    }
}

/// A queue that is being read.
struct Reading {
    device: String,
    queue: QueueStats,
    before: Option<KnownQueue>,
    /// The queue's own record as it was found.
    found: Vec<u8>,
    /// The queue's own record was found.
    known: bool,
    /// The sequence that should come next.
    expected: u64,
    /// Time of the last record.
    time: Option<Timestamp>,
    changes: Changes,
}

impl Spool {
    pub(super) fn known(&self) -> Known {
        let of = |(name, queue): (&Arc<str>, &QueueStats)| {
            let safe = self.safe.get(name).copied().unwrap_or_else(|| Reach::of(queue));
            let QueueStats { upto, acknowledged, .. } = *queue;
            (Arc::clone(name), KnownQueue { safe, upto: upto.min(safe.next - 1), acknowledged })
        };
        self.queues.iter().map(of).collect()
    }

    /// `lost`: how many records may be missing at the end of a queue of which nothing is known.
    pub(super) fn recover(&mut self, known: Option<Known>, lost: u64) -> Result<(), StoreError> {
        let again = known.is_some();
        let mut known = known.unwrap_or_default();
        let base = match self.store.get(SPOOL_TREE, BASE_KEY)? {
            Some(bytes) => bytes.try_into().map_or(0, u64::from_le_bytes),
            None => 0,
        };
        let base_is_gone = base < self.base;
        self.base = self.base.max(base);
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
                let base = self.base;
                let reading = reading.get_or_insert_with(|| {
                    // One that nobody knows of never came to be safe.
                    let none = again.then(|| KnownQueue::beginning_after(base));
                    Reading::new(device, base, known.remove(device).or(none))
                });
                match sequence {
                    None => reading.itself(value),
                    Some(sequence) => reading.record(key, value, sequence)?,
                }
            }
        }
        self.end(reading, lost)?;
        for (device, before) in known {
            // Nothing of it was found.
            self.end(Some(Reading::new(&device, self.base, Some(before))), lost)?;
        }
        if lost > 0 || base_is_gone {
            self.base = self.base.saturating_add(lost);
            let mut changes = Changes::default();
            changes.put(BASE_KEY.to_owned(), self.base.to_le_bytes().to_vec());
            self.apply(&changes)?;
        }
        Ok(())
    }

    fn end(&mut self, reading: Option<Reading>, lost: u64) -> Result<(), StoreError> {
        let Some(mut reading) = reading else { return Ok(()) };
        let Reading { queue, expected, before, .. } = &mut reading;
        let next = match before {
            Some(known) => known.safe.next,
            // Records at the end that the queue still knows of, and what it cannot know of.
            None => queue.next.max(*expected).saturating_add(lost),
        };
        if next > *expected {
            reading.missing(next - 1);
            reading.queue.next = next;
        } else {
            reading.queue.next = *expected;
        }
        let Reading { device, mut queue, before, found, mut changes, .. } = reading;
        if let Some(known) = before {
            queue.appended = known.safe.appended;
            // What was added was dropped if it neither waits nor was acknowledged.
            queue.dropped = queue.appended.saturating_sub(queue.acknowledged + queue.records);
        }
        if changes.len() > 0 || (before.is_some() && found != queue.encode()) {
            changes.put(codec::meta_key(&device), queue.encode());
            self.apply(&changes)?;
        }
        self.set(&device, queue);
        // Only now adjacent gaps are one.
        self.refresh_oldest(&device)
    }
}

impl Reading {
    fn new(device: &str, base: u64, before: Option<KnownQueue>) -> Self {
        let mut queue = QueueStats::beginning_after(base);
        if let Some(known) = before {
            (queue.upto, queue.acknowledged) = (known.upto, known.acknowledged);
        }
        let expected = queue.upto + 1;
        Self {
            device: device.to_owned(),
            queue,
            before,
            found: Vec::new(),
            known: before.is_some(),
            expected,
            time: None,
            changes: Changes::default(),
        }
    }

    /// The queue's own record comes before all others.
    fn itself(&mut self, value: &[u8]) {
        self.found = value.to_vec();
        if let Some(mut queue) = QueueStats::decode(value) {
            if let Some(known) = self.before
                && queue.upto < known.upto
            {
                // The acknowledging was not safe yet.
                (queue.upto, queue.acknowledged) = (known.upto, known.acknowledged);
            }
            self.expected = queue.upto + 1;
            self.queue = queue;
            self.known = true;
        }
    }

    fn record(&mut self, key: &str, value: &[u8], sequence: u64) -> Result<(), StoreError> {
        let mut record = codec::decode(key, value)?;
        let (mut key, mut sequence) = (key.to_owned(), sequence);
        if let Some(end) = self.before.map(|known| known.safe.next)
            && sequence >= end
        {
            // It was never safe, and is added again.
            self.changes.delete(key);
            let beyond = sequence + 1 - end;
            let SpoolEntry::Gap { count, from, to } = &mut record.entry else { return Ok(()) };
            if *count <= beyond {
                return Ok(());
            }
            *count -= beyond;
            sequence = end - 1;
            key = Key(&self.device, sequence).text();
            let gap = Gap { count: *count, from: *from, to: *to };
            self.changes.put(key.clone(), gap.encode());
        }
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
            self.changes.delete(key);
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
                    self.changes.put(key, gap.encode());
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
