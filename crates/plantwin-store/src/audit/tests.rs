//! The trail as its users see it, and what they share.

use std::{collections::BTreeMap, fs, path::Path};

use plantwin_model::{AuditEntry, AuditKind, AuditResult, Timestamp};
use plantwin_seal::Secret;
use tempfile::TempDir;

use super::*;

mod files;
mod mutation;
mod recover;
mod safe;
mod writer;

fn key() -> Secret {
    Secret::new([5; 32])
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_millis(second.cast_signed() * 1_000)
}

fn entry(n: u64) -> AuditEntry {
    AuditEntry {
        kind: AuditKind::Command,
        actor: format!("user:operator{}", n % 7),
        object: format!("tank{}.valve", n % 13),
        result: if n.is_multiple_of(5) { AuditResult::Refused } else { AuditResult::Done },
        detail: format!("set to {n} %"),
    }
}

fn open(dir: &Path) -> (AuditTrail, Vec<String>) {
    AuditTrail::open(dir, &key(), at(0)).unwrap()
}

/// Appends entries `from..to` in a boot of their own, with checkpoints every 10.
fn boot(dir: &Path, from: u64, to: u64) -> AuditTrail {
    let (mut trail, findings) = open(dir);
    assert_eq!(findings, Vec::<String>::new());
    for n in from..to {
        trail.append(at(n), &entry(n)).unwrap();
        if n % 10 == 3 {
            trail.checkpoint(at(n));
        }
    }
    trail
}

/// A trail of three closed boots of 20 entries.
fn three_boots() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..3 {
        boot(dir.path(), n * 20, n * 20 + 20).close(at(1_000)).unwrap();
    }
    dir
}

fn judge(dir: &Path) -> Report {
    verify(dir, &VerifyOptions::default()).unwrap()
}

fn judge_with_key(dir: &Path) -> Report {
    verify(dir, &VerifyOptions { key: Some(key()), ..VerifyOptions::default() }).unwrap()
}

/// A trail as `kill -9` leaves it: 20 entries, of which the last six have no checkpoint.
fn killed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    boot(dir.path(), 0, 20).flush().unwrap();
    dir
}

#[track_caller]
fn check_verdict(dir: &Path, verdict: Verdict, words: &str) -> Report {
    let report = judge(dir);
    let told: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(report.verdict, verdict, "{told:#?}");
    assert!(told.iter().any(|t| t.contains(words)), "{words:?} in {told:#?}");
    report
}

fn entries(dir: &Path) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut reader = AuditReader::new(dir, &key(), 1);
    reader
        .read(&mut |s| {
            shown.push(s);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    shown
}

/// Where the records of a segment lie.
fn records(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut found) = (8, Vec::new());
    while let record::Parsed::Record(record) = record::parse(&bytes[at..]) {
        found.push(at..at + record.len);
        at += record.len;
    }
    assert_eq!(at, bytes.len());
    found
}

/// The files of a folder by name; the lock says nothing.
type Files = BTreeMap<String, Vec<u8>>;

fn read_all(dir: &Path) -> Files {
    let files = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    files
        .filter(|path| path.file_name().unwrap() != "lock")
        .map(|p| (p.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&p).unwrap()))
        .collect()
}

