//! What a tree says of itself: how often it was written, how many records it holds, and which.
//!
//! Each batch writes the head into the same tree, atomically, and each flush copies it into the
//! marks. So contents are checked against the head, and the head against the marks. The digest is
//! the sum of keyed hashes of (place, sequence) of all live records: a batch changes it in a few
//! steps, and no two different sets of records share one but by a chance of 2^-128 or the key.
//! Absent: values, which each record's own MAC covers.

use plantwin_seal::mac;

use crate::key::Keys;

/// Where the head stands; every other place is longer.
pub(crate) const HEAD_KEY: &[u8] = &[0xff];

const BYTES: usize = 40;

/// A tree's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Head {
    /// Batches so far.
    pub(crate) sequence: u64,
    /// Changes so far, over all batches.
    pub(crate) writes: u64,
    /// Live records.
    pub(crate) count: u64,
    /// Sum over them.
    pub(crate) digest: u128,
}

impl Head {
    /// Takes a live record in.
    pub(crate) fn add(&mut self, keys: &Keys, tree: &str, place: &[u8], sequence: u64) {
        self.count += 1;
        self.digest = self.digest.wrapping_add(hash(keys, tree, place, sequence));
    }

    /// Takes a record out that was live.
    pub(crate) fn remove(&mut self, keys: &Keys, tree: &str, place: &[u8], sequence: u64) {
        self.count = self.count.saturating_sub(1);
        self.digest = self.digest.wrapping_sub(hash(keys, tree, place, sequence));
    }

    /// Whether both speak of the same records.
    pub(crate) fn same_records(&self, other: &Self) -> bool {
        (self.count, self.digest) == (other.count, other.digest)
    }

    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.writes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..].copy_from_slice(&self.digest.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (sequence, rest) = bytes.split_first_chunk()?;
        let (writes, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        Some(Self {
            sequence: u64::from_le_bytes(*sequence),
            writes: u64::from_le_bytes(*writes),
            count: u64::from_le_bytes(*count),
            digest: u128::from_le_bytes(rest.try_into().ok()?),
        })
    }
}

fn hash(keys: &Keys, tree: &str, place: &[u8], sequence: u64) -> u128 {
    let full = mac(&keys.digest, &[tree.as_bytes(), place, &sequence.to_le_bytes()]);
    u128::from_le_bytes(crate::key::short(&full))
}
