//! A thousand damaged images: no silent loss, no wrong data, no panic.
//!
//! As many as `PLANTWIN_IMAGES` says; else 1,000 in CI and 200 elsewhere, since each takes 0.1 s.

use std::{
    env,
    time::{Duration, Instant},
};

#[path = "../examples/damage/images.rs"]
mod images;

use images::{Random, Verdict};

/// Several at once, since most of the time is spent waiting for the disk.
const THREADS: u64 = 4;

#[test]
fn a_thousand_damaged_images_open_and_every_loss_is_told() {
    let asked = env::var("PLANTWIN_IMAGES").ok().and_then(|n| n.parse().ok());
    let usual = if env::var_os("CI").is_some() { 1000 } else { 200 };
    let count: u64 = asked.unwrap_or(usual);
    let pristine = tempfile::tempdir().unwrap();
    let truth = images::build(pristine.path(), 1).unwrap();
    let mut told = 0;
    std::thread::scope(|scope| {
        let run = |seed| {
            let mut random = Random(seed);
            let mut told = 0;
            for image in 0..count.div_ceil(THREADS) {
                let dir = tempfile::tempdir().unwrap();
                let one = images::one(pristine.path(), dir.path(), &truth, &mut random, measure);
                let one = one.unwrap();
                let what = format!("seed {seed}, image {image}: {:?} of {}", one.damage, one.file);
                assert!(one.verdict < Verdict::Silent, "{what}: {:?}: {}", one.verdict, one.detail);
                // A second on a quiet machine, which the example checks; tests share theirs.
                assert!(one.open < Duration::from_secs(10), "{what}: {:?}", one.open);
                told += u64::from(one.verdict != Verdict::Intact);
            }
            told
        };
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(move || run(seed))).collect();
        told = threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>();
    });
    assert!(told >= count / 2, "only {told} of {count} were told: the damage was too gentle");
}

#[expect(clippy::disallowed_methods, reason = "wall time is what is measured")]
fn measure(work: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
