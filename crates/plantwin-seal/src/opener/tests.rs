//! Every way an envelope can be refused, reordering, epochs, and redelivery after a crash.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    IN_FLIGHT_LIMIT, Lane, Sealer, Session,
    testing::{Other, PUMP, Report, TANK, at, copy, report, seal, sessions},
};

/// An altered envelope, given as bytes: refused somewhere, and the opener is as it was.
fn refuses(opener: &mut Opener, bytes: Vec<u8>) -> SealError {
    let before = (opener.window.next(), opener.epoch, opener.in_flight());
    let by_reference = Sealed::<Report>::from_bytes(bytes.clone())
        .and_then(|sealed| opener.open_ref(&sealed, &mut Vec::new(), at(0)))
        .unwrap_err();
    let error = Sealed::<Report>::from_bytes(bytes)
        .and_then(|sealed| opener.open(sealed, at(0)))
        .unwrap_err();
    assert_eq!(error, by_reference);
    assert_eq!((opener.window.next(), opener.epoch, opener.in_flight()), before);
    error
}

#[test]
fn what_is_sealed_opens_to_the_same_message_in_both_directions() {
    let (mut tank, mut pump) = sessions();
    for point in 0..100 {
        let there = seal(&mut tank.sealer, point, 0);
        assert_eq!(pump.opener.open(there, at(0)), Ok(report(point)));
        let back = seal(&mut pump.sealer, point, 0);
        assert_eq!(tank.opener.open(back, at(0)), Ok(report(point)));
    }
}

#[test]
fn every_flipped_bit_of_an_envelope_is_refused_and_moves_nothing() {
    let (mut tank, mut pump) = sessions();
    let sealed = seal(&mut tank.sealer, 7, 0);
    for bit in 0..sealed.as_bytes().len() * 8 {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = refuses(&mut pump.opener, bytes);
        match bit / 8 {
            0 => assert!(matches!(error, SealError::Version(_)), "{bit}: {error}"),
            2..4 => assert!(matches!(error, SealError::ContentType(_)), "{bit}: {error}"),
            4..8 => {
                assert!(matches!(error, SealError::Epoch(_) | SealError::Tag), "{bit}: {error}");
            }
            8..16 => assert_eq!(error, SealError::Session, "{bit}"),
            16..32 => assert_eq!(error, SealError::Party, "{bit}"),
            // The lane's low bits, sequence, deadline, ciphertext and tag: only the tag can tell.
            1 => assert!(matches!(error, SealError::Lane(_) | SealError::Tag), "{bit}: {error}"),
            _ => assert_eq!(error, SealError::Tag, "{bit}"),
        }
    }
    assert_eq!(pump.opener.open(sealed, at(0)), Ok(report(7)));
}

#[test]
fn truncated_and_extended_envelopes_are_refused() {
    let (mut tank, mut pump) = sessions();
    let sealed = seal(&mut tank.sealer, 7, 0);
    for len in 0..sealed.as_bytes().len() {
        refuses(&mut pump.opener, sealed.as_bytes()[..len].to_vec());
    }
    for extra in 1..40 {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes.resize(bytes.len() + extra, extra as u8);
        assert_eq!(refuses(&mut pump.opener, bytes), SealError::Tag);
    }
    assert_eq!(pump.opener.open(sealed, at(0)), Ok(report(7)));
}

#[test]
fn a_spliced_envelope_is_refused() {
    let (mut tank, mut pump) = sessions();
    let (a, b) = (seal(&mut tank.sealer, 1, 0), seal(&mut tank.sealer, 2, 0));
    let mut bytes = a.as_bytes()[..HEADER_BYTES].to_vec();
    bytes.extend(&b.as_bytes()[HEADER_BYTES..]);
    assert_eq!(refuses(&mut pump.opener, bytes), SealError::Tag);
}

#[test]
fn strangers_other_sessions_and_reflections_are_refused() {
    let (mut tank, mut pump) = sessions();
    let (mut elsewhere, _) = sessions();
    let foreign = seal(&mut elsewhere.sealer, 1, 0);
    assert_eq!(pump.opener.open(foreign, at(0)), Err(SealError::Session));
    let own = seal(&mut pump.sealer, 1, 0);
    assert_eq!(pump.opener.open(own, at(0)), Err(SealError::Party));
    let good = seal(&mut tank.sealer, 1, 0);
    assert_eq!(tank.opener.open(copy(&good), at(0)), Err(SealError::Party));
    assert_eq!(pump.opener.peer(), TANK);
    assert_eq!(good.header().recipient, PUMP);
}

