//! Validation of foreign bytes; one buffer.

use proptest::prelude::*;

use super::*;
use crate::{
    Lane,
    testing::{Report, at, report, seal, sessions},
};

#[test]
fn lengths_outside_the_allowed_range_are_refused() {
    for len in [0, 1, HEADER_BYTES, OVERHEAD_BYTES - 1, MAX_ENVELOPE_BYTES + 1] {
        let error = Sealed::<Report>::from_bytes(vec![1; len]).unwrap_err();
        assert_eq!(error, SealError::Length(len));
    }
    let mut shortest = vec![0; OVERHEAD_BYTES];
    shortest[0] = 1;
    assert_eq!(Sealed::<Report>::from_bytes(shortest).unwrap().payload_len(), 0);
}

#[test]
fn sealing_takes_one_buffer_of_exactly_the_needed_size() {
    let (mut tank, _) = sessions();
    let message = report(3);
    let payload = postcard::to_stdvec(&message).unwrap();
    let bytes = tank.sealer.seal(&message, Lane::Latest, None, at(0)).unwrap().into_bytes();
    assert_eq!(bytes.len(), payload.len() + 64);
    assert_eq!(bytes.capacity(), bytes.len(), "the buffer was never grown");
    assert!(!bytes.windows(5).any(|window| window == b"point"), "the plaintext shows");
}

#[test]
fn opening_plain_bytes_gives_back_the_same_buffer() {
    let (mut tank, mut pump) = sessions();
    let sealed = tank.sealer.seal_bytes(9, b"raw frame", Lane::Alarm, None, at(0)).unwrap();
    let place = sealed.as_bytes().as_ptr();
    let opened = pump.opener.open_bytes(9, sealed, at(0)).unwrap();
    assert_eq!((opened.as_slice(), opened.as_ptr()), (&b"raw frame"[..], place));
}

#[test]
fn an_empty_and_the_longest_message_can_be_sealed_and_no_longer_one() {
    let (mut tank, mut pump) = sessions();
    for len in [0, MAX_ENVELOPE_BYTES - OVERHEAD_BYTES] {
        let payload = vec![0x5a; len];
        let sealed = tank.sealer.seal_bytes(9, &payload, Lane::Durable, None, at(0)).unwrap();
        let sealed = Sealed::from_bytes(sealed.into_bytes()).unwrap();
        assert_eq!(sealed.payload_len(), len);
        assert_eq!(pump.opener.open_bytes(9, sealed, at(0)).unwrap(), payload);
    }
    let used = tank.sealer.used();
    let too_long = vec![0; MAX_ENVELOPE_BYTES - OVERHEAD_BYTES + 1];
    let error = tank.sealer.seal_bytes(9, &too_long, Lane::Durable, None, at(0)).unwrap_err();
    assert_eq!(error, SealError::Length(MAX_ENVELOPE_BYTES + 1));
    assert_eq!(tank.sealer.used(), used, "a refused message uses no sequence number up");
}

#[test]
fn an_envelope_shows_its_header_and_nothing_of_its_content() {
    let (mut tank, _) = sessions();
    let shown = format!("{:?}", seal(&mut tank.sealer, 3, 0));
    assert!(shown.contains("lane: Durable") && shown.contains("payload_len: 9"), "{shown}");
    assert!(!shown.contains("bytes"), "{shown}");
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_, mut pump) = sessions();
        if let Ok(sealed) = Sealed::<Report>::from_bytes(bytes.clone()) {
            prop_assert_eq!(sealed.as_bytes(), bytes.as_slice());
            prop_assert!(pump.opener.open(sealed, at(0)).is_err());
        }
    }
}
