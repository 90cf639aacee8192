//! Foreign bytes as an envelope: nothing panics, nothing unsealed opens, nothing altered opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plantwin_model::Timestamp;
use plantwin_seal::{KeyDistributor, Lane, PartyId, SealError, Sealed, Session};

const NOW: Timestamp = Timestamp::from_millis(1_000);
const KIND: u16 = 7;

fuzz_target!(|data: &[u8]| {
    // Raw: parsed or refused, and whatever parses keeps its bytes and does not open.
    let secret = KeyDistributor::new().expect("randomness").pair_secret(PartyId(1), PartyId(2));
    let (mut a, mut b) =
        Session::pair(&secret, PartyId(1), PartyId(2), NOW).expect("an undisturbed handshake");
    if let Ok(sealed) = Sealed::<[u8]>::from_bytes(data.to_vec()) {
        assert_eq!(sealed.as_bytes(), data);
        assert!(b.opener.open_bytes(KIND, sealed, NOW).is_err());
    }

    // Altered: the input tells which bytes of a genuine envelope change (place, mask), and how long
    // the envelope becomes.
    let genuine = a.sealer.seal_bytes(KIND, data, Lane::Alarm, None, NOW).expect("a short message");
    let original = genuine.into_bytes();
    let mut bytes = original.clone();
    if let Some((&cut, changes)) = data.split_first() {
        for change in changes.chunks_exact(2).take(8) {
            let place = change[0] as usize % bytes.len();
            bytes[place] ^= change[1];
        }
        // Low values shorten, middle ones leave the length alone, high ones extend.
        match cut {
            0..=95 => bytes.truncate(bytes.len().saturating_sub(cut as usize)),
            160..=255 => bytes.resize(bytes.len() + cut as usize - 159, cut),
            _ => {}
        }
    }
    let altered = bytes != original;
    let opened =
        Sealed::<[u8]>::from_bytes(bytes).and_then(|sealed| b.opener.open_bytes(KIND, sealed, NOW));
    assert_eq!(opened.is_err(), altered);
    let genuine = Sealed::<[u8]>::from_bytes(original).expect("our own envelope");
    let again = b.opener.open_bytes(KIND, genuine, NOW);
    if altered {
        assert_eq!(again.as_deref(), Ok(data), "a refused envelope changes nothing");
    } else {
        assert_eq!(again, Err(SealError::Replay(0)));
    }
});
