//! A quick hash for tables whose keys the plant file chooses: FNV-1a, 64 bits
//! (draft-eastlake-fnv). Never for keys that somebody outside chooses and inserts.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A table with the quick hash.
pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Fnv>>;

/// The state of the hash.
#[derive(Debug)]
pub(super) struct Fnv(u64);

const PRIME: u64 = 0x0100_0000_01b3;

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    fn write_u32(&mut self, number: u32) {
        // In one step, with the high bits brought down: the table looks at both ends.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(PRIME);
        self.0 ^= self.0 >> 29;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
