//! Crashes, damage found when a boot begins, and a disk that fails.

use std::sync::Arc;

use super::*;
use crate::disk::faulty::FaultyDisk;

#[test]
fn a_killed_plants_trail_is_intact_and_the_next_boot_signs_what_was_unsigned() {
    let dir = killed();
    let report = judge_with_key(dir.path());
    assert_eq!((report.verdict, report.records, report.unsigned), (Verdict::Intact, 20, 6));
    boot(dir.path(), 20, 25).flush().unwrap();
    let report = judge(dir.path());
    assert_eq!((report.verdict, report.records, report.boots), (Verdict::Intact, 25, 2));
    assert_eq!(report.unsigned, 1);
}

#[test]
fn a_flipped_bit_of_the_last_records_length_is_damage_and_no_unfinished_record() {
    let dir = killed();
    let path = segment(dir.path(), 1);
    let whole = fs::read(&path).unwrap();
    let last = records(&whole).last().unwrap().clone();
    for bit in 0..32 {
        let mut bytes = whole.clone();
        bytes[last.start + 8 + bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let report = judge_with_key(dir.path());
        assert_eq!((report.verdict, report.torn), (Verdict::Altered, 0), "bit {bit}");
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let (_, findings) = open(copy.path());
        assert!(findings.iter().any(|f| f.contains("are no record")), "bit {bit}: {findings:?}");
    }
}

#[test]
fn what_is_gone_below_the_checkpoint_is_told_and_leaves_a_gap_for_good() {
    let dir = three_boots();
    let path = segment(dir.path(), 3);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..records(&bytes)[4].end]).unwrap();
    let last = judge(dir.path()).last;
    let (trail, findings) = open(dir.path());
    assert!(findings.iter().any(|f| f.contains("what was between is gone")), "{findings:?}");
    assert_eq!(trail.boot(), 4);
    trail.close(at(0)).unwrap();
    let report = check_verdict(dir.path(), Verdict::Gap, "lost: not there, or altered");
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(*report.findings[0].sequences.start(), last + 1);
    // It is told once.
    assert_eq!(open(dir.path()).1, Vec::<String>::new());
}

#[test]
fn forged_records_behind_the_last_checkpoint_are_never_signed() {
    let dir = killed();
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let place = records(&bytes).last().unwrap().clone();
    let record::Parsed::Record(last) = record::parse(&bytes[place]) else { panic!() };
    let sequence = last.place.sequence + 1;
    let forged = record::Place { previous: last.hash, sequence, ..last.place };
    let theirs = record::entry_key(&Secret::new([9; 32]));
    record::entry(&theirs, &mut bytes, forged, &entry(1)).unwrap();
    fs::write(&path, bytes).unwrap();
    // The chain alone cannot tell; the key can.
    assert_eq!(judge(dir.path()).unsigned, 7);
    let report = judge_with_key(dir.path());
    assert_eq!(report.verdict, Verdict::Altered);
    assert!(report.findings[0].text.contains("not written by this plant"), "{report:?}");
    let (trail, findings) = open(dir.path());
    assert!(findings.iter().any(|f| f.contains("not written by this plant")), "{findings:?}");
    trail.close(at(0)).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "out of their place");
}

#[test]
fn a_damaged_end_stays_as_evidence_and_the_trail_goes_on_behind_what_is_vouched_for() {
    let dir = three_boots();
    let path = segment(dir.path(), 3);
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    for byte in &mut bytes[100..] {
        *byte = 0;
    }
    fs::write(&path, &bytes).unwrap();
    let (mut trail, findings) = open(dir.path());
    assert!(findings.iter().any(|f| f.contains("are no record")), "{findings:?}");
    trail.append(at(3), &entry(7)).unwrap();
    trail.close(at(3)).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    check_verdict(dir.path(), Verdict::Altered, "00000003.seg");
    let report = check_verdict(dir.path(), Verdict::Altered, "lost: not there, or altered");
    assert_eq!((report.records, report.boots), (41, 3));
    assert_eq!(open(dir.path()).1, Vec::<String>::new());
}

#[test]
fn another_key_is_refused_and_touches_nothing() {
    let dir = three_boots();
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let error = AuditTrail::open(dir.path(), &Secret::new([6; 32]), at(0)).unwrap_err();
    assert!(matches!(error, crate::StoreError::Key { .. }), "{error}");
    assert_eq!(names(), before);
    assert_eq!(judge_with_key(dir.path()).verdict, Verdict::Intact);
}

#[test]
fn small_files_that_were_altered_are_told_and_put_right() {
    let dir = three_boots();
    fs::write(dir.path().join("identity.pub"), "00").unwrap();
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    let (trail, findings) = open(dir.path());
    assert_eq!(findings.len(), 2, "{findings:?}");
    trail.close(at(0)).unwrap();
    assert_eq!(judge_with_key(dir.path()).verdict, Verdict::Intact);
}

#[test]
fn whichever_operation_of_the_disk_fails_nothing_is_lost_and_the_trail_stays_intact() {
    for torn in [false, true] {
        let mut n = 0;
        while survives_a_fault(n, torn) {
            n += 1;
        }
        assert!(n > 50, "only {n} operations");
    }
}

/// Whether there was an `n`-th operation that could fail, of a boot behind 10 entries.
fn survives_a_fault(n: u64, torn: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    boot(dir.path(), 0, 10).flush().unwrap();
    if torn {
        let path = segment(dir.path(), 1);
        let whole = fs::read(&path).unwrap();
        let unfinished = &whole[records(&whole)[3].clone()][..100];
        fs::write(&path, [&whole[..], unfinished].concat()).unwrap();
    }
    let disk = FaultyDisk::failing_at(n);
    let opened = AuditTrail::open_on(Arc::clone(&disk) as _, dir.path(), &key(), at(0));
    let (mut trail, findings) = opened.unwrap();
    let mut failed = findings.iter().any(|f| f.contains("failed to "));
    for m in 10..20 {
        trail.append(at(1), &entry(m)).unwrap();
        trail.checkpoint(at(1));
        failed |= trail.flush().is_err();
    }
    trail.flush().unwrap();
    if trail.close(at(2)).is_err() {
        // As good as a crash: the next boot signs what is there.
        failed = true;
        open(dir.path()).0.close(at(3)).unwrap();
    }
    let report = judge_with_key(dir.path());
    assert_eq!(report.verdict, Verdict::Intact, "operation {n}: {:?}", report.findings);
    let appended =
        |shown: &Shown| matches!(shown, Shown::Entry { entry, .. } if entry.object != "audit");
    let kept = entries(dir.path()).iter().filter(|shown| appended(shown)).count();
    assert_eq!(kept, 20, "operation {n}");
    assert_eq!(failed, disk.calls() > n, "operation {n}");
    failed
}

#[test]
fn a_segment_that_a_crash_left_without_its_name_is_not_missed() {
    let dir = killed();
    fs::write(dir.path().join("00000002.new"), b"half of a beginn").unwrap();
    assert_eq!(judge(dir.path()).verdict, Verdict::Intact);
    boot(dir.path(), 20, 22).close(at(0)).unwrap();
    assert_eq!(judge(dir.path()).records, 22);
}