#[test]
fn a_message_is_never_taken_for_another_type() {
    let (mut tank, mut pump) = sessions();
    let sealed = tank.sealer.seal(&Other(5), Lane::Durable, None, at(0)).unwrap();
    let posing = Sealed::<Report>::from_bytes(sealed.as_bytes().to_vec()).unwrap();
    let refused = SealError::ContentType(Other::CONTENT_TYPE);
    assert_eq!(pump.opener.open(posing, at(0)), Err(refused));
    assert_eq!(pump.opener.open(sealed, at(0)), Ok(Other(5)), "it was not used up");
}

#[test]
fn a_late_message_is_refused_and_used_up() {
    let (mut tank, mut pump) = sessions();
    let command = |tank: &mut Session| {
        tank.sealer.seal(&report(1), Lane::Command, Some(at(2)), at(0)).unwrap()
    };
    let (on_time, late) = (command(&mut tank), command(&mut tank));
    assert_eq!(pump.opener.open(on_time, at(2)), Ok(report(1)));
    assert_eq!(pump.opener.open(copy(&late), at(3)), Err(SealError::Deadline));
    assert_eq!(pump.opener.open(late, at(0)), Err(SealError::Replay(1)));
}

#[test]
fn a_plaintext_with_something_behind_the_message_is_refused() {
    let (mut tank, mut pump) = sessions();
    let mut payload = postcard::to_stdvec(&report(1)).unwrap();
    payload.push(0);
    let bytes = tank
        .sealer
        .seal_bytes(Report::CONTENT_TYPE, &payload, Lane::Durable, None, at(0))
        .unwrap()
        .into_bytes();
    let sealed = Sealed::<Report>::from_bytes(bytes).unwrap();
    let scratch = &mut Vec::new();
    assert_eq!(pump.opener.open_ref(&sealed, scratch, at(0)), Err(SealError::Decode));
    assert_eq!(pump.opener.in_flight(), 0);
    assert_eq!(pump.opener.reopen(&sealed, scratch, at(0)), Err(SealError::NotInFlight(0)));
}

#[test]
fn a_forged_sequence_number_far_ahead_does_not_move_the_window() {
    let (mut tank, mut pump) = sessions();
    let waiting: Vec<_> = (0..10).map(|point| seal(&mut tank.sealer, point, 0)).collect();
    let mut forged = waiting[0].as_bytes().to_vec();
    forged[32..40].copy_from_slice(&1_000_000_u64.to_le_bytes());
    assert_eq!(refuses(&mut pump.opener, forged), SealError::Tag);
    for (point, sealed) in (0..).zip(waiting) {
        assert_eq!(pump.opener.open(sealed, at(0)), Ok(report(point)));
    }
}

#[test]
fn a_message_behind_the_window_is_refused_although_it_is_genuine() {
    let (mut tank, mut pump) = sessions();
    let mut sealed: Vec<_> = (0..1_026).map(|point| seal(&mut tank.sealer, point, 0)).collect();
    let last = sealed.pop().unwrap();
    assert_eq!(pump.opener.open(last, at(0)), Ok(report(1_025)));
    for (sequence, envelope) in (0..).zip(sealed) {
        let expected = if sequence < 2 {
            Err(SealError::Replay(sequence))
        } else {
            Ok(report(sequence as u16))
        };
        assert_eq!(pump.opener.open(envelope, at(0)), expected);
    }
}

#[test]
fn the_previous_key_is_gone_after_its_time_and_after_a_window_of_messages() {
    let (mut tank, mut pump) = sessions();
    let early: Vec<_> = (0..2).map(|point| seal(&mut tank.sealer, point, 0)).collect();
    let later = seal(&mut tank.sealer, 2, 120);
    assert_eq!(pump.opener.open(later, at(120)), Ok(report(2)));
    let mut early = early.into_iter();
    assert_eq!(pump.opener.open(early.next().unwrap(), at(240)), Ok(report(0)));
    assert_eq!(pump.opener.open(early.next().unwrap(), at(241)), Err(SealError::Epoch(0)));

    let (mut tank, mut pump) = sessions();
    seal(&mut tank.sealer, 0, 0);
    for sent in 0..WINDOW {
        let sealed = seal(&mut tank.sealer, 1, 120);
        assert_eq!(sealed.header().epoch, 1);
        assert_eq!(pump.opener.open(sealed, at(120)), Ok(report(1)));
        assert_eq!(pump.opener.previous.is_some(), sent + 1 < WINDOW, "{sent}");
    }
}

