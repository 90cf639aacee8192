use proptest::prelude::*;

use super::*;
use crate::{Lane, Sealed};

const DEVICE: PartyId = PartyId(1);
const GATEWAY: PartyId = PartyId(2);
const NOW: Timestamp = Timestamp(0);

struct Ends {
    device: DhKey,
    gateway: DhKey,
    psk: Secret,
}

impl Ends {
    fn new() -> Self {
        let key = || DhKey::generate().unwrap();
        Self { device: key(), gateway: key(), psk: Secret::random().unwrap() }
    }

    fn begin(&self) -> (Initiator, Vec<u8>) {
        Initiator::start(&self.device, &self.gateway.public(), b"p", &self.psk, b"token").unwrap()
    }

    fn answer(&self, first: &[u8], psk: &Secret) -> (Vec<u8>, Established) {
        let (responder, peer, payload) = Responder::read(&self.gateway, b"p", first).unwrap();
        assert_eq!((peer, payload.as_slice()), (self.device.public(), &b"token"[..]));
        responder.answer(psk, b"challenge", GATEWAY, DEVICE, NOW).unwrap()
    }
}

fn sends(from: &mut Established, to: &mut Established) {
    let sealed: Sealed<[u8]> =
        from.session.sealer.seal_bytes(9, b"level", Lane::Latest, None, NOW).unwrap();
    assert_eq!(to.session.opener.open_bytes(9, sealed, NOW).unwrap(), b"level");
}

#[test]
fn both_ends_come_to_one_session_and_one_hash() {
    let ends = Ends::new();
    let (mut device, first) = ends.begin();
    let (second, mut gateway) = ends.answer(&first, &ends.psk);
    let (payload, mut device) = device.finish(&second, DEVICE, GATEWAY, NOW).unwrap();
    assert_eq!(payload, b"challenge");
    assert_eq!(device.hash, gateway.hash);
    assert_eq!(device.session.sealer.session(), gateway.session.opener.session());
    sends(&mut device, &mut gateway);
    sends(&mut gateway, &mut device);
}

#[test]
fn another_pre_shared_key_another_gateway_or_another_prologue_end_in_no_session() {
    let ends = Ends::new();
    let (mut device, first) = ends.begin();
    let (second, _) = ends.answer(&first, &Secret::random().unwrap());
    let refused = device.finish(&second, DEVICE, GATEWAY, NOW).map(|_| ());
    assert_eq!(refused, Err(SealError::Handshake));
    let stranger = DhKey::generate().unwrap();
    assert!(Responder::read(&stranger, b"p", &first).is_err());
    assert!(Responder::read(&ends.gateway, b"q", &first).is_err());
}

#[test]
fn the_second_message_of_another_handshake_is_refused_and_the_true_one_still_taken() {
    let ends = Ends::new();
    let (mut device, first) = ends.begin();
    let (_, other) = ends.begin();
    let (wrong, _) = ends.answer(&other, &ends.psk);
    let (right, _) = ends.answer(&first, &ends.psk);
    assert!(device.finish(&wrong, DEVICE, GATEWAY, NOW).is_err());
    assert!(device.finish(&right, DEVICE, GATEWAY, NOW).is_ok());
    assert!(device.finish(&right, DEVICE, GATEWAY, NOW).is_err(), "a session begins once");
}

#[test]
fn keys_of_small_order_are_refused() {
    let (ends, zero) = (Ends::new(), DhPublic::from_bytes([0; 32]));
    let begun = Initiator::start(&ends.device, &zero, b"p", &ends.psk, b"").map(|_| ());
    assert_eq!(begun, Err(SealError::PublicKey));
    assert_eq!(seal_to(&zero, b"c", b"plain"), Err(SealError::PublicKey));
    let (_, mut first) = ends.begin();
    first[..32].fill(0);
    assert!(Responder::read(&ends.gateway, b"p", &first).is_err());
}

#[test]
fn x25519_agrees_with_rfc_7748() {
    let bytes = |hex: &str| -> [u8; 32] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    };
    // Section 5.2, the first vector, and one iteration from the base point 9.
    let scalar = "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4";
    let point = "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c";
    let product = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552";
    let key = DhKey::from_bytes(&bytes(scalar));
    let found = key.0.diffie_hellman(&PublicKey::from(bytes(point))).to_bytes();
    assert_eq!(found, bytes(product));
    let mut nine = [0; 32];
    nine[0] = 9;
    let once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
    assert_eq!(DhKey::from_bytes(&nine).public(), DhPublic::from_bytes(bytes(once)));
}

#[test]
fn no_key_is_printed() {
    let key = DhKey::generate().unwrap();
    let printed = format!("{key:?}");
    let [a, b, c, d, ..] = *key.expose();
    let hex = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
    assert!(!printed.contains(&hex), "{printed}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_changed_bit_of_a_handshake_message_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let ends = Ends::new();
        let (mut device, first) = ends.begin();
        let mut bent = first.clone();
        // The top bit of a Curve25519 key's last byte counts for nothing, but it is hashed.
        bent[at.index(first.len())] ^= 1 << bit;
        prop_assert!(Responder::read(&ends.gateway, b"p", &bent).is_err());
        let (second, _) = ends.answer(&first, &ends.psk);
        let mut bent = second.clone();
        bent[at.index(second.len())] ^= 1 << bit;
        prop_assert!(device.finish(&bent, DEVICE, GATEWAY, NOW).is_err());
        prop_assert!(device.finish(&second, DEVICE, GATEWAY, NOW).is_ok());
    }

    #[test]
    fn a_sealed_box_opens_for_its_key_and_context_alone(
        plain in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let (to, other) = (DhKey::generate().unwrap(), DhKey::generate().unwrap());
        let mut sealed = seal_to(&to.public(), b"psk", &plain).unwrap();
        prop_assert_eq!(open_from(&to, b"psk", &sealed), Ok(plain));
        prop_assert!(open_from(&other, b"psk", &sealed).is_err());
        prop_assert!(open_from(&to, b"key", &sealed).is_err());
        let place = at.index(sealed.len());
        sealed[place] ^= 1 << bit;
        prop_assert!(open_from(&to, b"psk", &sealed).is_err());
    }

    #[test]
    fn no_bytes_of_a_stranger_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let ends = Ends::new();
        prop_assert!(Responder::read(&ends.gateway, b"p", &bytes).is_err());
        prop_assert!(open_from(&ends.gateway, b"c", &bytes).is_err());
        let (mut device, _) = ends.begin();
        prop_assert!(device.finish(&bytes, DEVICE, GATEWAY, NOW).is_err());
    }
}
