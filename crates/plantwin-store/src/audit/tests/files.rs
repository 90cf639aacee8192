//! The small files, checkpoints kept elsewhere, and exact verdicts.

use plantwin_seal::CheckpointNote;

use super::*;

fn with_kept(dir: &Path, note: &str) -> Report {
    let kept = CheckpointNote::parse_all(note).unwrap();
    verify(dir, &VerifyOptions { kept, ..VerifyOptions::default() }).unwrap()
}

#[test]
fn a_missing_record_is_a_gap_and_names_it() {
    let dir = three_boots();
    let path = segment(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    let hole = records(&bytes)[4].clone();
    fs::write(&path, [&bytes[..hole.start], &bytes[hole.end..]].concat()).unwrap();
    let report = check_verdict(dir.path(), Verdict::Gap, "00000001.seg, record 5: missing");
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
}

#[test]
fn an_altered_record_names_itself() {
    let dir = three_boots();
    let path = segment(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let place = records(&bytes)[4].end - 1;
    bytes[place] ^= 0x10;
    fs::write(&path, bytes).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "00000001.seg, record 5: ");
}

#[test]
fn an_alteration_with_all_sums_and_hashes_made_anew_is_found_by_the_next_checkpoint() {
    let dir = three_boots();
    let path = segment(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    let places = records(&bytes);
    let mut forged = bytes[..places[4].start].to_vec();
    let mut previous = None;
    for place in &places[4..] {
        let mut record = bytes[place.clone()].to_vec();
        match previous {
            None => *record.last_mut().unwrap() ^= 1,
            Some(hash) => {
                let hash: plantwin_seal::ChainHash = hash;
                record[12..44].copy_from_slice(hash.as_bytes());
            }
        }
        let crc = crc32fast::hash(&record[8..]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        let record::Parsed::Record(parsed) = record::parse(&record) else { panic!() };
        previous = Some(parsed.hash);
        forged.extend(record);
    }
    fs::write(&path, forged).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "the checkpoint vouches for other records");
}

#[test]
fn a_trail_cut_below_its_checkpoint_is_truncated() {
    let dir = three_boots();
    let path = segment(dir.path(), 3);
    let bytes = fs::read(&path).unwrap();
    let places = records(&bytes);
    // Whole records, then the last checkpoint alone, then half of it.
    for cut in [places[6].end, places.last().unwrap().start, bytes.len() - 9] {
        fs::write(&path, &bytes[..cut]).unwrap();
        check_verdict(dir.path(), Verdict::Truncated, "covers them, and they are not there");
    }
    fs::remove_file(&path).unwrap();
    check_verdict(dir.path(), Verdict::Truncated, "covers them, and they are not there");
}

#[test]
fn without_its_small_files_a_trail_is_not_intact() {
    let dir = three_boots();
    let checkpoint = dir.path().join("checkpoint");
    let note = fs::read(&checkpoint).unwrap();
    fs::remove_file(&checkpoint).unwrap();
    check_verdict(dir.path(), Verdict::Truncated, "checkpoint is gone");
    fs::write(&checkpoint, [note.as_slice(), b" "].concat()).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "checkpoint was altered");
    fs::write(&checkpoint, note).unwrap();
    fs::remove_file(dir.path().join("identity.pub")).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "identity.pub is gone");
    let other = tempfile::tempdir().unwrap();
    AuditTrail::open(other.path(), &Secret::new([9; 32]), at(0)).unwrap();
    fs::copy(other.path().join("identity.pub"), dir.path().join("identity.pub")).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "no signature of this plant");
    fs::copy(segment(other.path(), 1), dir.path().join("1.seg")).unwrap();
    check_verdict(dir.path(), Verdict::Altered, "1.seg is no segment");
}

#[test]
fn a_checkpoint_kept_elsewhere_shows_a_trail_that_was_cut_and_given_an_older_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut trail = boot(dir.path(), 0, 20);
    trail.flush().unwrap();
    let older = fs::read_to_string(dir.path().join("checkpoint")).unwrap();
    let safe = fs::read(dir.path().join("safe")).unwrap();
    let len = fs::metadata(segment(dir.path(), 1)).unwrap().len() as usize;
    for n in 20..40 {
        trail.append(at(50), &entry(n)).unwrap();
    }
    trail.close(at(60)).unwrap();
    let newest = latest(dir.path()).unwrap().unwrap();
    assert_eq!(with_kept(dir.path(), &format!("{older}\n{newest}")).verdict, Verdict::Intact);
    let whole = fs::read(segment(dir.path(), 1)).unwrap();
    fs::write(segment(dir.path(), 1), &whole[..len]).unwrap();
    fs::write(dir.path().join("checkpoint"), &older).unwrap();
    check_verdict(dir.path(), Verdict::Truncated, "was safe on the disk");
    fs::write(dir.path().join("safe"), safe).unwrap();
    assert_eq!(judge(dir.path()).verdict, Verdict::Intact, "the documented limit");
    assert_eq!(with_kept(dir.path(), &newest).verdict, Verdict::Truncated);
    assert_eq!(with_kept(dir.path(), &older).verdict, Verdict::Intact);
}