#[test]
fn a_session_survives_lost_epochs_up_to_the_limit_and_refuses_more() {
    let (mut tank, mut pump) = sessions();
    for epoch in 0..EPOCH_SKIP {
        assert_eq!(seal(&mut tank.sealer, 0, 120 * i64::from(epoch)).header().epoch, epoch);
    }
    let reached = seal(&mut tank.sealer, 1, 120 * i64::from(EPOCH_SKIP));
    let before = seal(&mut tank.sealer, 2, 120 * i64::from(EPOCH_SKIP));
    let beyond = seal(&mut tank.sealer, 3, 120 * i64::from(EPOCH_SKIP + 1));
    let now = at(10_000);
    assert_eq!(beyond.header().epoch, EPOCH_SKIP + 1);
    assert_eq!(pump.opener.open(copy(&beyond), now), Err(SealError::Epoch(EPOCH_SKIP + 1)));
    assert_eq!(pump.opener.open(reached, now), Ok(report(1)));
    assert_eq!(pump.opener.epoch(), EPOCH_SKIP);
    assert_eq!(pump.opener.open(beyond, now), Ok(report(3)));
    assert_eq!(pump.opener.open(before, now), Ok(report(2)), "the epoch just left");
}

/// Two sealers with the same keys, the second a thief's, and the opener of both.
fn robbed() -> (Sealer, Sealer, Opener) {
    let keys = || DirectionKeys { key: Secret::new([1; 32]), iv: Iv::new([2; 12]) };
    let sealer = || Sealer::new(TANK, PUMP, 77, keys(), at(0));
    (sealer(), sealer(), Opener::new(PUMP, TANK, 77, keys()))
}

#[test]
fn a_stolen_key_of_the_previous_epoch_forges_nothing_beyond_its_epoch() {
    let (mut honest, mut thief, mut opener) = robbed();
    let old = seal(&mut honest, 0, 0);
    let new: Vec<_> = (1..4).map(|point| seal(&mut honest, point, 120)).collect();
    let forged: Vec<_> = (0..10).map(|_| seal(&mut thief, 66, 0)).collect();
    // Sequence 3 and then 1 show that the new epoch begins at 1 or before; 2 is still open.
    assert_eq!(opener.open(copy(&new[2]), at(120)), Ok(report(3)));
    assert_eq!(opener.open(copy(&new[0]), at(120)), Ok(report(1)));
    for sequence in [2, 4, 9] {
        assert_eq!(opener.open(copy(&forged[sequence]), at(120)), Err(SealError::Epoch(0)));
    }
    assert_eq!(opener.open(copy(&new[1]), at(120)), Ok(report(2)));
    assert_eq!(opener.open(old, at(120)), Ok(report(0)));
}

#[test]
fn a_later_epoch_cannot_begin_below_a_message_that_was_opened() {
    let (mut honest, mut thief, mut opener) = robbed();
    for point in 0..5 {
        let sealed = seal(&mut honest, point, 0);
        if point != 2 {
            assert_eq!(opener.open(sealed, at(0)), Ok(report(point)));
        }
    }
    seal(&mut thief, 66, 0);
    seal(&mut thief, 66, 0);
    let forged = seal(&mut thief, 66, 120);
    assert_eq!((forged.header().epoch, forged.header().sequence), (1, 2));
    assert_eq!(opener.open(forged, at(120)), Err(SealError::Epoch(1)));
}

