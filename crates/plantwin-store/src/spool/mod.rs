//! The outbox: durable telemetry that waits for a receiver, one queue a device.
//!
//! Each queue gives growing sequences without holes, and never one twice, not even when all was
//! acknowledged and the process began anew. Nothing leaves a queue but by acknowledgement or by the
//! limits; what the limits drop leaves a gap record in its place, so that the receiver learns
//! exactly what it will never get. Memory holds a few numbers a queue; records stay in the store.
//! Absent: sending, and the flush, which belongs to whoever acknowledges to the device
//! ([`Store::flush`]).

mod codec;
mod queue;
mod recover;
mod sweep;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use plantwin_model::Timestamp;

pub use codec::{SpoolEntry, SpoolRecord};
pub use queue::{QueueStats, SpoolTotals};

use crate::{Store, StoreError, Tree, VALUE_LIMIT, Write};
use codec::{Changes, Gap, Key};

/// The tree of all queues.
pub const SPOOL_TREE: Tree = Tree::new("spool");

/// Longest name of a device, in bytes.
const NAME_LIMIT: usize = 200;
/// Records per read and per batch of deletions.
const PAGE: usize = 256;

/// What to drop when a queue is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DropPolicy {
    /// The oldest values.
    #[default]
    Oldest,
    /// What comes in.
    Newest,
    /// Every second value of the older half, again and again: the past gets coarser. Where values
    /// are so small that this frees too little, the oldest ones as well.
    Decimate,
}

/// How much may wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpoolLimits {
    /// Bytes per device, with keys and gaps. A gap record at either end may go beyond.
    pub device_bytes: u64,
    /// Bytes of all devices; beyond it the fullest queue gives way.
    pub total_bytes: u64,
    /// How long a value is worth sending.
    pub max_age: Duration,
    /// What to drop.
    pub drop: DropPolicy,
}

impl Default for SpoolLimits {
    /// 64 MiB a device, 256 MiB in all, 24 hours, oldest first.
    fn default() -> Self {
        Self {
            device_bytes: 64 << 20,
            total_bytes: 256 << 20,
            max_age: Duration::from_hours(24),
            drop: DropPolicy::Oldest,
        }
    }
}

/// What became of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its sequence.
    pub sequence: u64,
    /// Whether it waits; if not, it was dropped and stands in a gap.
    pub kept: bool,
}

/// A value for a device's queue: device, time, payload.
pub type Item<'a> = (&'a str, Timestamp, &'a [u8]);

/// The queues of all devices. One at a time over a store.
pub struct Spool {
    store: Arc<dyn Store>,
    limits: SpoolLimits,
    queues: BTreeMap<Arc<str>, QueueStats>,
    /// The fullest queue is last.
    sizes: BTreeSet<(u64, Arc<str>)>,
    bytes: u64,
    /// Sequences up to here may have been given by queues that were lost: new ones begin above.
    base: u64,
    /// Of queues that were changed since [`Spool::flushed`]: how far each had come by then.
    safe: BTreeMap<Arc<str>, recover::Reach>,
}

impl Spool {
    /// Reads all queues of the store, and mends them if the store lost some of their records:
    /// what is missing becomes a gap. Call it once for each opening of a store.
    pub fn open(store: Arc<dyn Store>, limits: SpoolLimits) -> Result<Self, StoreError> {
        let mut spool = Self {
            store,
            limits,
            queues: BTreeMap::new(),
            sizes: BTreeSet::new(),
            bytes: 0,
            base: 0,
            safe: BTreeMap::new(),
        };
        let lost = spool.store.lost(SPOOL_TREE);
        spool.recover(None, lost)?;
        spool.flushed();
        Ok(spool)
    }

    /// Everything that was added so far is on the disk, because [`Store::flush`] returned after
    /// it was added: [`Self::reopen`] keeps it.
    pub fn flushed(&mut self) {
        self.safe.clear();
    }

