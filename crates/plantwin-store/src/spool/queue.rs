//! What is known of a queue without reading its records.
//!
//! Absent: the records.

use plantwin_model::Timestamp;

use super::codec::Gap;

/// A queue in numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueueStats {
    /// Values that wait.
    pub records: u64,
    /// Bytes that wait, with keys and gaps.
    pub bytes: u64,
    /// Sequence of the next value.
    pub next: u64,
    /// Everything up to this sequence was acknowledged.
    pub upto: u64,
    /// Values that were ever added, dropped ones included.
    pub appended: u64,
    /// Values that were dropped, or lost by the store.
    pub dropped: u64,
    /// Values that were acknowledged.
    pub acknowledged: u64,
    /// Time of the first value that waits.
    pub oldest: Option<Timestamp>,
    /// The last record, if it is a gap.
    pub(super) tail: Option<Gap>,
}

impl QueueStats {
    /// A new queue whose first sequence lies above `base`.
    pub(super) fn beginning_after(base: u64) -> Self {
        Self {
            records: 0,
            bytes: 0,
            next: base + 1,
            upto: base,
            appended: 0,
            dropped: 0,
            acknowledged: 0,
            oldest: None,
            tail: None,
        }
    }

    /// What must outlast the records: `next`, `upto`, `appended`, `dropped`, `acknowledged`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { next, upto, appended, dropped, acknowledged, .. } = self;
        [next, upto, appended, dropped, acknowledged].iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let [next, upto, appended, dropped, acknowledged] = numbers else { return None };
        let [next, upto, appended, dropped, acknowledged] =
            [next, upto, appended, dropped, acknowledged].map(|n| u64::from_le_bytes(*n));
        let empty = Self::beginning_after(0);
        (upto < next).then_some(Self { next, upto, appended, dropped, acknowledged, ..empty })
    }
}

/// All queues in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpoolTotals {
    /// Queues, empty ones included.
    pub queues: u64,
    /// Values that wait.
    pub records: u64,
    /// Bytes that wait, with keys and gaps.
    pub bytes: u64,
    /// Values that were ever added, dropped ones included.
    pub appended: u64,
    /// Values that were dropped, or lost by the store.
    pub dropped: u64,
    /// Values that were acknowledged.
    pub acknowledged: u64,
}

impl SpoolTotals {
    pub(super) fn add(&mut self, queue: &QueueStats) {
        self.records += queue.records;
        self.bytes += queue.bytes;
        self.appended += queue.appended;
        self.dropped += queue.dropped;
        self.acknowledged += queue.acknowledged;
    }
}
