//! RFC 8032 vectors, strictness and redaction.

use super::*;

fn unhex<const N: usize>(hex: &str) -> [u8; N] {
    let mut bytes = [0; N];
    assert_eq!(hex.len(), 2 * N);
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    }
    bytes
}

#[test]
fn the_second_vector_of_rfc_8032_is_reproduced() {
    // RFC 8032 section 7.1, TEST 2.
    let key = SigningKey::from_seed(&unhex(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    ));
    assert_eq!(
        *key.verifying_key().as_bytes(),
        unhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    );
    assert_eq!(
        key.sign(&[0x72]).to_bytes(),
        unhex(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ))
    );
}

#[test]
fn a_signature_holds_only_for_its_key_and_message() {
    let (a, b) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let signature = a.sign(b"open valve");
    assert_eq!(a.verifying_key().verify_strict(b"open valve", &signature), Ok(()));
    let refused = Err(SealError::Signature);
    assert_eq!(a.verifying_key().verify_strict(b"shut valve", &signature), refused);
    assert_eq!(b.verifying_key().verify_strict(b"open valve", &signature), refused);
    for byte in 0..SIGNATURE_BYTES {
        let mut bytes = signature.to_bytes();
        bytes[byte] ^= 1;
        let altered = Signature::from_bytes(&bytes);
        assert_eq!(a.verifying_key().verify_strict(b"open valve", &altered), refused);
    }
}

#[test]
fn a_weak_public_key_is_refused() {
    // The neutral element (order 1), which would accept forged signatures.
    let mut neutral = [0; KEY_BYTES];
    neutral[0] = 1;
    assert_eq!(VerifyingKey::from_bytes(&neutral), Err(SealError::PublicKey));
    let good = SigningKey::from_seed(&[3; 32]).verifying_key();
    assert_eq!(VerifyingKey::from_bytes(good.as_bytes()), Ok(good));
}

#[test]
fn a_signing_key_never_prints_its_seed() {
    let shown = format!("{:?}", SigningKey::from_seed(&[0xab; 32]));
    assert!(shown.starts_with("SigningKey(.., VerifyingKey("), "{shown}");
    assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
}
