//! Sets of rules as bits.

/// Words of 64 bits, all sets of one policy equally long.
pub(super) type Bits = Box<[u64]>;

/// The set of all numbers below `count` that fulfil `test`, in `words` words.
pub(super) fn set(count: usize, words: usize, test: impl Fn(usize) -> bool) -> Bits {
    let mut out = vec![0; words].into_boxed_slice();
    for i in (0..count).filter(|i| test(*i)) {
        out[i / 64] |= 1 << (i % 64);
    }
    out
}

/// The numbers that are in all three sets, in order.
pub(super) fn common<'a>(
    a: &'a [u64],
    b: &'a [u64],
    c: &'a [u64],
) -> impl Iterator<Item = usize> + 'a {
    a.iter().zip(b).zip(c).enumerate().flat_map(|(word, ((a, b), c))| Ones(a & b & c, word * 64))
}

/// The ones of a word, lowest first.
struct Ones(u64, usize);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(self.1 + bit)
    }
}
