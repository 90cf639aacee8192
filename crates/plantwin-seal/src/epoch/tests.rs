//! Ratchet and nonces.

use std::collections::HashSet;

use super::*;

#[test]
fn a_nonce_is_the_iv_with_the_sequence_in_its_last_eight_bytes() {
    let iv = Iv::new([0xf0; NONCE_BYTES]);
    assert_eq!(iv.nonce(0), [0xf0; NONCE_BYTES]);
    let expected = [0xf0, 0xf0, 0xf0, 0xf0, 0xf8, 0xf7, 0xf6, 0xf5, 0xf4, 0xf3, 0xf2, 0xf1];
    assert_eq!(iv.nonce(0x0102_0304_0506_0708), expected);
}

#[test]
fn each_epoch_has_its_own_key_and_the_last_one_has_no_successor() {
    let mut seen = HashSet::new();
    let (mut epoch, mut key) = (0, Secret::new([9; 32]));
    for expected in 1..200 {
        assert!(seen.insert(*key.expose()));
        (epoch, key) = ratchet(&key, epoch).unwrap();
        assert_eq!(epoch, expected);
    }
    assert_eq!(ratchet(&key, u32::MAX).err(), Some(SealError::Exhausted));
}

#[test]
fn the_same_key_in_another_epoch_leads_elsewhere() {
    let key = Secret::new([9; 32]);
    let (a, b) = (ratchet(&key, 0).unwrap().1, ratchet(&key, 1).unwrap().1);
    assert_ne!(a.expose(), b.expose());
}
