//! Layout, round trip, deadlines.

use proptest::prelude::*;

use super::*;

fn header() -> Header {
    Header::new(
        Lane::Durable,
        0x0102,
        0x0304_0506,
        0x0708_090a_0b0c_0d0e,
        PartyId(0x1111_1111_1111_1111),
        PartyId(0x2222_2222_2222_2222),
        0x3333_3333_3333_3333,
    )
    .with_deadline(Some(Timestamp::from_millis(0x0044_4444_4444)))
}

#[test]
fn the_layout_is_the_documented_one() {
    let mut expected = vec![1, 2, 0x02, 0x01, 0x06, 0x05, 0x04, 0x03];
    expected.extend([0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, 0x07]);
    expected.extend([0x11; 8]);
    expected.extend([0x22; 8]);
    expected.extend([0x33; 8]);
    expected.extend([0x44, 0x44, 0x44, 0x44, 0x44, 0, 0, 0]);
    assert_eq!(header().encode().as_slice(), expected);
}

#[test]
fn an_unknown_version_and_an_unknown_lane_are_refused() {
    let mut raw = header().encode();
    raw[0] = 2;
    assert_eq!(Header::decode(&raw), Err(SealError::Version(2)));
    raw[0] = VERSION;
    raw[1] = 4;
    assert_eq!(Header::decode(&raw), Err(SealError::Lane(4)));
    for lane in Lane::ALL {
        assert_eq!(Lane::from_byte(lane as u8), Ok(lane));
    }
}

#[test]
fn a_deadline_holds_to_the_millisecond_and_none_never_expires() {
    let ms = Timestamp::from_millis;
    let expiring = header().with_deadline(Some(ms(500)));
    assert_eq!(expiring.deadline(), Some(ms(500)));
    assert!(!expiring.is_expired(ms(500)));
    assert!(expiring.is_expired(ms(501)));
    assert!(!expiring.is_expired(ms(-1)), "a clock before 1970 is no reason to refuse");
    let lasting = header().with_deadline(None);
    assert_eq!(lasting.deadline(), None);
    assert!(!lasting.is_expired(Timestamp(i64::MAX)));
    assert!(header().with_deadline(Some(ms(-5))).is_expired(ms(1)));
}

proptest! {
    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(mut raw: [u8; HEADER_BYTES], lane in 0_u8..4) {
        raw[0] = VERSION;
        raw[1] = lane;
        prop_assert_eq!(Header::decode(&raw).unwrap().encode(), raw);
    }
}
