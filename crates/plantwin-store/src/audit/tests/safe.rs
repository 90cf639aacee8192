//! What was safe and what was not: kills in the midst of a write, cut ends, the file `safe`.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use super::*;
use crate::disk::faulty::FaultyDisk;

/// A trail as `kill -9` leaves it in the midst of a write: 19 entries were flushed, and of the
/// segment with one more, which is returned with the place of that one, any part may be there.
fn killed_while_it_wrote() -> (TempDir, Vec<u8>, Range<usize>) {
    let dir = tempfile::tempdir().unwrap();
    let mut trail = boot(dir.path(), 0, 19);
    trail.flush().unwrap();
    let safe = read_all(dir.path());
    trail.append(at(19), &entry(19)).unwrap();
    trail.flush().unwrap();
    drop(trail);
    let whole = fs::read(segment(dir.path(), 1)).unwrap();
    write_all(dir.path(), &read_all(dir.path()), &safe);
    let last = records(&whole).last().unwrap().clone();
    (dir, whole, last)
}

#[test]
fn wherever_the_process_was_killed_an_unfinished_record_is_cut_off_and_the_trail_says_so() {
    let (dir, whole, last) = killed_while_it_wrote();
    let crash = read_all(dir.path());
    for end in last.start + 1..last.end {
        write_all(dir.path(), &read_all(dir.path()), &crash);
        fs::write(segment(dir.path(), 1), &whole[..end]).unwrap();
        let report = judge_with_key(dir.path());
        assert_eq!((report.verdict, report.records), (Verdict::Intact, 19));
        assert_eq!(report.torn as usize, end - last.start);
        let (mut trail, findings) = open(dir.path());
        assert_eq!(findings, Vec::<String>::new(), "no damage: nobody was promised that record");
        trail.append(at(9), &entry(99)).unwrap();
        trail.close(at(9)).unwrap();
        let report = judge(dir.path());
        assert_eq!((report.verdict, report.records, report.torn), (Verdict::Intact, 21, 0));
        let told = format!("cut an unfinished record of {} bytes off", end - last.start);
        assert!(says(dir.path(), &told));
    }
}

/// Whether an entry of the trail has these words.
fn says(dir: &Path, words: &str) -> bool {
    let with =
        |shown: &Shown| matches!(shown, Shown::Entry { entry, .. } if entry.detail.contains(words));
    entries(dir).iter().any(with)
}

#[test]
fn a_record_that_was_written_and_not_yet_acknowledged_is_taken_over() {
    let (dir, whole, _) = killed_while_it_wrote();
    fs::write(segment(dir.path(), 1), &whole).unwrap();
    let report = judge_with_key(dir.path());
    assert_eq!((report.verdict, report.records), (Verdict::Intact, 20));
    boot(dir.path(), 20, 21).close(at(21)).unwrap();
    assert_eq!(judge(dir.path()).records, 21);
}

#[test]
fn an_acknowledged_record_that_was_cut_is_found_by_verify_and_at_open_and_leaves_a_gap() {
    let dir = killed();
    let crash = read_all(dir.path());
    let whole = fs::read(segment(dir.path(), 1)).unwrap();
    let places = records(&whole);
    let [.., before, last] = places.as_slice() else { panic!("{places:?}") };
    // Between two records and within one, with one record gone and with two.
    let within = (before.start..last.end).step_by(17);
    for end in within.chain([last.start, last.end - 1, last.start + 1]) {
        write_all(dir.path(), &read_all(dir.path()), &crash);
        fs::write(segment(dir.path(), 1), &whole[..end]).unwrap();
        check_verdict(dir.path(), Verdict::Truncated, "was safe on the disk");
        assert_eq!(judge_with_key(dir.path()).verdict, Verdict::Truncated, "{end}");
        let (trail, findings) = open(dir.path());
        let told = findings.iter().filter(|f| f.contains("what was between is gone")).count();
        assert_eq!((told, findings.len()), (1, 1), "{end}: {findings:?}");
        trail.close(at(30)).unwrap();
        let report = check_verdict(dir.path(), Verdict::Gap, "lost: not there, or altered");
        assert_eq!(report.findings.len(), 1, "{end}: {:?}", report.findings);
        let gone = places.iter().filter(|place| place.end > end).count() as u64;
        let missing = &report.findings[0].sequences;
        assert_eq!(missing.end() - missing.start() + 1, gone, "{end}");
        assert!(!says(dir.path(), "cut an unfinished record"), "{end}");
        // It is told once.
        assert_eq!(open(dir.path()).1, Vec::<String>::new());
    }
}

#[test]
fn a_record_that_is_gone_from_the_midst_of_the_last_segment_is_told_at_open() {
    let dir = killed();
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let hole = records(&whole)[6].clone();
    fs::write(&path, [&whole[..hole.start], &whole[hole.end..]].concat()).unwrap();
    let report = check_verdict(dir.path(), Verdict::Gap, "record 7: missing");
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    let told = format!("{} bytes that were safe on the disk are gone", hole.len());
    let (_, findings) = open(dir.path());
    assert!(findings.len() == 1 && findings[0].contains(&told), "{findings:?}");
    assert_eq!(open(dir.path()).1, Vec::<String>::new());
}

