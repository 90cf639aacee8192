//! The log: what damage, full disks and pruning do to it.

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use plantwin_model::Timestamp;
use plantwin_seal::Secret;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    Log, check,
    record::{self, Body},
    segment::{self, Scanned},
};
use crate::{
    Finding, LogKind, OpenReport,
    disk::{Disk, DiskFile, OsDisk, faulty::FaultyDisk},
    key::Keys,
    marks::Marks,
};

fn keys() -> Keys {
    Keys::derive(&Secret::new([9; 32]))
}

fn os() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

/// Opens the log of `dir`; flushes what opening had to add.
fn open(dir: &Path, marks: Option<&Marks>) -> (Log, OpenReport) {
    let mut report = OpenReport::default();
    let mut log = check(dir, &os(), &keys(), marks, &mut report).unwrap();
    log.flush().unwrap();
    (log, report)
}

fn marks_of(log: &Log) -> Marks {
    let (log_first, log_last, log_mac) = log.marks();
    Marks { log_first, log_last, log_mac, ..Marks::default() }
}

fn payload(sequence: u64) -> Vec<u8> {
    vec![sequence as u8; (sequence * 7 % 90) as usize]
}

fn append(log: &mut Log, count: u64) {
    for _ in 0..count {
        let expected = log.marks().1;
        let sequence = log.append(1, LogKind::Audit, Timestamp(3), b"").unwrap();
        assert!(sequence > expected);
    }
}

/// A log of some records whose payloads follow from their sequences, flushed.
fn filled(dir: &Path, count: u64) -> Marks {
    let (mut log, _) = open(dir, Some(&Marks::default()));
    for sequence in 1..=count {
        let given = log.append(1, LogKind::Command, Timestamp(3), &payload(sequence)).unwrap();
        assert_eq!(given, sequence);
    }
    log.flush().unwrap();
    marks_of(&log)
}

