//! 10,000 seeded mutations of a closed trail: every one is found.
//!
//! Half of them by somebody who knows the format: whole records, with sums and hashes made anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::*;

const MUTATIONS: u64 = 10_000;

/// SplitMix64 (Steele, Lea and Flood 2014): small, seeded, good enough to choose places.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn any_segment(random: &mut Random, files: &Files) -> String {
    let names: Vec<&String> = files.keys().filter(|n| n.starts_with("0000")).collect();
    names[random.below(names.len())].clone()
}

/// Makes all sums and hashes of a segment right again, from a record on.
fn mend(bytes: &mut [u8], from: usize) {
    let mut at = from;
    let mut previous = None;
    while at < bytes.len() {
        let payload = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        let end = at + record::HEADER + payload;
        if let Some(hash) = previous {
            let hash: plantwin_seal::ChainHash = hash;
            bytes[at + 12..at + 44].copy_from_slice(hash.as_bytes());
        }
        let crc = crc32fast::hash(&bytes[at + 8..end]);
        bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
        let record::Parsed::Record(record) = record::parse(&bytes[at..end]) else { return };
        previous = Some(record.hash);
        at = end;
    }
}

/// Changes the files in one way; says which.
fn mutate(random: &mut Random, files: &mut Files) -> String {
    let name = any_segment(random, files);
    let bytes = files[&name].clone();
    let places = records(&bytes);
    let pick = |random: &mut Random| places[random.below(places.len())].clone();
    let cut = |hole: Range<usize>| [&bytes[..hole.start], &bytes[hole.end..]].concat();
    let put = |at: usize, more: &[u8]| [&bytes[..at], more, &bytes[at..]].concat();
    let (what, changed) = match random.below(16) {
        0..=2 => {
            let mut changed = bytes.clone();
            changed[random.below(bytes.len())] ^= 1 << random.below(8);
            ("a flipped bit", changed)
        }
        3 => {
            let mut changed = bytes.clone();
            let at = random.below(bytes.len());
            let to = (at + 1 + random.below(300)).min(bytes.len());
            changed[at..to].fill_with(|| random.next() as u8);
            ("a run of random bytes", changed)
        }
        4 => {
            let mut changed = bytes.clone();
            let at = random.below(bytes.len());
            let to = (at + 1 + random.below(4_096)).min(bytes.len());
            changed[at..to].fill(0);
            ("a zeroed page", changed)
        }
        5 => ("a record deleted", cut(pick(random))),
        6 => {
            let at = random.below(bytes.len());
            ("a stretch deleted", cut(at..(at + 1 + random.below(900)).min(bytes.len())))
        }
        7 => {
            let (a, b) = (random.below(places.len()), random.below(places.len() - 1));
            let b = if b >= a { b + 1 } else { b };
            let (a, b) = (places[a.min(b)].clone(), places[a.max(b)].clone());
            let parts = [
                &bytes[..a.start],
                &bytes[b.clone()],
                &bytes[a.end..b.start],
                &bytes[a],
                &bytes[b.end..],
            ];
            ("two records swapped", parts.concat())
        }
        8 => {
            let (record, at) = (pick(random), pick(random).start);
            ("a record put in a second time", put(at, &bytes[record]))
        }
        9 => ("the end cut off", bytes[..random.below(bytes.len())].to_vec()),
        10 => {
            let more: Vec<u8> = (0..=random.below(200)).map(|_| random.next() as u8).collect();
            ("bytes appended", [&bytes[..], &more].concat())
        }
        11 => {
            let place = pick(random);
            let mut changed = bytes.clone();
            let at = place.start + 44 + random.below(place.len() - 44);
            changed[at] ^= 1 << random.below(8);
            mend(&mut changed, place.start);
            ("a record altered, sums and hashes made anew", changed)
        }
        12 => {
            let place = pick(random);
            let mut changed = cut(place.clone());
            // Sequences are closed up as well; the key is what is missing.
            if place.start > 8 {
                let before = places.iter().find(|p| p.end == place.start).unwrap();
                let mut at = place.start;
                while at < changed.len() {
                    let sequence = &mut changed[at + 45..at + 53];
                    let lower = u64::from_le_bytes((&*sequence).try_into().unwrap()) - 1;
                    sequence.copy_from_slice(&lower.to_le_bytes());
                    let payload =
                        u32::from_le_bytes(changed[at + 8..at + 12].try_into().unwrap()) as usize;
                    at += record::HEADER + payload;
                }
                mend(&mut changed, before.start);
            }
            ("a record deleted, the rest closed up", changed)
        }
        13 => {
            let other = any_segment(random, files);
            let theirs = files[&other].clone();
            let at = records(&theirs);
            let from = at[random.below(at.len())].start;
            let spliced = [&bytes[..pick(random).end], &theirs[from..]].concat();
            if spliced == bytes {
                ("a segment removed", Vec::new())
            } else {
                ("two segments spliced", spliced)
            }
        }
        14 => match random.below(3) {
            0 => ("a segment removed", Vec::new()),
            1 => {
                let other = any_segment(random, files);
                let theirs = files.insert(name.clone(), files[&other].clone());
                if other == name {
                    files.remove(&name);
                } else {
                    files.insert(other, theirs.unwrap());
                }
                return format!("{name}: segments swapped or removed");
            }
            _ => {
                files.insert("00000009.seg".to_owned(), bytes);
                return format!("{name}: copied as a later segment");
            }
        },
        _ => {
            let small = ["checkpoint", "identity.pub", "safe"][random.below(3)];
            let mut content = files[small].clone();
            match random.below(3) {
                // A closed trail does without `safe`.
                0 if small != "safe" => {
                    files.remove(small);
                    return format!("{small} removed");
                }
                0 | 1 => content.truncate(random.below(content.len())),
                _ => {
                    let at = random.below(content.len());
                    content[at] ^= 1 << random.below(7);
                }
            }
            files.insert(small.to_owned(), content);
            return format!("{small} altered");
        }
    };
    if changed.is_empty() && what == "a segment removed" {
        files.remove(&name);
    } else {
        files.insert(name.clone(), changed);
    }
    format!("{name}: {what}")
}

