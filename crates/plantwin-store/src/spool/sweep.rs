//! Dropping: by bytes and by age, always leaving gaps.
//!
//! Absent: acknowledging.

use plantwin_model::Timestamp;

use super::{
    DropPolicy, Item, Spool, SpoolEntry,
    codec::{self, Changes, Gap, Key},
};
use crate::StoreError;

/// Records of the first read; it doubles up to [`super::PAGE`].
const FIRST_PAGE: usize = 8;
/// Changes after which a batch ends, at the next value that stays.
const BATCH: usize = 1024;
/// Decimation that frees less than this part of the limit is followed by dropping the oldest, so
/// that it does not come again with each value.
const WORTHWHILE: u64 = 16;

/// What becomes of a value.
pub(super) enum Verdict {
    Drop,
    Keep,
    /// This one and all later ones stay.
    Stop,
}

impl Spool {
    /// Makes room for what is to be added, if the policy is to drop what is there.
    pub(super) fn make_room(&mut self, items: &[Item<'_>]) -> Result<(), StoreError> {
        if self.limits.drop == DropPolicy::Newest {
            return Ok(());
        }
        let limit = self.limits.device_bytes;
        let mut needs = std::collections::BTreeMap::new();
        for (device, _, payload) in items {
            let cost = codec::value_cost(device, payload.len());
            // What can never fit makes nobody give way.
            if cost <= limit && cost <= self.limits.total_bytes {
                *needs.entry(*device).or_insert(0) += cost;
            }
        }
        for (device, need) in &needs {
            let bytes = self.queues.get(*device).map_or(0, |queue| queue.bytes);
            self.shrink(device, (bytes + need).saturating_sub(limit))?;
        }
        let need: u64 = needs.values().sum();
        loop {
            let excess = (self.bytes + need).saturating_sub(self.limits.total_bytes);
            let Some((_, fullest)) = self.sizes.last() else { return Ok(()) };
            let fullest = fullest.clone();
            if excess == 0 || !self.shrink(&fullest, excess.min(limit / WORTHWHILE + 1))? {
                return Ok(());
            }
        }
    }

    /// Frees bytes of a queue; whether any were.
    fn shrink(&mut self, device: &str, bytes: u64) -> Result<bool, StoreError> {
        if bytes == 0 {
            return Ok(false);
        }
        let Some(queue) = self.queues.get(device) else { return Ok(false) };
        let (before, half) = (queue.bytes, queue.records / 2);
        let now = |spool: &Self| spool.queues.get(device).map_or(0, |queue| queue.bytes);
        let mut target = before.saturating_sub(bytes);
        if self.limits.drop == DropPolicy::Decimate && half >= 2 {
            let mut seen = 0;
            self.sweep(device, |_, _, _| {
                seen += 1;
                match seen {
                    n if n > half => Verdict::Stop,
                    n if n % 2 == 0 => Verdict::Drop,
                    _ => Verdict::Keep,
                }
            })?;
            let part = self.limits.device_bytes / WORTHWHILE;
            if now(self) <= target && before - now(self) >= part.min(before / WORTHWHILE) {
                return Ok(true);
            }
            target = target.min(before.saturating_sub(part));
        }
        let gap = codec::gap_cost(device);
        let mut left = now(self);
        self.sweep(device, |_, _, cost| {
            // The gap that takes the place of what is dropped is there from the first one on.
            if left + gap <= target {
                return Verdict::Stop;
            }
            left -= cost;
            Verdict::Drop
        })?;
        Ok(now(self) < before)
    }

    /// Goes through a queue from its beginning. `decide` is given sequence, time and bytes of each
    /// value. What is dropped becomes a gap, one with the gaps beside it.
    pub(super) fn sweep(
        &mut self,
        device: &str,
        mut decide: impl FnMut(u64, Timestamp, u64) -> Verdict,
    ) -> Result<(), StoreError> {
        let Some(queue) = self.queues.get(device) else { return Ok(()) };
        let mut draft = queue.clone();
        let mut changes = Changes::default();
        let mut from = draft.upto + 1;
        let mut size = FIRST_PAGE;
        // The gap that is being put together: its last sequence, and whether it is new.
        let mut run: Option<(Gap, u64, bool)> = None;
        let (mut stopped, mut ended) = (false, false);
        while !ended {
            let page = self.page(device, from, size)?;
            ended = page.len() < size;
            size = (size * 2).min(super::PAGE);
            for record in page {
                let SpoolRecordParts { sequence, gap, cost } = parts(device, &record);
                from = sequence + 1;
                let dropped = match gap {
                    Some(gap) => Some(gap),
                    None if stopped => None,
                    None => match decide(sequence, record.time, cost) {
                        Verdict::Drop => {
                            draft.records -= 1;
                            draft.dropped += 1;
                            Some(Gap { count: 1, from: record.time, to: record.time })
                        }
                        Verdict::Keep => None,
                        Verdict::Stop => {
                            stopped = true;
                            None
                        }
                    },
                };
                let Some(piece) = dropped else {
                    // A value that stays ends the gap.
                    finish(device, &mut run, &mut changes);
                    if stopped {
                        ended = true;
                        break;
                    }
                    if changes.len() >= BATCH {
                        self.commit(device, &draft, &mut changes)?;
                    }
                    continue;
                };
                draft.bytes -= cost;
                run = Some(if let Some((gap, last, _)) = run {
                    changes.delete(Key(device, last).text());
                    (gap.followed_by(piece), sequence, true)
                } else {
                    draft.bytes += codec::gap_cost(device);
                    (piece, sequence, !matches!(record.entry, SpoolEntry::Gap { .. }))
                });
            }
        }
        if let Some((gap, last, _)) = run
            && last + 1 == draft.next
        {
            draft.tail = Some(gap);
        }
        finish(device, &mut run, &mut changes);
        if changes.len() > 0 {
            self.commit(device, &draft, &mut changes)?;
        }
        self.refresh_oldest(device)
    }

    fn commit(
        &mut self,
        device: &str,
        draft: &super::QueueStats,
        changes: &mut Changes,
    ) -> Result<(), StoreError> {
        changes.put(codec::meta_key(device), draft.encode());
        self.apply(changes)?;
        *changes = Changes::default();
        self.set(device, draft.clone());
        Ok(())
    }
}

fn finish(device: &str, run: &mut Option<(Gap, u64, bool)>, changes: &mut Changes) {
    if let Some((gap, last, true)) = run.take() {
        changes.put(Key(device, last).text(), gap.encode());
    }
}

struct SpoolRecordParts {
    sequence: u64,
    gap: Option<Gap>,
    cost: u64,
}

fn parts(device: &str, record: &super::SpoolRecord) -> SpoolRecordParts {
    let sequence = record.sequence;
    match &record.entry {
        SpoolEntry::Value(payload) => {
            SpoolRecordParts { sequence, gap: None, cost: codec::value_cost(device, payload.len()) }
        }
        SpoolEntry::Gap { count, from, to } => SpoolRecordParts {
            sequence,
            gap: Some(Gap { count: *count, from: *from, to: *to }),
            cost: codec::gap_cost(device),
        },
    }
}
