//! The largest absolute eigenvalue of a square matrix.
//!
//! By Gelfand's formula, |lambda| = lim ||A^k||^(1/k), with k doubled by squaring (Horn, Johnson:
//! Matrix Analysis, corollary 5.6.14): slower than the QR method, but a dozen lines that cannot
//! fail to converge, and exact enough to judge a step. Absent: the eigenvalues themselves.

/// Squarings: with k = 2^24 the factor n^(1/k) that the norm may be off vanishes.
const SQUARINGS: u32 = 24;

/// The spectral radius of the `n` x `n` matrix `a` (rows one after another); infinite if `a` is
/// not finite.
pub(super) fn radius(n: usize, a: &[f64]) -> f64 {
    if !a.iter().all(|x| x.is_finite()) {
        return f64::INFINITY;
    }
    // Split into blocks that need one another: their eigenvalues are those of the whole.
    let mut largest: f64 = 0.0;
    for block in blocks(n, a) {
        let entries = block.iter().flat_map(|i| block.iter().map(move |j| a[i * n + j]));
        largest = largest.max(dense(block.len(), entries.collect()));
    }
    largest
}

fn dense(n: usize, mut a: Vec<f64>) -> f64 {
    if n == 1 {
        return a[0].abs();
    }
    // ln ||A^k|| / k, with A^k kept at norm 1.
    let (mut log, mut share) = (0.0, 1.0);
    let mut next = vec![0.0; n * n];
    for _ in 0..=SQUARINGS {
        let norm = a.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        log += share * norm.ln();
        share *= 0.5;
        for i in 0..n {
            for j in 0..n {
                let dot = (0..n).map(|k| a[i * n + k] * a[k * n + j]).sum::<f64>();
                next[i * n + j] = dot / norm / norm;
            }
        }
        std::mem::swap(&mut a, &mut next);
    }
    f64::exp(log)
}

/// Sets of indices that reach one another through entries that are not zero, by Warshall's
/// closure on bits.
fn blocks(n: usize, a: &[f64]) -> Vec<Vec<usize>> {
    let words = n.div_ceil(64);
    let mut reach = vec![0_u64; n * words];
    for i in 0..n {
        for j in 0..n {
            if i == j || a[i * n + j] != 0.0 {
                reach[i * words + j / 64] |= 1 << (j % 64);
            }
        }
    }
    let has = |reach: &[u64], i: usize, j: usize| reach[i * words + j / 64] >> (j % 64) & 1 == 1;
    for k in 0..n {
        let row: Vec<u64> = reach[k * words..(k + 1) * words].to_vec();
        for i in 0..n {
            if has(&reach, i, k) {
                for (to, from) in reach[i * words..(i + 1) * words].iter_mut().zip(&row) {
                    *to |= from;
                }
            }
        }
    }
    let mut taken = vec![false; n];
    let mut out = Vec::new();
    for i in 0..n {
        if taken[i] {
            continue;
        }
        let block: Vec<_> = (i..n).filter(|&j| has(&reach, i, j) && has(&reach, j, i)).collect();
        for &j in &block {
            taken[j] = true;
        }
        out.push(block);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(n: usize, a: &[f64], expected: f64) {
        let found = radius(n, a);
        assert!((found - expected).abs() <= 1e-6 * expected.max(1e-300), "{found} != {expected}");
    }

    #[test]
    fn the_radius_is_the_largest_absolute_eigenvalue() {
        check(1, &[-3.0], 3.0);
        check(2, &[0.0, 1.0, -4.0, 0.0], 2.0);
        check(2, &[-2.0, 1e9, 0.0, 1.0], 2.0);
        check(2, &[1.0, 2.0, 2.0, 1.0], 3.0);
        check(3, &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 8.0, 0.0, 0.0], 2.0);
        check(2, &[0.0, 1.0, 0.0, 0.0], 0.0);
        check(2, &[-1e6, 1e3, 1.0, -1e-3], 1_000_000.001);
    }

    #[test]
    fn a_matrix_that_is_not_finite_has_an_infinite_radius() {
        assert_eq!(radius(1, &[f64::NAN]), f64::INFINITY);
    }
}