#[test]
fn an_unfinished_end_that_cannot_be_cut_is_told_and_the_trail_goes_on_intact() {
    let (dir, whole, last) = killed_while_it_wrote();
    let crash = read_all(dir.path());
    // Opening the segment, cutting it, making that safe.
    for n in 0..3 {
        write_all(dir.path(), &read_all(dir.path()), &crash);
        fs::write(segment(dir.path(), 1), &whole[..last.end - 1]).unwrap();
        let disk = FaultyDisk::failing_at(n);
        let opened = AuditTrail::open_on(disk, dir.path(), &key(), at(20)).unwrap();
        let (mut trail, findings) = opened;
        assert!(findings.iter().any(|f| f.contains("failed to cut")), "{n}: {findings:?}");
        trail.append(at(20), &entry(20)).unwrap();
        trail.close(at(20)).unwrap();
        assert!(says(dir.path(), "an unfinished record"), "{n}");
        for _ in 0..2 {
            let report = judge_with_key(dir.path());
            assert_eq!(report.verdict, Verdict::Intact, "{n}: {:?}", report.findings);
            assert_eq!(report.torn > 0, n < 2, "{n}: {}", report.torn);
            let shown = entries(dir.path());
            assert!(shown.iter().all(|s| matches!(s, Shown::Entry { .. })), "{n}: {shown:?}");
            let (trail, findings) = open(dir.path());
            assert_eq!(findings, Vec::<String>::new(), "{n}: it is told once");
            trail.close(at(21)).unwrap();
        }
    }
}

#[test]
fn a_file_safe_that_was_altered_is_found_told_once_and_put_right() {
    let dir = killed();
    let crash = read_all(dir.path());
    let good = crash["safe"].clone();
    let flipped = (0..good.len()).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        bytes
    });
    let cut = (0..good.len()).step_by(9).map(|at| good[..at].to_vec());
    let longer = [good.as_slice(), b"x"].concat();
    for bytes in flipped.chain(cut).chain([longer, vec![0; good.len()]]) {
        write_all(dir.path(), &read_all(dir.path()), &crash);
        fs::write(dir.path().join("safe"), bytes).unwrap();
        check_verdict(dir.path(), Verdict::Altered, "the file safe was altered");
        let (trail, findings) = open(dir.path());
        assert_eq!(findings, ["the audit trail's file `safe` was altered"]);
        trail.close(at(1)).unwrap();
        assert_eq!(judge_with_key(dir.path()).verdict, Verdict::Intact);
        assert_eq!(open(dir.path()).1, Vec::<String>::new());
    }
}

#[test]
fn without_the_file_safe_an_end_that_was_not_closed_is_not_believed() {
    let (dir, whole, last) = killed_while_it_wrote();
    fs::remove_file(dir.path().join("safe")).unwrap();
    fs::write(segment(dir.path(), 1), &whole[..last.end - 1]).unwrap();
    check_verdict(dir.path(), Verdict::Truncated, "the file safe is gone");
    let (trail, findings) = open(dir.path());
    assert!(findings.iter().any(|f| f.contains("`safe` was gone")), "{findings:?}");
    assert!(findings.iter().any(|f| f.contains("nothing tells whether")), "{findings:?}");
    trail.close(at(1)).unwrap();
    assert!(says(dir.path(), "nothing tells whether"));
    // A closed one is: a trail of before there was such a file raises no alarm.
    fs::remove_file(dir.path().join("safe")).unwrap();
    assert_eq!(judge(dir.path()).verdict, Verdict::Intact);
    assert_eq!(open(dir.path()).1, Vec::<String>::new());
    assert!(dir.path().join("safe").exists());
}

#[test]
fn a_file_safe_made_without_the_stores_key_is_told_from_the_plants_own() {
    let (dir, other) = (killed(), tempfile::tempdir().unwrap());
    AuditTrail::open(other.path(), &Secret::new([9; 32]), at(0)).unwrap();
    fs::copy(other.path().join("safe"), dir.path().join("safe")).unwrap();
    assert_eq!(judge(dir.path()).verdict, Verdict::Intact, "the documented limit");
    let report = judge_with_key(dir.path());
    assert_eq!(report.verdict, Verdict::Altered);
    assert!(report.findings[0].text.contains("safe was not written by this plant"), "{report:?}");
    assert_eq!(open(dir.path()).1, ["the audit trail's file `safe` was altered"]);
}

#[test]
fn an_older_file_safe_put_back_with_the_segment_of_its_time_shows_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut trail = boot(dir.path(), 0, 16);
    trail.flush().unwrap();
    let older = read_all(dir.path());
    trail.append(at(16), &entry(16)).unwrap();
    trail.flush().unwrap();
    drop(trail);
    write_all(dir.path(), &read_all(dir.path()), &older);
    assert_eq!(judge_with_key(dir.path()).verdict, Verdict::Intact, "the documented limit");
}

#[test]
fn an_unfinished_record_within_a_boot_or_of_other_bytes_is_no_crash() {
    let dir = three_boots();
    let mut long = entry(1);
    long.detail = "x".repeat(4_000);
    let (mut trail, _) = open(dir.path());
    for _ in 0..2_100 {
        trail.append(at(1), &long).unwrap();
    }
    trail.close(at(2)).unwrap();
    assert!(segment(dir.path(), 5).exists());
    let path = segment(dir.path(), 4);
    let whole = fs::read(&path).unwrap();
    let unfinished = &whole[records(&whole)[3].clone()][..100];
    fs::write(&path, [&whole[..], unfinished].concat()).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "its last record is unfinished");
    fs::write(&path, [&whole[..], &[7; 100]].concat()).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "100 bytes at byte");
}

#[test]
fn a_trail_can_be_judged_at_any_moment_while_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (mut trail, _) = open(dir.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..5_000).take_while(|_| !done.load(SeqCst)) {
                trail.append(at(n), &entry(n)).unwrap();
                trail.flush().unwrap();
            }
        });
        let reports: Vec<_> = (0..50).map(|_| judge_with_key(dir.path())).collect();
        done.store(true, SeqCst);
        for report in reports {
            assert_eq!(report.verdict, Verdict::Intact, "{:?}", report.findings);
        }
    });
}