#[test]
fn a_checkpoint_kept_elsewhere_shows_another_history_even_if_it_was_made_with_the_key() {
    let (real, forged) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    boot(real.path(), 0, 20).close(at(60)).unwrap();
    boot(forged.path(), 100, 120).close(at(60)).unwrap();
    assert_eq!(judge_with_key(forged.path()).verdict, Verdict::Intact);
    let kept = latest(real.path()).unwrap().unwrap();
    assert_eq!(with_kept(forged.path(), &kept).verdict, Verdict::Altered);
}

#[test]
fn a_checkpoint_of_another_plant_or_a_trail_replaced_by_a_foreign_one_is_altered() {
    let dir = three_boots();
    let other = tempfile::tempdir().unwrap();
    let (trail, _) = AuditTrail::open(other.path(), &Secret::new([9; 32]), at(0)).unwrap();
    trail.close(at(0)).unwrap();
    let theirs = latest(other.path()).unwrap().unwrap();
    assert_eq!(with_kept(dir.path(), &theirs).verdict, Verdict::Altered);
    // In itself the foreign trail is whole; the store's key knows better.
    assert_eq!(judge(other.path()).verdict, Verdict::Intact);
    let report = judge_with_key(other.path());
    assert_eq!(report.verdict, Verdict::Altered);
}

#[test]
fn a_trail_that_was_replaced_as_a_whole_is_found_by_the_public_key_that_was_kept() {
    let (dir, other) = (three_boots(), tempfile::tempdir().unwrap());
    let (trail, _) = AuditTrail::open(other.path(), &Secret::new([9; 32]), at(0)).unwrap();
    trail.close(at(0)).unwrap();
    let text = judge(dir.path()).identity_hex().unwrap();
    let identity = identity_from(&format!("{}\n", text.to_uppercase()));
    assert!(identity.is_some());
    let options = VerifyOptions { identity, ..VerifyOptions::default() };
    assert_eq!(verify(dir.path(), &options).unwrap().verdict, Verdict::Intact);
    let report = verify(other.path(), &options).unwrap();
    assert_eq!(report.verdict, Verdict::Altered);
    assert!(report.findings[0].text.contains("the public key that was kept"), "{report:?}");
    // Nor does it help to leave the old one there.
    fs::copy(dir.path().join("identity.pub"), other.path().join("identity.pub")).unwrap();
    assert_eq!(verify(other.path(), &options).unwrap().verdict, Verdict::Altered);
    let wrong = VerifyOptions { key: Some(Secret::new([9; 32])), ..options };
    assert_eq!(verify(dir.path(), &wrong).unwrap().verdict, Verdict::Altered);
    for text in ["", "00", &text[1..], &format!("{text}0"), &text.replacen(&text[..2], "+1", 1)] {
        assert_eq!(identity_from(text), None, "{text:?}");
    }
}

#[test]
fn only_what_comes_from_outside_the_folder_tells_whose_trail_it_is() {
    let dir = three_boots();
    let none = VerifyOptions::default();
    assert!(!none.knows_identity());
    let kept = CheckpointNote::parse_all(&latest(dir.path()).unwrap().unwrap()).unwrap();
    assert!(VerifyOptions { kept, ..none.clone() }.knows_identity());
    assert!(VerifyOptions { key: Some(key()), ..none.clone() }.knows_identity());
    let identity = judge(dir.path()).identity;
    assert!(VerifyOptions { identity, ..none }.knows_identity());
}

#[test]
fn a_copy_of_a_checkpoint_that_was_altered_is_refused_as_evidence() {
    let dir = three_boots();
    let copy = dir.path().join("copy");
    let note = latest(dir.path()).unwrap().unwrap();
    fs::write(&copy, &note).unwrap();
    assert_eq!(kept(&copy).unwrap().len(), 1);
    let size = note.lines().nth(1).unwrap();
    fs::write(&copy, note.replacen(&format!("\n{size}\n"), "\n3\n", 1)).unwrap();
    let text = kept(&copy).unwrap_err().to_string();
    assert!(text.contains("signature in it does not hold"), "{text}");
    fs::write(&copy, "no note").unwrap();
    assert!(kept(&copy).is_err());
    assert!(matches!(kept(&dir.path().join("none")), Err(crate::StoreError::File { .. })));
}
