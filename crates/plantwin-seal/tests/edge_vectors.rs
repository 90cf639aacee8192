//! Inputs at the edges of the primitives, of the kinds that Project Wycheproof collects: keys of
//! small order, malleable signatures, cut and altered tags. Valid cases are in the unit tests.

use plantwin_seal::{
    DhPublic, SealError, Secret, Signature, SigningKey, VerifyingKey, open_at_rest, seal_at_rest,
    seal_to,
};

fn unhex(hex: &str) -> [u8; 32] {
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
}

/// The seven u-coordinates below 2^255 whose order divides eight (RFC 7748, section 6.1, asks for
/// the check; the list is that of Bernstein's "curve25519" page).
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn no_x25519_key_of_small_order_is_sealed_to() {
    for point in SMALL_ORDER {
        let mut bytes = unhex(point);
        assert_eq!(
            seal_to(&DhPublic::from_bytes(bytes), b"c", b"plain"),
            Err(SealError::PublicKey),
            "{point}"
        );
        // The top bit is ignored by X25519: the same point in another coat.
        bytes[31] |= 0x80;
        assert!(seal_to(&DhPublic::from_bytes(bytes), b"c", b"plain").is_err(), "{point}");
    }
}

/// The order of Ed25519's group, little-endian (RFC 8032, section 5.1).
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[test]
fn a_signature_whose_scalar_was_moved_by_the_order_is_refused() {
    let key = SigningKey::from_seed(&[7; 32]);
    let mut bytes = key.sign(b"open valve").to_bytes();
    let mut carry = 0_u16;
    for (byte, add) in bytes[32..].iter_mut().zip(unhex(ORDER)) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    let moved = Signature::from_bytes(&bytes);
    let verdict = key.verifying_key().verify_strict(b"open valve", &moved);
    assert_eq!(verdict, Err(SealError::Signature));
}

#[test]
fn signatures_of_zeros_and_ones_and_a_commitment_of_small_order_are_refused() {
    let key = SigningKey::from_seed(&[7; 32]).verifying_key();
    let neutral = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        bytes
    };
    for bytes in [[0; 64], [0xff; 64], neutral] {
        let verdict = key.verify_strict(b"open valve", &Signature::from_bytes(&bytes));
        assert_eq!(verdict, Err(SealError::Signature));
    }
}

#[test]
fn ed25519_keys_of_small_order_and_bytes_that_are_no_point_are_refused() {
    let refused = [
        // Order 1, 2, 4 and 8.
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        // No point of the curve.
        "0200000000000000000000000000000000000000000000000000000000000000",
    ];
    for key in refused {
        assert_eq!(VerifyingKey::from_bytes(&unhex(key)), Err(SealError::PublicKey), "{key}");
    }
}

#[test]
fn a_tag_that_is_cut_or_altered_in_any_bit_is_refused() {
    let key = Secret::new([9; 32]);
    let sealed = seal_at_rest(&key, b"here", b"").unwrap();
    for cut in 0..sealed.len() {
        assert!(open_at_rest(&key, b"here", &sealed[..cut]).is_err(), "cut to {cut}");
    }
    let tag = sealed.len() - 16;
    for bit in 0..16 * 8 {
        let mut altered = sealed.clone();
        altered[tag + bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open_at_rest(&key, b"here", &altered), Err(SealError::Tag), "bit {bit}");
    }
}
