//! RFC 8439, and ring against RustCrypto.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use proptest::prelude::*;

use super::*;

/// RFC 8439 section 2.8.2.
const PLAIN: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one \
tip for the future, sunscreen would be it.";
const AAD: [u8; 12] = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
const NONCE: [u8; 12] = [7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47];
const CIPHER: &str = concat!(
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6",
    "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36",
    "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc",
    "3ff4def08e4b7a9de576d26586cec64b6116",
);
const TAG: &str = "1ae10b594f09e26a7e902ecbd0600691";

fn rfc_key() -> [u8; 32] {
    std::array::from_fn(|i| 0x80 + i as u8)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn rustcrypto(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(&(*key).into()).encrypt(&nonce.into(), Payload { msg, aad }).unwrap()
}

fn ours(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let mut buffer = msg.to_vec();
    let tag = seal(&Secret::new(*key), nonce, aad, &mut buffer).unwrap();
    buffer.extend(tag);
    buffer
}

#[test]
fn both_backends_give_the_answer_of_rfc_8439() {
    let expected = format!("{CIPHER}{TAG}");
    assert_eq!(hex(&ours(&rfc_key(), NONCE, &AAD, PLAIN)), expected);
    assert_eq!(hex(&rustcrypto(&rfc_key(), NONCE, &AAD, PLAIN)), expected);
}

#[test]
fn a_buffer_without_a_whole_tag_is_refused() {
    let key = Secret::new(rfc_key());
    for len in 0..TAG_BYTES {
        assert_eq!(open(&key, NONCE, &AAD, &mut vec![0; len], 0), Err(Refused));
    }
}

proptest! {
    #[test]
    fn ring_and_rustcrypto_agree(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in proptest::collection::vec(any::<u8>(), 0..80),
        plain in proptest::collection::vec(any::<u8>(), 0..600),
        gap in 0_usize..64,
    ) {
        let sealed = ours(&key, nonce, &aad, &plain);
        prop_assert_eq!(&sealed, &rustcrypto(&key, nonce, &aad, &plain));
        let mut buffer = vec![0xee; gap];
        buffer.extend(sealed);
        let opened = open(&Secret::new(key), nonce, &aad, &mut buffer, gap).unwrap();
        prop_assert_eq!(&*opened, plain.as_slice());
    }
}
