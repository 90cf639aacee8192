//! Published answers of the primitives behind the sessions, and answers of our own that are frozen:
//! devices in the field and data on disks were made with them, so a change here is a new version.

use plantwin_model::{Quality, Timestamp};
use plantwin_seal::{DhKey, OriginValue, Secret, derive_key, hash, mac, origin_digest, origin_key};
use snow::Builder;

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(hex: &str) -> [u8; 32] {
    unhex(hex).try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
}

/// `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` in the test vectors of cacophony, which snow carries.
mod noise {
    pub(crate) const PROLOGUE: &[u8] = b"John Galt";
    pub(crate) const PSK: &[u8; 32] = b"This is my Austrian perspective!";
    pub(crate) const DEVICE: &str =
        "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1";
    pub(crate) const DEVICE_ONCE: &str =
        "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a";
    pub(crate) const GATEWAY: &str =
        "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893";
    pub(crate) const GATEWAY_PUBLIC: &str =
        "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
    pub(crate) const GATEWAY_ONCE: &str =
        "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b";
    pub(crate) const FIRST: &str = "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79\
        44001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62\
        119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f";
    pub(crate) const SECOND: &str = "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480\
        8843cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a";
    pub(crate) const HASH: &str =
        "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5";
    pub(crate) const THIRD: &str = "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7";
}

#[test]
fn the_published_handshake_of_our_pattern_is_reproduced_to_the_last_byte() {
    use noise::*;
    let pattern = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
    let (device, gateway) = (key(DEVICE), key(GATEWAY));
    let (once, theirs) = (key(DEVICE_ONCE), key(GATEWAY_ONCE));
    let public = key(GATEWAY_PUBLIC);
    let mut device = Builder::new(pattern.parse().unwrap())
        .prologue(PROLOGUE)
        .and_then(|b| b.local_private_key(&device))
        .and_then(|b| b.remote_public_key(&public))
        .and_then(|b| b.psk(2, PSK))
        .and_then(|b| b.fixed_ephemeral_key_for_testing_only(&once).build_initiator())
        .unwrap();
    let mut gateway = Builder::new(pattern.parse().unwrap())
        .prologue(PROLOGUE)
        .and_then(|b| b.local_private_key(&gateway))
        .and_then(|b| b.psk(2, PSK))
        .and_then(|b| b.fixed_ephemeral_key_for_testing_only(&theirs).build_responder())
        .unwrap();
    let (mut wire, mut plain) = ([0; 1024], [0; 1024]);
    let first = device.write_message(b"Ludwig von Mises", &mut wire).unwrap();
    assert_eq!(hex(&wire[..first]), FIRST);
    gateway.read_message(&wire[..first], &mut plain).unwrap();
    let second = gateway.write_message(b"Murray Rothbard", &mut wire).unwrap();
    assert_eq!(hex(&wire[..second]), SECOND);
    device.read_message(&wire[..second], &mut plain).unwrap();
    assert_eq!(hex(device.get_handshake_hash()), HASH);
    let mut device = device.into_transport_mode().unwrap();
    let third = device.write_message(b"F. A. Hayek", &mut wire).unwrap();
    assert_eq!(hex(&wire[..third]), THIRD);
}

#[test]
fn our_gateway_reads_the_published_first_message() {
    use noise::*;
    let gateway = DhKey::from_bytes(&key(GATEWAY));
    assert_eq!(gateway.public().as_bytes(), &key(GATEWAY_PUBLIC));
    let (_, device, payload) =
        plantwin_seal::noise::Responder::read(&gateway, PROLOGUE, &unhex(FIRST)).unwrap();
    assert_eq!(device, DhKey::from_bytes(&key(DEVICE)).public());
    assert_eq!(payload, b"Ludwig von Mises");
    assert!(
        plantwin_seal::noise::Responder::read(&gateway, b"another prologue", &unhex(FIRST))
            .is_err()
    );
}

/// The first two of BLAKE3's `test_vectors.json`: of nothing, and of one zero byte.
#[test]
fn blake3_gives_its_published_answers_in_all_three_modes() {
    let secret = b"whats the Elvish word for friend";
    let context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
    let answers = [
        (
            &[][..],
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
            "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
            "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
        ),
        (
            &[0][..],
            "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
            "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
            "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
        ),
    ];
    for (input, plain, keyed, derived) in answers {
        assert_eq!(blake3::hash(input).to_hex().as_str(), plain);
        assert_eq!(blake3::keyed_hash(secret, input).to_hex().as_str(), keyed);
        assert_eq!(hex(&blake3::derive_key(context, input)), derived);
    }
}

#[test]
fn our_own_formats_are_what_they_were_when_the_first_device_was_enrolled() {
    let secret = Secret::new(*b"whats the Elvish word for friend");
    let parts: [&[u8]; 2] = [b"tank1", b"level"];
    assert_eq!(
        hex(&hash(&parts)),
        "5f895c5441564c85bf4d7fae57ee2b0df63e8a4993482ed72b7d41736e8708b9"
    );
    assert_eq!(
        hex(&mac(&secret, &parts)),
        "8a6d36eed0c91cc8ac063265b43b9427105f293d568cedc50d99e6a45376ac95"
    );
    let derived = derive_key("plantwin v1 known answer", &parts);
    assert_eq!(
        hex(derived.expose()),
        "2620d7890dac1785e4890d4bc6fe750af4268d750aaf0380254a64f8474f821f"
    );
    let key = origin_key(&secret, &[7; 32]);
    assert_eq!(
        hex(key.expose()),
        "b0fbe4d6e6c194a0cef031e2e50f2edf64ad24b51a46225d5bb03da831da762a"
    );
    let said = OriginValue {
        device: "tank1",
        point: "level",
        unit: "cm",
        sequence: 7,
        source_time: Timestamp::from_millis(1_000),
        quality: Quality::Good,
        value: 12.4,
    };
    assert_eq!(hex(&origin_digest(&key, &said).0), "6a79568532ac45395c9bf86820d34376");
}