/// Makes the folder hold `now`, touching only what differs from `before`.
fn write_all(dir: &Path, before: &Files, now: &Files) {
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        fs::remove_file(dir.join(name)).unwrap();
    }
    for (name, bytes) in now {
        if before.get(name) != Some(bytes) {
            fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

fn segment(dir: &Path, number: u64) -> std::path::PathBuf {
    super::files::segment(dir, number)
}

#[test]
fn a_closed_trail_is_intact_and_shows_what_was_recorded() {
    let dir = three_boots();
    for report in [judge(dir.path()), judge_with_key(dir.path())] {
        assert_eq!(report.verdict, Verdict::Intact, "{:?}", report.findings);
        assert_eq!((report.records, report.boots, report.unsigned, report.torn), (60, 3, 0, 0));
        // Each boot: at its beginning, after every 10th entry, at its end.
        assert_eq!(report.checkpoints, 3 + 6 + 3);
        assert_eq!(report.last, 60 + report.checkpoints);
    }
    let shown = entries(dir.path());
    assert_eq!(shown.len(), 60);
    for (n, shown) in (0..).zip(shown) {
        let Shown::Entry { boot, time, entry: said, .. } = shown else { panic!("{shown:?}") };
        assert_eq!((said, time), (entry(n), at(n)));
        assert_eq!(boot, n / 20 + 1);
    }
}

#[test]
fn nothing_that_was_recorded_can_be_read_in_the_files() {
    let dir = three_boots();
    for number in 1..=3 {
        let bytes = fs::read(segment(dir.path(), number)).unwrap();
        for word in ["operator", "tank", "valve", "set to"] {
            assert!(!bytes.windows(word.len()).any(|w| w == word.as_bytes()), "{word}");
        }
    }
    let mut reader = AuditReader::new(dir.path(), &Secret::new([6; 32]), 1);
    let mut unread = 0;
    reader
        .read(&mut |shown| {
            assert!(matches!(shown, Shown::Unreadable { .. }), "{shown:?}");
            unread += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(unread, 60);
}

#[test]
fn a_checkpoint_is_signed_every_thousand_records_and_five_seconds_after_the_first_unsigned() {
    let dir = tempfile::tempdir().unwrap();
    let (mut trail, _) = open(dir.path());
    let notes = |trail: &AuditTrail| {
        trail.checkpoint_note().lines().nth(1).unwrap().parse::<u64>().unwrap()
    };
    for n in 0..2_500 {
        trail.append(at(0), &entry(n)).unwrap();
    }
    // Record 1 is the checkpoint of the boot.
    assert_eq!(notes(&trail), 2_002);
    trail.append(at(7), &entry(0)).unwrap();
    trail.tick(Timestamp::from_millis(4_999));
    assert_eq!(notes(&trail), 2_002);
    trail.tick(at(5));
    assert_eq!(notes(&trail), 2_504);
    trail.tick(at(500));
    assert_eq!(notes(&trail), 2_504, "nothing was appended since");
    trail.close(at(500)).unwrap();
    assert_eq!(judge(dir.path()).checkpoints, 1 + 2 + 1 + 1);
}

#[test]
fn a_trail_of_several_segments_is_one_chain_and_can_be_judged_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut trail, _) = open(dir.path());
    let mut long = entry(1);
    long.detail = "ü".repeat(5_000);
    for _ in 0..4_500 {
        trail.append(at(1), &long).unwrap();
    }
    trail.flush().unwrap();
    let report = judge_with_key(dir.path());
    assert_eq!(report.verdict, Verdict::Intact, "{:?}", report.findings);
    assert!((1..1_000).contains(&report.unsigned), "{}", report.unsigned);
    trail.close(at(2)).unwrap();
    let report = judge(dir.path());
    assert_eq!((report.verdict, report.records), (Verdict::Intact, 4_500), "{:?}", report.findings);
    assert!(segment(dir.path(), 3).exists() && !segment(dir.path(), 4).exists());
    let shown = entries(dir.path());
    let Some(Shown::Entry { entry, .. }) = shown.last() else { panic!("{:?}", shown.last()) };
    assert!(entry.detail.ends_with("ü…") && entry.detail.len() <= 4_096, "{}", entry.detail.len());
}

#[test]
fn a_reader_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut trail = boot(dir.path(), 0, 3);
    trail.flush().unwrap();
    let mut reader = AuditReader::new(dir.path(), &key(), 3);
    let mut seen: Vec<u64> = Vec::new();
    let mut read = |reader: &mut AuditReader| {
        let mut fresh = Vec::new();
        reader
            .read(&mut |shown| {
                if let Shown::Entry { sequence, .. } = shown {
                    fresh.push(sequence);
                }
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        seen.extend(&fresh);
        fresh
    };
    assert_eq!(read(&mut reader), [3, 4]);
    assert_eq!(read(&mut reader), [0_u64; 0]);
    trail.append(at(1), &entry(9)).unwrap();
    trail.close(at(1)).unwrap();
    boot(dir.path(), 0, 2).flush().unwrap();
    assert_eq!(read(&mut reader), [5, 8, 9]);
    assert_eq!(seen, [3, 4, 5, 8, 9]);
}

#[test]
fn a_folder_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (trail, _) = open(dir.path());
    assert!(matches!(
        AuditTrail::open(dir.path(), &key(), at(0)),
        Err(crate::StoreError::InUse { .. })
    ));
    drop(trail);
    open(dir.path());
}

#[test]
fn findings_outside_the_range_asked_for_are_left_out() {
    let dir = three_boots();
    let path = segment(dir.path(), 2);
    let mut bytes = fs::read(&path).unwrap();
    let place = records(&bytes)[5].end - 1;
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
    let within = |from, to| {
        let options = VerifyOptions { sequences: from..=to, ..VerifyOptions::default() };
        verify(dir.path(), &options).unwrap().verdict
    };
    let damaged = judge(dir.path()).findings[0].sequences.clone();
    assert_eq!(within(1, u64::MAX), Verdict::Altered);
    assert_eq!(within(*damaged.start(), *damaged.end()), Verdict::Altered);
    assert_eq!(within(1, damaged.start() - 1), Verdict::Intact);
    assert_eq!(within(damaged.end() + 1, u64::MAX), Verdict::Intact);
}