#[test]
fn an_envelope_in_flight_opens_again_and_no_other_does() {
    let (mut tank, mut pump) = sessions();
    let (first, second) = (seal(&mut tank.sealer, 1, 0), seal(&mut tank.sealer, 2, 0));
    let scratch = &mut Vec::new();
    let opener = &mut pump.opener;
    assert_eq!(opener.reopen(&first, scratch, at(0)), Err(SealError::NotInFlight(0)));
    assert_eq!(opener.open_ref(&first, scratch, at(0)), Ok(report(1)));
    assert_eq!(opener.open_ref(&first, scratch, at(0)), Err(SealError::Replay(0)));
    assert_eq!(opener.open(copy(&first), at(0)), Err(SealError::Replay(0)));
    for _ in 0..3 {
        assert_eq!(opener.reopen(&first, scratch, at(0)), Ok(report(1)));
    }
    assert_eq!(opener.reopen(&second, scratch, at(0)), Err(SealError::NotInFlight(1)));
    assert_eq!(opener.open(copy(&second), at(0)), Ok(report(2)));
    assert_eq!(opener.reopen(&second, scratch, at(0)), Err(SealError::NotInFlight(1)));
    assert_eq!(opener.in_flight(), 1);
    assert_eq!(opener.acknowledge(0), Ok(()));
    assert_eq!(opener.acknowledge(0), Err(SealError::NotInFlight(0)));
    assert_eq!(opener.reopen(&first, scratch, at(0)), Err(SealError::NotInFlight(0)));
}

#[test]
fn the_bytes_of_an_envelope_in_flight_can_be_had_after_its_deadline_and_of_no_other() {
    let (mut tank, mut pump) = sessions();
    let sealed = tank.sealer.seal(&report(1), Lane::Command, Some(at(2)), at(0)).unwrap();
    assert_eq!(pump.opener.reopen_bytes(&sealed), Err(SealError::NotInFlight(0)));
    let scratch = &mut Vec::new();
    pump.opener.open_ref(&sealed, scratch, at(0)).unwrap();
    assert_eq!(pump.opener.reopen(&sealed, scratch, at(9)), Err(SealError::Deadline));
    let bytes = pump.opener.reopen_bytes(&sealed).unwrap();
    assert_eq!(postcard::from_bytes(&bytes), Ok(report(1)));
    assert_eq!(pump.opener.in_flight(), 1, "it stays in flight");
    let mut altered = sealed.as_bytes().to_vec();
    altered[50] ^= 1;
    let altered = Sealed::<Report>::from_bytes(altered).unwrap();
    assert_eq!(pump.opener.reopen_bytes(&altered), Err(SealError::Tag));
    pump.opener.acknowledge(0).unwrap();
    assert_eq!(pump.opener.reopen_bytes(&sealed), Err(SealError::NotInFlight(0)));
}

#[test]
fn redelivery_checks_every_bit_as_the_first_delivery_does() {
    let (mut tank, mut pump) = sessions();
    let sealed = seal(&mut tank.sealer, 1, 0);
    let scratch = &mut Vec::new();
    pump.opener.open_ref(&sealed, scratch, at(0)).unwrap();
    for bit in 0..sealed.as_bytes().len() * 8 {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let altered = Sealed::<Report>::from_bytes(bytes);
        assert!(altered.and_then(|sealed| pump.opener.reopen(&sealed, scratch, at(0))).is_err());
    }
    assert_eq!(pump.opener.reopen(&sealed, scratch, at(0)), Ok(report(1)));
}

#[test]
fn an_envelope_in_flight_opens_again_however_far_the_session_went_on() {
    let (mut tank, mut pump) = sessions();
    let (first, second) = (seal(&mut tank.sealer, 1, 0), seal(&mut tank.sealer, 2, 0));
    let scratch = &mut Vec::new();
    pump.opener.open_ref(&first, scratch, at(0)).unwrap();
    let third = seal(&mut tank.sealer, 3, 120);
    pump.opener.open_ref(&third, scratch, at(120)).unwrap();
    pump.opener.open_ref(&second, scratch, at(120)).unwrap();
    for step in 2..50 {
        let sealed = seal(&mut tank.sealer, 4, 120 * step);
        assert_eq!(pump.opener.open(sealed, at(120 * step)), Ok(report(4)));
    }
    for _ in 0..2_000 {
        let sealed = seal(&mut tank.sealer, 5, 6_000);
        assert_eq!(pump.opener.open(sealed, at(6_000)), Ok(report(5)));
    }
    for (point, sealed) in [(1, &first), (2, &second), (3, &third)] {
        assert_eq!(pump.opener.reopen(sealed, scratch, at(7_000)), Ok(report(point)));
    }
}

