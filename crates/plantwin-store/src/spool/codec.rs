//! Keys and values of the spool's tree.
//!
//! Keys: `DEVICE NUL !` for what a queue knows of itself, `DEVICE NUL sequence` (16 hexadecimal
//! digits) for its records, `NUL base` for the spool. A gap stands under the last sequence it
//! stands for. Values: `0 | time i64 | payload`, or `1 | count u64 | from i64 | to i64`,
//! little-endian. Absent: checks against damage, which the store does.

use std::collections::BTreeMap;

use plantwin_model::Timestamp;

use super::SPOOL_TREE;
use crate::{StoreError, Write};

/// Where the payload begins.
pub(super) const VALUE_AT: usize = 9;
const GAP_BYTES: usize = 25;
const DIGITS: usize = 16;
/// The key of [`super::Spool::base`].
pub(super) const BASE_KEY: &str = "\0base";

/// What waits, or what will never come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpoolEntry {
    /// A payload.
    Value(Vec<u8>),
    /// The last `count` sequences up to the record's own were dropped, or lost by the store.
    Gap {
        /// How many.
        count: u64,
        /// Time of the first of them, as far as it is known.
        from: Timestamp,
        /// Time of the last of them, as far as it is known.
        to: Timestamp,
    },
}

/// A record of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpoolRecord {
    /// Its sequence; of a gap the last one that it stands for.
    pub sequence: u64,
    /// Its time; of a gap the last one.
    pub time: Timestamp,
    /// What it holds.
    pub entry: SpoolEntry,
}

/// A stretch that was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub(super) count: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Gap {
    /// Both as one.
    pub(super) fn followed_by(self, next: Self) -> Self {
        Self { count: self.count + next.count, from: self.from, to: next.to }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![1];
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.from.0.to_le_bytes());
        bytes.extend(self.to.0.to_le_bytes());
        bytes
    }
}

/// Device and sequence.
#[derive(Clone, Copy)]
pub(super) struct Key<'d>(pub(super) &'d str, pub(super) u64);

impl Key<'_> {
    pub(super) fn text(self) -> String {
        format!("{}\0{:016x}", self.0, self.1)
    }
}

/// What the keys of a device's records begin with, and only they.
pub(super) fn prefix(device: &str) -> String {
    format!("{device}\0")
}

pub(super) fn meta_key(device: &str) -> String {
    // Sorts before all digits.
    format!("{device}\0!")
}

/// Device and sequence of a key; the sequence of a queue's own record is `None`.
pub(super) fn split_key(key: &str) -> Option<(&str, Option<u64>)> {
    let (device, rest) = key.split_once('\0')?;
    if rest == "!" {
        return Some((device, None));
    }
    let sequence = u64::from_str_radix(rest, 16).ok()?;
    (rest.len() == DIGITS).then_some((device, Some(sequence)))
}

pub(super) fn encode_value(time: Timestamp, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VALUE_AT + payload.len());
    bytes.push(0);
    bytes.extend(time.0.to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// What a value takes, with its key.
pub(super) fn value_cost(device: &str, payload: usize) -> u64 {
    (device.len() + 1 + DIGITS + VALUE_AT + payload) as u64
}

/// What a gap takes, with its key.
pub(super) fn gap_cost(device: &str) -> u64 {
    (device.len() + 1 + DIGITS + GAP_BYTES) as u64
}

pub(super) fn decode(key: &str, value: &[u8]) -> Result<SpoolRecord, StoreError> {
    read(key, value).ok_or_else(|| StoreError::Damaged {
        tree: SPOOL_TREE.name().to_owned(),
        key: key.to_owned(),
        reason: "it is no record of a queue",
    })
}

fn read(key: &str, value: &[u8]) -> Option<SpoolRecord> {
    let (_, sequence) = split_key(key)?;
    let sequence = sequence?;
    let (kind, rest) = value.split_first()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (time, entry) = match kind {
        0 => (Timestamp(i64::from_le_bytes(*first)), SpoolEntry::Value(rest.to_vec())),
        1 => {
            let (from, to) = rest.split_first_chunk()?;
            let from = Timestamp(i64::from_le_bytes(*from));
            let to = Timestamp(i64::from_le_bytes(to.try_into().ok()?));
            (to, SpoolEntry::Gap { count: u64::from_le_bytes(*first), from, to })
        }
        _ => return None,
    };
    Some(SpoolRecord { sequence, time, entry })
}

/// Changes to be made at once; a later one of the same key wins.
#[derive(Default)]
pub(super) struct Changes(BTreeMap<String, Option<Vec<u8>>>);

impl Changes {
    pub(super) fn put(&mut self, key: String, value: Vec<u8>) {
        self.0.insert(key, Some(value));
    }

    pub(super) fn delete(&mut self, key: String) {
        self.0.insert(key, None);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.0.iter().map(|(key, value)| match value {
            Some(value) => Write::Put(key, value),
            None => Write::Delete(key),
        })
    }
}
