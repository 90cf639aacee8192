//! The chain, and notes that nobody can alter or spell otherwise.

use proptest::prelude::*;

use super::*;

fn signer() -> (VerifyingKey, CheckpointSigner) {
    let identity = audit_identity(&Secret::new([7; 32]));
    (identity.verifying_key(), CheckpointSigner::begin(&identity, 3).unwrap())
}

fn note() -> CheckpointNote {
    let hash = ChainHash::ORIGIN.then(b"one");
    signer().1.sign(1, hash, Timestamp(5), ChainState::Running)
}

#[test]
fn the_chain_depends_on_every_record_and_their_order() {
    let chain = |records: &[&[u8]]| records.iter().fold(ChainHash::ORIGIN, |h, r| h.then(r));
    let whole = chain(&[b"a", b"b", b"c"]);
    for other in
        [&[b"a" as &[u8], b"c", b"b"][..], &[b"a", b"b"], &[b"ab", b"c"], &[b"a", b"b", b"d"]]
    {
        assert_ne!(chain(other), whole);
    }
    assert_eq!(chain(&[b"a", b"b", b"c"]), whole);
}

#[test]
fn a_note_is_what_was_signed_and_reads_back_the_same() {
    let (identity, signer) = signer();
    let note = signer.sign(12, ChainHash::ORIGIN.then(b"x"), Timestamp(-4), ChainState::Closed);
    let text = note.to_text();
    let read = CheckpointNote::parse(&text).unwrap();
    assert_eq!(read, note);
    assert_eq!(read.verify(), Ok(()));
    assert_eq!(*read.identity(), identity);
    assert_eq!(read.checkpoint().size, 12);
    assert_eq!(read.checkpoint().boot, signer.boot());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("plantwin/audit/"), "{text}");
    assert_eq!(lines[1], "12");
    assert_eq!(lines[4], "boot 3 closed");
    assert_eq!(lines[9], "");
    assert!(lines[10].starts_with(&format!("\u{2014} {}/boot-3 ", lines[0])), "{text}");
}

#[test]
fn a_key_that_the_identity_did_not_certify_is_refused() {
    let mine = audit_identity(&Secret::new([7; 32]));
    let theirs = audit_identity(&Secret::new([8; 32]));
    let mut forger = CheckpointSigner::begin(&theirs, 3).unwrap();
    forger.identity = mine.verifying_key();
    let note = forger.sign(1, ChainHash::ORIGIN, Timestamp(0), ChainState::Running);
    assert_eq!(note.verify(), Err(SealError::Signature));
    // A certificate of one boot is none for another.
    let mut later = CheckpointSigner::begin(&mine, 3).unwrap();
    later.boot = 4;
    let note = later.sign(1, ChainHash::ORIGIN, Timestamp(0), ChainState::Running);
    assert_eq!(note.verify(), Err(SealError::Signature));
}

#[test]
fn several_notes_with_signatures_of_witnesses_are_read_from_one_file() {
    let (one, two) = (note(), note());
    let file = format!("{}\u{2014} witness.example/w1 AAAA\n\n{}", one.to_text(), two.to_text());
    assert_eq!(CheckpointNote::parse_all(&file), Ok(vec![one.clone(), two.clone()]));
    let file = format!("{}{}", one.to_text(), two.to_text()).replace('\n', "\r\n");
    assert_eq!(CheckpointNote::parse_all(&file), Ok(vec![one.clone(), two]));
    assert_eq!(CheckpointNote::parse_all(""), Err(SealError::Decode));
    assert_eq!(CheckpointNote::parse_all("plantwin\n\nno note"), Err(SealError::Decode));
    // In the trail itself nothing may be added.
    let added = format!("{}\u{2014} witness.example/w1 AAAA\n", one.to_text());
    assert_eq!(CheckpointNote::parse(&added), Err(SealError::Decode));
}

proptest! {
    #[test]
    fn no_altered_byte_of_a_note_goes_unseen(at in any::<proptest::sample::Index>(), to in 0_u8..128) {
        let text = note().to_text();
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let Ok(altered) = String::from_utf8(bytes) else { return Ok(()) };
        let refused = CheckpointNote::parse(&altered).and_then(|note| note.verify());
        prop_assert!(refused.is_err(), "{altered}");
    }

    #[test]
    fn whatever_is_no_note_is_refused_without_a_panic(text in "\\PC{0,200}(\n\n)?\\PC{0,80}") {
        prop_assert!(CheckpointNote::parse(&text).is_err());
        let _ = CheckpointNote::parse_all(&text);
    }
}
