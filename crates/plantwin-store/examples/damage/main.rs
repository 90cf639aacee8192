//! Damages a store in many ways and tells what opening makes of it; fails on any silent loss.
//!
//! `cargo run -p plantwin-store --example damage -- --images 1000 --seed 1`

mod images;

use std::{
    collections::BTreeMap,
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use images::{Random, Verdict};

const VERDICTS: [Verdict; 6] = [
    Verdict::Intact,
    Verdict::Told,
    Verdict::Refused,
    Verdict::Silent,
    Verdict::Wrong,
    Verdict::Broken,
];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut count, mut seed) = (1000, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().ok_or("a number is missing")?.parse()?;
        match word.as_str() {
            "--images" => count = number,
            "--seed" => seed = number,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let pristine = tempfile::tempdir()?;
    let truth = images::build(pristine.path(), seed)?;
    let mut random = Random(seed);
    let mut table: BTreeMap<(String, String), [u32; VERDICTS.len()]> = BTreeMap::new();
    let mut times = Vec::new();
    let mut bad = 0;
    for image in 0..count {
        let dir = tempfile::tempdir()?;
        let outcome = images::one(pristine.path(), dir.path(), &truth, &mut random, measure)?;
        let row = table.entry((format!("{:?}", outcome.damage), outcome.file.clone())).or_default();
        let column = VERDICTS.iter().position(|v| *v == outcome.verdict).unwrap_or_default();
        row[column] += 1;
        if outcome.verdict >= Verdict::Silent || outcome.open > Duration::from_secs(1) {
            bad += 1;
            let (damage, file, detail, open) =
                (outcome.damage, outcome.file, outcome.detail, outcome.open);
            println!(
                "image {image}: {:?} of {file} by {damage:?} in {open:?}: {detail}",
                outcome.verdict
            );
        }
        times.push(outcome.open);
    }
    println!(
        "{:<12} {:<18} {:>7} {:>6} {:>8} {:>7} {:>6} {:>7}",
        "damage", "file", "intact", "told", "refused", "silent", "wrong", "broken"
    );
    for ((damage, file), [intact, told, refused, silent, wrong, broken]) in &table {
        println!(
            "{damage:<12} {file:<18} {intact:>7} {told:>6} {refused:>8} {silent:>7} {wrong:>6} {broken:>7}"
        );
    }
    times.sort();
    let at = |part: f64| times.get(((times.len() as f64 - 1.0) * part) as usize).copied();
    if let (Some(p50), Some(p99), Some(max)) = (at(0.5), at(0.99), at(1.0)) {
        println!(
            "{count} images, seed {seed}: opening took {p50:.1?} at p50, {p99:.1?} at p99, {max:.1?} at most"
        );
    }
    println!("{bad} images with silent loss, wrong data, failure or an opening beyond 1 s");
    Ok(ExitCode::from(u8::from(bad > 0)))
}

#[expect(clippy::disallowed_methods, reason = "wall time is what is measured")]
fn measure(work: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
