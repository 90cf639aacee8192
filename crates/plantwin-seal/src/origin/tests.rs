use plantwin_model::Flaw;
use proptest::prelude::*;

use super::*;

fn value() -> OriginValue<'static> {
    OriginValue {
        device: "tank1",
        point: "level",
        unit: "cm",
        sequence: 7,
        source_time: Timestamp(1_000),
        quality: Quality::Good,
        value: 12.4,
    }
}

#[test]
fn what_the_device_said_verifies_and_anything_else_does_not() {
    let key = Secret::new([7; 32]);
    let digest = origin_digest(&key, &value());
    assert_eq!(verify_origin(&key, &value(), &digest), Ok(()));
    let altered = [
        OriginValue { device: "tank2", ..value() },
        OriginValue { point: "flow", ..value() },
        OriginValue { unit: "m", ..value() },
        OriginValue { sequence: 8, ..value() },
        OriginValue { source_time: Timestamp(1_001), ..value() },
        OriginValue { quality: Quality::Uncertain(Flaw::OutOfRange), ..value() },
        OriginValue { value: f64::from_bits(12.4_f64.to_bits() + 1), ..value() },
    ];
    for other in altered {
        assert_eq!(verify_origin(&key, &other, &digest), Err(SealError::Mac), "{other:?}");
    }
    assert!(verify_origin(&Secret::new([8; 32]), &value(), &digest).is_err());
}

#[test]
fn a_digest_is_written_as_hexadecimal_digits_and_read_again() {
    let digest = OriginDigest([0xab; ORIGIN_BYTES]);
    assert_eq!(digest.to_string().parse(), Ok(digest));
    for wrong in ["", "ab", "+1234567890123456789012345678901", "zz"] {
        assert!(wrong.parse::<OriginDigest>().is_err(), "{wrong}");
    }
}

#[test]
fn each_device_has_a_key_of_its_own() {
    let authority = Secret::new([1; 32]);
    let (a, b) = (origin_key(&authority, &[2; 32]), origin_key(&authority, &[3; 32]));
    assert_ne!(a.expose(), b.expose());
}

proptest! {
    #[test]
    fn no_two_values_share_a_digest(a in any::<f64>(), b in any::<f64>()) {
        let key = Secret::new([7; 32]);
        let digest = |v| origin_digest(&key, &OriginValue { value: v, ..value() });
        prop_assert_eq!(digest(a) == digest(b), a.to_bits() == b.to_bits());
    }
}