fn sequences(log: &Log) -> Vec<u64> {
    let mut found = Vec::new();
    log.view(0)
        .read(0, &mut |record| {
            if record.kind == LogKind::Command {
                assert_eq!(record.payload, payload(record.sequence));
            }
            found.push(record.sequence);
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

fn first_segment(dir: &Path) -> PathBuf {
    segment::path(&dir.join("log"), 1)
}

#[test]
fn one_damaged_record_costs_itself_alone_and_is_told_once() {
    let dir = TempDir::new().unwrap();
    let marks = filled(dir.path(), 30);
    let path = first_segment(dir.path());
    let good = fs::read(&path).unwrap();
    let mut at = segment::HEADER_BYTES;
    let mut spans = Vec::new();
    while at < good.len() {
        let len = record::parse(&keys().log, &good[at..]).unwrap().len;
        spans.push(at..at + len);
        at += len;
    }
    for (i, span) in spans.iter().enumerate() {
        let lost = i as u64 + 1;
        let mut bad = good.clone();
        bad[span.start + i % span.len()] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        let (log, report) = open(dir.path(), Some(&marks));
        assert!(report.findings.contains(&Finding::LogGap { from: lost, to: lost }), "{report:?}");
        assert_eq!((report.missing(), report.log_records), (1, 29));
        assert_eq!(sequences(&log), (1..=30).filter(|s| *s != lost).collect::<Vec<_>>());
        let aside = report.set_aside[0].join("00000001.seg");
        assert!(fs::read(aside).unwrap() == bad, "the damaged file is kept as it was");
        let (mut log, report) = open(dir.path(), Some(&marks_of(&log)));
        assert!(report.is_clean(), "told once: {report:?}");
        append(&mut log, 1);
        assert_eq!(*sequences(&log).last().unwrap(), 31, "sequences go on");
        fs::remove_dir_all(dir.path().join("log")).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
    }
}

#[test]
fn a_cut_end_that_nobody_was_promised_is_no_loss() {
    let dir = TempDir::new().unwrap();
    let marks = filled(dir.path(), 5);
    let path = first_segment(dir.path());
    let safe = fs::read(&path).unwrap().len();
    let (mut log, _) = open(dir.path(), Some(&marks));
    append(&mut log, 1);
    log.flush().unwrap();
    let whole = fs::read(&path).unwrap();
    for len in safe + 1..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (log, report) = open(dir.path(), Some(&marks));
        assert_eq!(report.findings, [Finding::LogTorn { bytes: (len - safe) as u64 }]);
        assert!(report.is_clean() && report.set_aside.is_empty());
        assert_eq!(sequences(&log), [1, 2, 3, 4, 5]);
        assert_eq!(fs::read(&path).unwrap().len(), safe, "it was cut off");
    }
}

#[test]
fn a_cut_end_that_was_promised_is_a_gap_and_its_sequences_are_not_given_again() {
    let dir = TempDir::new().unwrap();
    let marks = filled(dir.path(), 10);
    let path = first_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let (mut log, report) = open(dir.path(), Some(&marks));
    assert_eq!(report.missing(), 1, "{report:?}");
    assert!(report.findings.contains(&Finding::LogGap { from: 10, to: 10 }));
    assert_eq!(log.append(2, LogKind::Audit, Timestamp(0), b"").unwrap(), 11);
    log.flush().unwrap();
    let (log, report) = open(dir.path(), Some(&marks_of(&log)));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(sequences(&log), [1, 2, 3, 4, 5, 6, 7, 8, 9, 11]);
}

#[test]
fn the_end_of_a_log_cannot_be_vouched_for_without_marks_but_nothing_more_is_lost() {
    let dir = TempDir::new().unwrap();
    filled(dir.path(), 10);
    let (log, report) = open(dir.path(), None);
    assert_eq!(report.findings, []);
    assert_eq!(sequences(&log).len(), 10);
    assert_eq!(log.marks().0, 1);
}

/// Three segments of long records; the marks.
fn three_segments(dir: &Path) -> (Log, Marks) {
    let (mut log, _) = open(dir, Some(&Marks::default()));
    let long = vec![7; 1 << 20];
    for _ in 0..20 {
        log.append(1, LogKind::Audit, Timestamp(0), &long).unwrap();
    }
    log.flush().unwrap();
    let marks = marks_of(&log);
    (log, marks)
}

#[test]
fn long_logs_go_on_in_new_segments_and_old_ones_can_be_let_go() {
    let dir = TempDir::new().unwrap();
    let (mut log, marks) = three_segments(dir.path());
    let folder = dir.path().join("log");
    assert_eq!(segment::list(&folder).unwrap(), [1, 2, 3]);
    for number in 1..=3 {
        let len = fs::metadata(segment::path(&folder, number)).unwrap().len();
        assert!(len <= segment::SEGMENT_BYTES, "{len}");
    }
    assert_eq!(log.prunable(7), 1, "only whole segments go");
    let first = log.prunable(10);
    assert_eq!(first, 8);
    log.set_first(first);
    // The process ends between the promise and the deed.
    let promised = marks_of(&log);
    let (mut log, report) = open(dir.path(), Some(&promised));
    assert!(report.is_clean(), "{report:?}");
    log.remove().unwrap();
    assert_eq!(segment::list(&folder).unwrap(), [2, 3]);
    let (log, report) = open(dir.path(), Some(&promised));
    assert!(report.is_clean(), "a legal pruning is no gap: {report:?}");
    assert_eq!(sequences(&log), (8..=20).collect::<Vec<_>>());
    // By the marks from before the pruning, it would be one.
    let (_, report) = open(dir.path(), Some(&marks));
    assert!(report.findings.contains(&Finding::LogGap { from: 1, to: 7 }), "{report:?}");
}

#[test]
fn a_segment_that_is_gone_is_a_gap_wherever_it_was() {
    for (number, from, to) in [(1, 1, 7), (2, 8, 14), (3, 15, 20)] {
        let dir = TempDir::new().unwrap();
        let (_, marks) = three_segments(dir.path());
        fs::remove_file(segment::path(&dir.path().join("log"), number)).unwrap();
        let (log, report) = open(dir.path(), Some(&marks));
        assert!(report.findings.contains(&Finding::LogGap { from, to }), "{report:?}");
        assert_eq!(report.missing(), to - from + 1);
        let (_, again) = open(dir.path(), Some(&marks_of(&log)));
        assert!(again.is_clean(), "told once: {again:?}");
    }
}

#[test]
fn an_older_segment_under_a_new_name_is_no_part_of_the_log() {
    let dir = TempDir::new().unwrap();
    let marks = filled(dir.path(), 10);
    fs::copy(first_segment(dir.path()), segment::path(&dir.path().join("log"), 2)).unwrap();
    let (log, report) = open(dir.path(), Some(&marks));
    assert!(matches!(report.findings[..], [Finding::LogDamaged { segment: 2, .. }]), "{report:?}");
    assert_eq!(sequences(&log), (1..=10).collect::<Vec<_>>());
}

#[test]
fn whichever_operation_of_the_disk_fails_nothing_acknowledged_is_lost_and_the_log_goes_on() {
    let mut fails_at = 0;
    loop {
        let dir = TempDir::new().unwrap();
        let faulty = FaultyDisk::failing_at(fails_at);
        let disk: Arc<dyn Disk> = faulty.clone();
        let mut report = OpenReport::default();
        let empty = Marks::default();
        let Ok(mut log) = check(dir.path(), &disk, &keys(), Some(&empty), &mut report) else {
            fails_at += 1;
            continue;
        };
        let mut errors = 0;
        let mut promised = empty;
        let (mut given, mut rounds) = (0, 0);
        for round in 1..=6_u64 {
            // Every other one of them long, so that segments change on the way.
            let long = vec![round as u8; if round % 2 == 0 { (1 << 20) - 9 } else { 10 }];
            for _ in 0..3 {
                match log.append(1, LogKind::Audit, Timestamp(0), &long) {
                    Ok(sequence) => {
                        assert_eq!(sequence, given + 1, "no hole by a failed append");
                        given = sequence;
                    }
                    Err(_) => errors += 1,
                }
            }
            match log.flush() {
                Ok(()) => {
                    promised = marks_of(&log);
                    assert_eq!(promised.log_last, given, "all of it is safe");
                }
                Err(_) => errors += 1,
            }
            // What the disk holds at any moment is what was promised, or more.
            let copy = TempDir::new().unwrap();
            fs::create_dir(copy.path().join("log")).unwrap();
            for number in segment::list(&dir.path().join("log")).unwrap() {
                let [from, to] =
                    [&dir, &copy].map(|d| segment::path(&d.path().join("log"), number));
                fs::copy(from, to).unwrap();
            }
            let (seen, report) = open(copy.path(), Some(&promised));
            assert!(report.is_clean(), "operation {fails_at}, round {round}: {report:?}");
            let seen = sequences(&seen);
            assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
            assert!(seen.len() as u64 >= promised.log_last);
            rounds += 1;
        }
        assert_eq!(rounds, 6);
        if promised.log_last < given {
            log.flush().unwrap();
        }
        assert_eq!(marks_of(&log).log_last, given, "in the end the disk has all");
        if faulty.calls() <= fails_at {
            assert!(fails_at > 12, "only {fails_at} operations");
            assert_eq!(errors, 0);
            break;
        }
        assert_eq!(errors, 1, "operation {fails_at} failed and was told");
        fails_at += 1;
    }
}

#[test]
fn a_disk_that_stays_full_is_told_at_each_try_and_memory_stays_bounded() {
    #[derive(Debug)]
    struct Full;
    impl Disk for Full {
        fn open(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn sync_dir(&self, _: &Path) -> io::Result<()> {
            Ok(())
        }
    }
    let dir = TempDir::new().unwrap();
    let mut report = OpenReport::default();
    let disk: Arc<dyn Disk> = Arc::new(Full);
    let mut log = check(dir.path(), &disk, &keys(), Some(&Marks::default()), &mut report).unwrap();
    let (mut taken, long) = (0, vec![0; 50_000]);
    for _ in 0..100 {
        taken += u64::from(log.append(1, LogKind::Alarm, Timestamp(0), &long).is_ok());
        let error = log.flush().unwrap_err().to_string();
        assert!(error.starts_with("write ") && error.contains(".seg: "), "{error}");
    }
    assert!((1..=20).contains(&taken), "{taken} of 50,000 bytes each");
    assert_eq!(log.marks().1, 0, "none of it is safe");
}

proptest! {
    #[test]
    fn records_come_back_and_no_altered_byte_goes_unseen(
        payload in prop::collection::vec(any::<u8>(), 0..80), sequence in any::<u64>(),
        boot in any::<u64>(), time in any::<i64>(), previous in any::<[u8; 16]>(),
        at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let secret = Secret::new([1; 32]);
        let mut bytes = Vec::new();
        let body = Body::Record(LogKind::Alarm, payload.as_slice());
        let at_once = (sequence, boot, Timestamp(time));
        let mac = record::encode(&secret, &mut bytes, at_once, body, previous).unwrap();
        let entry = record::parse(&secret, &bytes).unwrap();
        prop_assert_eq!((entry.sequence, entry.boot, entry.time), at_once);
        prop_assert_eq!((entry.previous, entry.mac), (previous, mac));
        prop_assert_eq!((entry.len, entry.len), (bytes.len(), record::OVERHEAD + payload.len()));
        prop_assert_eq!(entry.body, Body::Record(LogKind::Alarm, payload));
        prop_assert!(record::parse(&Secret::new([2; 32]), &bytes).is_none());
        let at = at.index(bytes.len());
        prop_assert!(record::parse(&secret, &bytes[..at]).is_none());
        bytes[at] ^= flip;
        prop_assert!(record::parse(&secret, &bytes).is_none());
    }

    #[test]
    fn foreign_bytes_are_no_segment(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let Scanned { entries, holes, .. } = Scanned::of(&Secret::new([1; 32]), bytes.clone());
        prop_assert!(entries.is_empty());
        prop_assert_eq!(holes.iter().map(|(a, b)| b - a).sum::<usize>(), bytes.len());
    }
}
