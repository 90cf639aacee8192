//! Known answers, framing and redaction.

use super::*;

#[test]
fn hash_is_blake3_over_length_framed_parts() {
    let mut framed = Vec::new();
    for part in [&b"plant"[..], b"", b"twin"] {
        framed.extend((part.len() as u64).to_le_bytes());
        framed.extend(part);
    }
    assert_eq!(hash(&[b"plant", b"", b"twin"]), *blake3::hash(&framed).as_bytes());
    let key = Secret::new([7; 32]);
    assert_eq!(
        mac(&key, &[b"plant", b"", b"twin"]),
        *blake3::keyed_hash(&[7; 32], &framed).as_bytes()
    );
    assert_eq!(
        *derive_key("plantwin v1 test", &[b"plant", b"", b"twin"]).expose(),
        blake3::derive_key("plantwin v1 test", &framed)
    );
}

#[test]
fn blake3_gives_the_published_answer_for_no_input() {
    // First test vector of the BLAKE3 repository (test_vectors.json, input_len 0).
    let expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(blake3::Hash::from_bytes(hash(&[])).to_hex().as_str(), expected);
}

#[test]
fn parts_cannot_be_shifted_into_each_other() {
    let key = Secret::new([1; 32]);
    assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
    assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&key, &[b"a", b"bc"]));
    assert_ne!(hash(&[b""]), hash(&[]));
}

#[test]
fn a_mac_holds_only_for_its_key_and_parts() {
    let key = Secret::new([1; 32]);
    let good = mac(&key, &[b"level", b"12.5"]);
    assert_eq!(verify_mac(&key, &[b"level", b"12.5"], &good), Ok(()));
    assert_eq!(verify_mac(&key, &[b"level", b"12.6"], &good), Err(SealError::Mac));
    assert_eq!(verify_mac(&Secret::new([2; 32]), &[b"level", b"12.5"], &good), Err(SealError::Mac));
    for bit in 0..256 {
        let mut bad = good;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify_mac(&key, &[b"level", b"12.5"], &bad), Err(SealError::Mac));
    }
}

#[test]
fn contexts_separate_keys() {
    let a = derive_key("plantwin v1 test a", &[b"same"]);
    let b = derive_key("plantwin v1 test b", &[b"same"]);
    assert_ne!(a.expose(), b.expose());
}

#[test]
fn random_bytes_differ_from_call_to_call() {
    assert_ne!(random_bytes::<32>(), random_bytes::<32>());
}

#[test]
fn a_secret_is_never_printed_and_can_be_wiped() {
    let mut secret = Secret::new([0xab; 32]);
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    secret.zeroize();
    assert_eq!(secret.expose(), &[0; 32]);
}
