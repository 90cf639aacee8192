//! What a frame says, in short: to know one that comes again, and to tell one count of a device
//! from another. The same on both sides of the wire. Absent: protection against forgery, which is
//! the session's.

use std::hash::{Hash, Hasher};

use plantwin_model::Timestamp;

use crate::Sample;

/// A print of these samples; never 0. It is the same over each path: protocols differ in the order
/// of values, in the fraction of a millisecond, and in how many digits they carry. Two that differ
/// may have the same one, once in four thousand million.
pub fn print(samples: &[Sample]) -> u32 {
    let mut sum = 0_u64;
    for sample in samples {
        let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
        sample.point.hash(&mut fnv);
        fnv.write_u32((sample.value as f32).to_bits());
        sample.quality.hash(&mut fnv);
        sample.source_time.map(Timestamp::as_millis).hash(&mut fnv);
        sum = sum.wrapping_add(fnv.finish());
    }
    ((sum >> 32) as u32 ^ sum as u32).max(1)
}

/// FNV-1a of 64 bits: what is on record must be the same in each version of the compiler. Nobody
/// gains by a collision but a device that wants to lose its own values.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
