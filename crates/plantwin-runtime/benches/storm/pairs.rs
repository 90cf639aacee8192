//! Which block comes when, and what a comparison of neighbouring blocks is worth.
//!
//! The machine changes over minutes by more than what is looked for, but hardly between two
//! blocks that follow each other: so each block with panics is compared with its neighbour only,
//! and the spread of those comparisons tells how sure the result is. Absent: blocks without a
//! neighbour, and any model of the noise (the interval is a bootstrap of the median).

use std::fmt;

/// What happens in a block, and with which block it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    /// Whether twins panic in it.
    pub(crate) storm: bool,
    /// Whether it stands over the line of its pair's ratio; always so for a storm.
    pub(crate) over: bool,
    /// Its pair; the two blocks of a pair are neighbours.
    pub(crate) pair: usize,
}

/// A small generator of chance (SplitMix64, Steele, Lea and Flood, OOPSLA 2014): seeded, so that
/// every run has the same order of blocks.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is far below 2^64: the bias is of no account here.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// `storms` pairs of a block with and one without panics, and as many pairs without any, in an
/// order of chance: of the pairs among each other, and of the blocks within each.
pub(crate) fn blocks(storms: usize, chance: &mut Chance) -> Vec<Block> {
    let mut all = Vec::with_capacity(storms * 4);
    for _ in 0..storms {
        let mut kinds = [true, false];
        chance.shuffle(&mut kinds);
        for with_panics in kinds {
            let pair = all.len() / 2;
            let mut two = [
                Block { storm: with_panics, over: true, pair },
                Block { storm: false, over: false, pair },
            ];
            chance.shuffle(&mut two);
            all.extend(two);
        }
    }
    all
}

/// Median of the pairs' changes, with what it may be off by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// Median over the pairs; 0.1 is ten percent more.
    pub(crate) median: f64,
    /// Lower end of its 95 % interval.
    pub(crate) low: f64,
    /// Upper end of its 95 % interval.
    pub(crate) high: f64,
    /// Pairs in which it went up, of those in which it changed at all.
    pub(crate) up: (usize, usize),
}

/// How often the pairs are drawn anew.
const RESAMPLES: usize = 10_000;

impl Change {
    /// From pairs of (over, under), both above zero.
    pub(crate) fn of(pairs: &[(f64, f64)], chance: &mut Chance) -> Self {
        let logs: Vec<f64> = pairs.iter().map(|(over, under)| (over / under).ln()).collect();
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let mut drawn: Vec<f64> =
                    (0..logs.len()).map(|_| logs[chance.below(logs.len())]).collect();
                quantile(&mut drawn, 0.5)
            })
            .collect();
        let up = logs.iter().filter(|l| **l > 0.0).count();
        let changed = logs.iter().filter(|l| **l != 0.0).count();
        Self {
            median: quantile(&mut logs.clone(), 0.5).exp_m1(),
            low: quantile(&mut medians, 0.025).exp_m1(),
            high: quantile(&mut medians, 0.975).exp_m1(),
            up: (up, changed),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, low, high, up } = self;
        let [median, low, high] = [median, low, high].map(|share| share * 100.0);
        write!(f, "{median:+.1} % (95 %: {low:+.1} to {high:+.1}; up in {} of {})", up.0, up.1)
    }
}

/// A quantile, between neighbours by their weighted mean; NaN of nothing. Sorts.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = last as f64 * share.clamp(0.0, 1.0);
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(last);
    values[below].mul_add(1.0 - part, values[above] * part)
}
