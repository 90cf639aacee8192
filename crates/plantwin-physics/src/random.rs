//! Random numbers that depend on their place alone.
//!
//! A counter-based generator: number `n` of a stream is a hash of stream and `n`, so nothing
//! needs to be drawn in order. The mixing function is that of SplitMix64 (Steele, Lea, Flood:
//! Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). Not for secrets.

/// The finishing function of SplitMix64: a bijection in which each bit depends on all.
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of its own for each seed and name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    pub(crate) fn new(seed: u64, name: &str, place: u64) -> Self {
        // FNV-1a, 64 bit (RFC 9923): spreads names before they are mixed.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(mix(mix(seed) ^ mix(hash).wrapping_add(mix(place))))
    }

    /// Uniform in (0, 1], with 53 bits.
    fn uniform(self, counter: u64, lane: u64) -> f64 {
        let bits = mix(mix(self.0 ^ mix(counter)) ^ lane) >> 11;
        (bits as f64 + 1.0) / 9_007_199_254_740_992.0
    }

    /// A draw from the normal distribution with mean 0 and deviation 1, by Box and Muller (1958).
    pub(crate) fn normal(self, counter: u64, lane: u64) -> f64 {
        let (u, v) = (self.uniform(counter, 2 * lane), self.uniform(counter, 2 * lane + 1));
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_and_deviation_of_the_normal_distribution() {
        let stream = Stream::new(7, "tank1", 0);
        let n = 100_000_u64;
        let draws: Vec<_> = (0..n).map(|i| stream.normal(i, 0)).collect();
        let mean = draws.iter().sum::<f64>() / n as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n as f64;
        // Four standard errors: 4/sqrt(n) and 4*sqrt(2/n).
        assert!(mean.abs() < 0.0127, "{mean}");
        assert!((variance - 1.0).abs() < 0.018, "{variance}");
        let within = draws.iter().filter(|d| d.abs() < 1.0).count() as f64 / n as f64;
        assert!((within - 0.6827).abs() < 0.006, "{within}");
    }

    #[test]
    fn streams_of_different_names_places_and_seeds_differ() {
        let first = |seed, name, place| Stream::new(seed, name, place).normal(0, 0).to_bits();
        let all = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1)];
        for (i, a) in all.iter().enumerate() {
            assert!(all.iter().skip(i + 1).all(|b| a != b), "{all:?}");
        }
        let lanes = Stream::new(1, "a", 0);
        assert_ne!(lanes.normal(0, 0).to_bits(), lanes.normal(0, 1).to_bits());
    }
}