#[test]
fn a_command_that_outlived_its_deadline_in_a_crash_is_not_delivered_again() {
    let (mut tank, mut pump) = sessions();
    let sealed = tank.sealer.seal(&report(1), Lane::Command, Some(at(2)), at(0)).unwrap();
    let scratch = &mut Vec::new();
    assert_eq!(pump.opener.open_ref(&sealed, scratch, at(1)), Ok(report(1)));
    assert_eq!(pump.opener.reopen(&sealed, scratch, at(2)), Ok(report(1)));
    assert_eq!(pump.opener.reopen(&sealed, scratch, at(3)), Err(SealError::Deadline));
    assert_eq!(pump.opener.acknowledge(0), Ok(()));
}

#[test]
fn only_so_many_envelopes_may_be_in_flight_and_the_next_one_is_not_lost() {
    let (mut tank, mut pump) = sessions();
    let scratch = &mut Vec::new();
    for point in 0..IN_FLIGHT_LIMIT as u16 {
        let sealed = seal(&mut tank.sealer, point, 0);
        assert_eq!(pump.opener.open_ref(&sealed, scratch, at(0)), Ok(report(point)));
    }
    let next = seal(&mut tank.sealer, 99, 0);
    assert_eq!(pump.opener.open_ref(&next, scratch, at(0)), Err(SealError::InFlightFull));
    pump.opener.acknowledge(3).unwrap();
    assert_eq!(pump.opener.open_ref(&next, scratch, at(0)), Ok(report(99)));
    assert_eq!(pump.opener.in_flight(), IN_FLIGHT_LIMIT);
}

/// A message whose deserialization is a bug.
#[derive(PartialEq, Debug, Serialize)]
struct Poison(u8);

impl Content for Poison {
    const CONTENT_TYPE: u16 = 13;
}

impl<'de> Deserialize<'de> for Poison {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a bug in a message's own code")
    }
}

#[test]
fn a_message_that_panics_while_it_is_read_stays_in_flight_for_the_guardian() {
    let (mut tank, mut pump) = sessions();
    let sealed = tank.sealer.seal(&Poison(1), Lane::Durable, None, at(0)).unwrap();
    let opened =
        catch_unwind(AssertUnwindSafe(|| pump.opener.open_ref(&sealed, &mut Vec::new(), at(0))));
    assert!(opened.is_err());
    assert_eq!(pump.opener.in_flight(), 1);
    assert_eq!(pump.opener.acknowledge(0), Ok(()), "set aside");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_alteration_of_any_envelope_is_refused(
        payload in proptest::collection::vec(any::<u8>(), 0..400),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
    ) {
        let (mut tank, mut pump) = sessions();
        let sealed = tank.sealer.seal_bytes(5, &payload, Lane::Alarm, None, at(0)).unwrap();
        let mut bytes = sealed.as_bytes().to_vec();
        for (place, mask) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= mask;
        }
        // Flips may cancel each other; then the envelope is the genuine one.
        let altered = bytes != sealed.as_bytes();
        let opened = Sealed::<[u8]>::from_bytes(bytes)
            .and_then(|sealed| pump.opener.open_bytes(5, sealed, at(0)));
        prop_assert_eq!(opened.is_err(), altered);
        if altered {
            prop_assert_eq!(pump.opener.open_bytes(5, sealed, at(0)), Ok(payload));
        }
    }

    #[test]
    fn in_any_order_and_with_any_repetition_each_message_opens_exactly_once(
        deliveries in proptest::collection::vec(0_usize..60, 1..300),
        border in 1_usize..59,
    ) {
        // 60 messages; from `border` on they are of the next epoch.
        let (mut tank, mut pump) = sessions();
        let sent: Vec<_> = (0..60_u16)
            .map(|n| seal(&mut tank.sealer, n, if usize::from(n) < border { 0 } else { 120 }))
            .collect();
        prop_assert_eq!(sent[59].header().epoch, 1);
        let mut opened = [false; 60];
        for n in deliveries.into_iter().chain(0..60) {
            let expected = if opened[n] {
                Err(SealError::Replay(n as u64))
            } else {
                Ok(report(n as u16))
            };
            prop_assert_eq!(pump.opener.open(copy(&sent[n]), at(130)), expected);
            opened[n] = true;
        }
        prop_assert!(opened.iter().all(|&opened| opened));
    }
}