/// How often a way of mutating got a verdict.
type Verdicts = BTreeMap<(String, Verdict), u64>;

/// Mutates with every seed of `seeds` that changes anything, `wanted` times.
fn hunt(good: &Files, seeds: impl Iterator<Item = u64>, wanted: u64) -> Verdicts {
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), &Files::new(), good);
    assert_eq!(judge(dir.path()).verdict, Verdict::Intact);
    let mut before = good.clone();
    let (mut verdicts, mut done) = (Verdicts::new(), 0);
    for seed in seeds {
        let mut files = good.clone();
        let what = mutate(&mut Random(seed), &mut files);
        if files == *good {
            continue;
        }
        write_all(dir.path(), &before, &files);
        let report = judge(dir.path());
        assert_ne!(report.verdict, Verdict::Intact, "seed {seed}: {what}");
        assert!(!report.findings.is_empty(), "seed {seed}: {what}");
        let kind = what.split_once(": ").map_or(what.as_str(), |(_, kind)| kind).to_owned();
        *verdicts.entry((kind, report.verdict)).or_default() += 1;
        before = files;
        done += 1;
        if done == wanted {
            break;
        }
    }
    write_all(dir.path(), &before, good);
    assert_eq!(judge(dir.path()).verdict, Verdict::Intact);
    verdicts
}

#[test]
fn each_of_ten_thousand_mutations_is_found() {
    const THREADS: u64 = 2;
    let dir = three_boots();
    let good = &read_all(dir.path());
    let mut verdicts = Verdicts::new();
    std::thread::scope(|scope| {
        let hunts: Vec<_> = (0..THREADS)
            .map(|t| scope.spawn(move || hunt(good, (t..).step_by(2), MUTATIONS / THREADS)))
            .collect();
        for found in hunts {
            for (kind, count) in found.join().unwrap() {
                *verdicts.entry(kind).or_default() += count;
            }
        }
    });
    assert_eq!(verdicts.values().sum::<u64>(), MUTATIONS);
    // Every way of it was tried, and every verdict was given.
    let kinds: BTreeSet<&String> = verdicts.keys().map(|(kind, _)| kind).collect();
    assert!(kinds.len() >= 16, "{verdicts:#?}");
    for verdict in [Verdict::Gap, Verdict::Altered, Verdict::Truncated] {
        assert!(verdicts.keys().any(|(_, v)| *v == verdict), "no {verdict}");
    }
    println!("{MUTATIONS} mutations, all found: {verdicts:#?}");
}

#[test]
fn opening_a_mutated_trail_never_panics_and_never_makes_it_look_intact() {
    let source = three_boots();
    let good = read_all(source.path());
    for seed in 1..=300 {
        let mut files = good.clone();
        let what = mutate(&mut Random(seed), &mut files);
        let small = ["checkpoint", "identity", "safe"].iter().any(|name| what.starts_with(name));
        if files == good || small {
            // Those are put right, and told, at opening.
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), &Files::new(), &files);
        let (mut trail, _) = open(dir.path());
        trail.append(at(5), &entry(5)).unwrap();
        trail.close(at(5)).unwrap();
        assert_ne!(judge(dir.path()).verdict, Verdict::Intact, "seed {seed}: {what}");
    }
}