    /// Reads all queues again after the store failed, or was mended ([`Store::mend`]). What was
    /// added since the last [`Self::flushed`] is taken out, whether the store still has it or not,
    /// so that it can be added again without being there twice; its sequences are given again.
    /// What was acknowledged stays acknowledged. What else is missing becomes a gap. After an
    /// error the index is the old one, and this may be tried again.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        let known = self.known();
        let old = (
            std::mem::take(&mut self.queues),
            std::mem::take(&mut self.sizes),
            std::mem::take(&mut self.bytes),
        );
        let safe = std::mem::take(&mut self.safe);
        let outcome = self.recover(Some(known), 0);
        // What mending writes needs no taking back.
        self.safe.clear();
        if outcome.is_err() {
            (self.queues, self.sizes, self.bytes) = old;
            self.safe = safe;
        }
        outcome
    }

    /// Adds a value. Safe after [`Store::flush`]; after an error nothing was added.
    ///
    /// # Errors
    /// [`StoreError::DeviceName`], [`StoreError::TooLong`], or what the store says.
    pub fn append(
        &mut self,
        device: &str,
        time: Timestamp,
        payload: &[u8],
    ) -> Result<Appended, StoreError> {
        let added = self.append_batch(&[(device, time, payload)])?;
        added.first().copied().ok_or_else(|| StoreError::DeviceName(device.to_owned()))
    }

    /// Adds values in their order, in one batch of the store. One that is longer than a quarter of
    /// the limits is split, and after an error its first parts may have been added.
    pub fn append_batch(&mut self, items: &[Item<'_>]) -> Result<Vec<Appended>, StoreError> {
        for (device, _, payload) in items {
            check(device, payload)?;
        }
        let mut added = Vec::with_capacity(items.len());
        let mut rest = items;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(self.fitting(rest));
            self.append_part(part, &mut added)?;
            rest = after;
        }
        Ok(added)
    }

    /// How many of the items may be added at once: at least one.
    fn fitting(&self, items: &[Item<'_>]) -> usize {
        let mut needs: BTreeMap<&str, u64> = BTreeMap::new();
        let mut total = 0;
        for (i, (device, _, payload)) in items.iter().enumerate() {
            let cost = codec::value_cost(device, payload.len());
            let need = needs.entry(device).or_default();
            *need += cost;
            total += cost;
            let full = *need > self.limits.device_bytes / 4 || total > self.limits.total_bytes / 4;
            if full && i > 0 {
                return i;
            }
        }
        items.len()
    }

    fn append_part(
        &mut self,
        items: &[Item<'_>],
        added: &mut Vec<Appended>,
    ) -> Result<(), StoreError> {
        self.make_room(items)?;
        let mut changes = Changes::default();
        let mut drafts: BTreeMap<&str, QueueStats> = BTreeMap::new();
        let mut total = self.bytes;
        let start = added.len();
        for (device, time, payload) in items {
            let draft = match drafts.entry(device) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let known = self.queues.get(*device);
                    let draft = entry.insert(
                        known.cloned().unwrap_or_else(|| QueueStats::beginning_after(self.base)),
                    );
                    if known.is_none() {
                        changes.put(codec::meta_key(device), draft.encode());
                    }
                    draft
                }
            };
            let sequence = draft.next;
            let cost = codec::value_cost(device, payload.len());
            let before = draft.bytes;
            let kept = draft.bytes + cost <= self.limits.device_bytes
                && total + cost <= self.limits.total_bytes;
            if kept {
                changes.put(Key(device, sequence).text(), codec::encode_value(*time, payload));
                draft.records += 1;
                draft.bytes += cost;
                draft.oldest = draft.oldest.or(Some(*time));
                draft.tail = None;
            } else {
                let gap = Gap { count: 1, from: *time, to: *time };
                let gap = if let Some(tail) = draft.tail.take() {
                    changes.delete(Key(device, sequence - 1).text());
                    tail.followed_by(gap)
                } else {
                    draft.bytes += codec::gap_cost(device);
                    gap
                };
                changes.put(Key(device, sequence).text(), gap.encode());
                draft.tail = Some(gap);
                draft.dropped += 1;
            }
            draft.next += 1;
            draft.appended += 1;
            total = total - before + draft.bytes;
            if !kept {
                changes.put(codec::meta_key(device), draft.encode());
            }
            added.push(Appended { sequence, kept });
        }
        if let Err(error) = self.apply(&changes) {
            added.truncate(start);
            return Err(error);
        }
        for (device, draft) in drafts {
            self.set(device, draft);
        }
        Ok(())
    }

    /// What waits in a queue from a sequence on: at most `limit` records, in order. A gap is shown
    /// if any of what it stands for is not below `from`.
    pub fn peek(
        &self,
        device: &str,
        from: u64,
        limit: usize,
    ) -> Result<Vec<SpoolRecord>, StoreError> {
        let Some(queue) = self.queues.get(device) else { return Ok(Vec::new()) };
        let from = from.max(queue.upto + 1);
        self.page(device, from, limit)
    }

    /// Lets go of everything in a queue up to a sequence: the receiver has it, and knows the gaps.
    pub fn acknowledge(&mut self, device: &str, upto: u64) -> Result<(), StoreError> {
        let Some(queue) = self.queues.get(device) else { return Ok(()) };
        let mut draft = queue.clone();
        let upto = upto.min(draft.next - 1);
        while draft.upto < upto {
            let page = self.page(device, draft.upto + 1, PAGE)?;
            let full = page.len() == PAGE;
            let mut changes = Changes::default();
            let mut reached = upto;
            for (i, record) in page.iter().enumerate() {
                if record.sequence > upto {
                    break;
                }
                changes.delete(Key(device, record.sequence).text());
                match &record.entry {
                    SpoolEntry::Value(payload) => {
                        draft.records -= 1;
                        draft.acknowledged += 1;
                        draft.bytes -= codec::value_cost(device, payload.len());
                    }
                    SpoolEntry::Gap { .. } => draft.bytes -= codec::gap_cost(device),
                }
                if full && i + 1 == page.len() {
                    reached = record.sequence;
                }
            }
            draft.upto = reached;
            if draft.upto + 1 == draft.next {
                draft.tail = None;
            }
            changes.put(codec::meta_key(device), draft.encode());
            self.apply(&changes)?;
            self.set(device, draft.clone());
        }
        self.refresh_oldest(device)
    }

    /// Drops values that are older than they are worth.
    pub fn expire(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let max_age = self.limits.max_age;
        let old = |time: Timestamp| time.plus(max_age) < now;
        let stale = self.queues.iter().filter(|(_, queue)| queue.oldest.is_some_and(old));
        let stale: Vec<_> = stale.map(|(device, _)| Arc::clone(device)).collect();
        for device in stale {
            self.sweep(&device, |_, time, _| {
                if old(time) { sweep::Verdict::Drop } else { sweep::Verdict::Stop }
            })?;
        }
        Ok(())
    }

    /// A device's queue; none before its first value.
    pub fn queue(&self, device: &str) -> Option<&QueueStats> {
        self.queues.get(device)
    }

    /// All queues, by the names of their devices.
    pub fn queues(&self) -> impl Iterator<Item = (&str, &QueueStats)> {
        self.queues.iter().map(|(device, queue)| (&**device, queue))
    }

    /// All queues together.
    pub fn totals(&self) -> SpoolTotals {
        let mut totals = SpoolTotals { queues: self.queues.len() as u64, ..SpoolTotals::default() };
        for queue in self.queues.values() {
            totals.add(queue);
        }
        totals
    }

    fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        let writes: Vec<Write<'_>> = changes.writes().collect();
        self.store.put_batch(SPOOL_TREE, &writes)
    }

    fn page(&self, device: &str, from: u64, limit: usize) -> Result<Vec<SpoolRecord>, StoreError> {
        let prefix = codec::prefix(device);
        let page = self.store.scan_from(SPOOL_TREE, &prefix, &Key(device, from).text(), limit)?;
        page.iter().map(|(key, value)| codec::decode(key, value)).collect()
    }

    fn set(&mut self, device: &str, queue: QueueStats) {
        let (name, old) = match self.queues.get_key_value(device) {
            Some((name, old)) => (Arc::clone(name), old.bytes),
            None => (Arc::from(device), 0),
        };
        if !self.safe.contains_key(&name) {
            let new = QueueStats::beginning_after(self.base);
            let reach = recover::Reach::of(self.queues.get(&name).unwrap_or(&new));
            self.safe.insert(Arc::clone(&name), reach);
        }
        self.sizes.remove(&(old, Arc::clone(&name)));
        self.sizes.insert((queue.bytes, Arc::clone(&name)));
        self.bytes = self.bytes - old + queue.bytes;
        self.queues.insert(name, queue);
    }

    /// Looks up the time of the first value; adjacent gaps are one, so it is among the first two.
    fn refresh_oldest(&mut self, device: &str) -> Result<(), StoreError> {
        let Some(queue) = self.queues.get(device) else { return Ok(()) };
        let page = self.page(device, queue.upto + 1, 2)?;
        let value = page.iter().find(|record| matches!(record.entry, SpoolEntry::Value(_)));
        let oldest = value.map(|record| record.time);
        if let Some(queue) = self.queues.get_mut(device) {
            queue.oldest = oldest;
        }
        Ok(())
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("totals", &self.totals()).finish_non_exhaustive()
    }
}

fn check(device: &str, payload: &[u8]) -> Result<(), StoreError> {
    if device.is_empty() || device.len() > NAME_LIMIT || device.contains('\0') {
        return Err(StoreError::DeviceName(device.chars().take(64).collect()));
    }
    if payload.len() > VALUE_LIMIT - codec::VALUE_AT {
        return Err(StoreError::TooLong {
            tree: SPOOL_TREE.name(),
            key: device.chars().take(64).collect(),
            bytes: payload.len(),
        });
    }
    Ok(())
}
