//! Counters, epochs, uniqueness of (key, nonce), size.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::{
    KeyDistributor, Opener, Session,
    testing::{PUMP, TANK, at, report, seal, sessions},
};

#[test]
fn a_session_ends_when_its_sequence_numbers_are_used_up() {
    let (mut tank, mut pump) = sessions();
    tank.sealer.counter = Counter(MAX_MESSAGES - 1);
    let last = seal(&mut tank.sealer, 1, 0);
    assert_eq!(last.header().sequence, MAX_MESSAGES - 1);
    for _ in 0..3 {
        let error = tank.sealer.seal(&report(2), Lane::Durable, None, at(0)).unwrap_err();
        assert_eq!(error, SealError::Exhausted);
    }
    assert_eq!(pump.opener.open(last, at(0)), Ok(report(1)));
}

#[test]
fn the_epoch_changes_after_its_messages_and_after_its_time() {
    let (mut tank, mut pump) = sessions();
    for _ in 0..EPOCH_MESSAGES {
        let sealed = tank.sealer.seal_bytes(1, b"", Lane::Latest, None, at(0)).unwrap();
        assert_eq!(sealed.header().epoch, 0);
        pump.opener.open_bytes(1, sealed, at(0)).unwrap();
    }
    let sealed = seal(&mut tank.sealer, 1, 0);
    assert_eq!((sealed.header().epoch, sealed.header().sequence), (1, u64::from(EPOCH_MESSAGES)));
    assert_eq!(pump.opener.open(sealed, at(0)), Ok(report(1)));
    assert_eq!(seal(&mut tank.sealer, 1, 119).header().epoch, 1);
    assert_eq!(seal(&mut tank.sealer, 1, 120).header().epoch, 2);
    assert_eq!(seal(&mut tank.sealer, 1, 239).header().epoch, 2);
    assert_eq!(
        seal(&mut tank.sealer, 1, 100_000).header().epoch,
        3,
        "one step, however long it was"
    );
    assert_eq!(seal(&mut tank.sealer, 1, 5).header().epoch, 3, "a clock set back changes nothing");
}

/// A message that refuses to be serialized.
struct Unwritable;

impl Content for Unwritable {
    const CONTENT_TYPE: u16 = 9;
}

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

#[test]
fn a_message_that_cannot_be_serialized_uses_no_sequence_number_up() {
    let (mut tank, _) = sessions();
    let error = tank.sealer.seal(&Unwritable, Lane::Durable, None, at(0)).unwrap_err();
    assert_eq!((error, tank.sealer.used()), (SealError::Encode, 0));
}

#[test]
fn nothing_secret_is_printed() {
    let (tank, _) = sessions();
    let shown = format!("{tank:?}");
    assert!(shown.contains("key: Secret(..)") && shown.contains("iv: Iv(..)"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", tank.sealer.key.expose())), "{shown}");
}

#[test]
fn an_idle_twin_with_two_sessions_takes_less_than_a_kilobyte() {
    assert!(size_of::<Sealer>() <= 128, "{}", size_of::<Sealer>());
    assert!(size_of::<Opener>() <= 384, "{}", size_of::<Opener>());
    assert!(2 * size_of::<Session>() < 1024, "{}", size_of::<Session>());
}

/// What must never repeat, and the steps of time between messages.
fn pairs_used(sealer: &mut Sealer, steps: &[u16]) -> Vec<([u8; 32], [u8; 12])> {
    let mut now = at(0);
    steps
        .iter()
        .map(|&step| {
            now = now.plus(std::time::Duration::from_secs(u64::from(step)));
            let sealed = sealer.seal_bytes(1, b"", Lane::Latest, None, now).unwrap();
            (*sealer.key.expose(), sealer.iv.nonce(sealed.header().sequence))
        })
        .collect()
}

proptest! {
    #[test]
    fn no_pair_of_key_and_nonce_is_ever_used_twice(
        steps in proptest::collection::vec(0_u16..200, 1..200),
    ) {
        // Two sessions of the same pair, both directions, and one of another pair.
        let keys = KeyDistributor::new().unwrap();
        let secret = keys.pair_secret(TANK, PUMP);
        let other = keys.pair_secret(TANK, PartyId(3));
        let mut used = HashSet::new();
        for (secret, peer) in [(&secret, PUMP), (&secret, PUMP), (&other, PartyId(3))] {
            let (mut a, mut b) = Session::pair(secret, TANK, peer, at(0)).unwrap();
            for sealer in [&mut a.sealer, &mut b.sealer] {
                for pair in pairs_used(sealer, &steps) {
                    prop_assert!(used.insert(pair));
                }
            }
        }
        prop_assert_eq!(used.len(), 6 * steps.len());
    }
}
