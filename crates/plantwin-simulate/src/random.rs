//! Chance: numbers that the seed decides.
//!
//! SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
//! Every purpose draws from a stream of its own, so that a fault more does not change the weather.
//! Absent: the operating system's randomness. Not for secrets.

use std::time::Duration;

/// FNV-1a, 64 bit (RFC 9923), continued from `hash`.
pub(crate) fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where an FNV-1a hash begins.
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of `seed` for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut stream = Self(seed ^ fnv(FNV_START, purpose.as_bytes()));
        // The first number spreads seeds that lie side by side.
        Self(stream.draw())
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from `low` to `high`, both inclusive; `low` if they are the wrong way round.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        low + self.draw() % span.max(1)
    }

    /// Whether something happens that happens in `share` of all cases, 0 to 1.
    pub fn happens(&mut self, share: f64) -> bool {
        ((self.draw() >> 11) as f64 / (1_u64 << 53) as f64) < share
    }

    /// A time of `low` to `high` milliseconds, both inclusive.
    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// One of several, at least one.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() as u64 - 1) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn the_same_seed_and_purpose_draw_the_same_and_others_do_not() {
        let first = |seed, purpose| Chance::new(seed, purpose).between(0, u64::MAX - 1);
        assert_eq!(first(1, "net"), first(1, "net"));
        assert_ne!(first(1, "net"), first(2, "net"));
        assert_ne!(first(1, "net"), first(1, "faults"));
    }

    #[test]
    fn draws_stay_within_their_bounds_and_reach_them() {
        let mut chance = Chance::new(7, "bounds");
        let draws: Vec<u64> = (0..1_000).map(|_| chance.between(3, 5)).collect();
        assert_eq!(draws.iter().min(), Some(&3));
        assert_eq!(draws.iter().max(), Some(&5));
        let often = (0..10_000).filter(|_| chance.happens(0.25)).count();
        // Five standard deviations of the binomial distribution: 217.
        assert!((2_283..=2_717).contains(&often), "{often}");
        assert!(!chance.happens(0.0));
    }
}
