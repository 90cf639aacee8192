//! The handshake and those who attack it.

use super::*;
use crate::{
    KeyDistributor,
    testing::{PUMP, TANK, at, report, seal},
};

const MALLORY: PartyId = PartyId(0x6666);

fn secret() -> Secret {
    Secret::new([0x42; 32])
}

/// All four messages and states of a handshake that nobody disturbed up to the answer.
fn halfway() -> (Initiator, Hello, Responder, Answer) {
    let (initiator, hello) = Initiator::start(&secret(), TANK, PUMP).unwrap();
    let (responder, answer) = Responder::answer(&secret(), PUMP, &hello).unwrap();
    (initiator, hello, responder, answer)
}

#[test]
fn both_ends_agree_and_can_talk_in_both_directions() {
    let (initiator, hello, responder, answer) = halfway();
    assert_eq!(hello.initiator(), TANK);
    let (mut tank, confirm) = initiator.finish(&answer, at(0)).unwrap();
    let mut pump = responder.finish(&confirm, at(0)).unwrap();
    assert_eq!(tank.sealer.session(), pump.opener.session());
    assert_eq!((tank.sealer.peer(), pump.sealer.peer()), (PUMP, TANK));
    let there = seal(&mut tank.sealer, 1, 0);
    assert_eq!(pump.opener.open(there, at(0)), Ok(report(1)));
    let back = seal(&mut pump.sealer, 2, 0);
    assert_eq!(tank.opener.open(back, at(0)), Ok(report(2)));
}

#[test]
fn a_wrong_secret_fails_on_either_side() {
    let (initiator, hello, _, _) = halfway();
    let wrong = Secret::new([0x43; 32]);
    let (_, answer) = Responder::answer(&wrong, PUMP, &hello).unwrap();
    assert_eq!(initiator.finish(&answer, at(0)).err(), Some(SealError::Handshake));

    let (_, hello) = Initiator::start(&wrong, TANK, PUMP).unwrap();
    let (responder, answer) = Responder::answer(&secret(), PUMP, &hello).unwrap();
    // The impostor cannot check the answer, but can still try to confirm it.
    let schedule = Schedule::new(&wrong, TANK, PUMP, &hello.nonce, &answer.nonce);
    let confirm = Confirm { proof: schedule.proof(INITIATOR) };
    assert_eq!(responder.finish(&confirm, at(0)).err(), Some(SealError::Handshake));
}

#[test]
fn ids_are_bound_to_their_roles() {
    // Same secret, but the responder takes itself, or the caller, for somebody else.
    for (me, caller) in [(MALLORY, TANK), (PUMP, MALLORY), (TANK, PUMP)] {
        let (initiator, mut hello, _, _) = halfway();
        hello.initiator = caller;
        let (_, answer) = Responder::answer(&secret(), me, &hello).unwrap();
        let error = initiator.finish(&answer, at(0)).err();
        assert_eq!(error, Some(SealError::Handshake), "{me:?} {caller:?}");
    }
}

#[test]
fn every_flipped_bit_of_every_message_makes_the_handshake_fail() {
    let refused = Some(SealError::Handshake);
    for bit in 0..256 {
        let flip = |bytes: &mut [u8; 32]| bytes[bit / 8] ^= 1 << (bit % 8);

        let (initiator, mut hello, _, _) = halfway();
        flip(&mut hello.nonce);
        let (_, answer) = Responder::answer(&secret(), PUMP, &hello).unwrap();
        assert_eq!(initiator.finish(&answer, at(0)).err(), refused);

        let (initiator, _, _, mut answer) = halfway();
        flip(&mut answer.nonce);
        assert_eq!(initiator.finish(&answer, at(0)).err(), refused);

        let (initiator, _, _, mut answer) = halfway();
        flip(&mut answer.proof);
        assert_eq!(initiator.finish(&answer, at(0)).err(), refused);

        let (initiator, _, responder, answer) = halfway();
        let (_, mut confirm) = initiator.finish(&answer, at(0)).unwrap();
        flip(&mut confirm.proof);
        assert_eq!(responder.finish(&confirm, at(0)).err(), refused);
    }
}

#[test]
fn reflected_messages_prove_nothing() {
    let refused = Some(SealError::Handshake);
    // The initiator's own hello comes back to it as if from a caller.
    let (_, hello) = Initiator::start(&secret(), TANK, PUMP).unwrap();
    assert_eq!(Responder::answer(&secret(), TANK, &hello).err(), refused);
    // The responder's own proof comes back to it as a confirmation.
    let (_, _, responder, answer) = halfway();
    let confirm = Confirm { proof: answer.proof };
    assert_eq!(responder.finish(&confirm, at(0)).err(), refused);
    // The pump calls back at the same time; its answer to one is used for the other.
    let (tank, tank_hello) = Initiator::start(&secret(), TANK, PUMP).unwrap();
    let (_, pump_hello) = Initiator::start(&secret(), PUMP, TANK).unwrap();
    let (_, by_tank) = Responder::answer(&secret(), TANK, &pump_hello).unwrap();
    assert_eq!(tank.finish(&by_tank, at(0)).err(), refused);
    assert_ne!(tank_hello, pump_hello);
}

#[test]
fn messages_of_an_earlier_handshake_are_worthless() {
    let (initiator, hello, _, answer) = halfway();
    let (_, confirm) = initiator.finish(&answer, at(0)).unwrap();
    // Replayed hello: the responder answers, but the old confirmation does not fit its new nonce.
    let (responder, _) = Responder::answer(&secret(), PUMP, &hello).unwrap();
    assert_eq!(responder.finish(&confirm, at(0)).err(), Some(SealError::Handshake));
    // Replayed answer: it does not fit the new hello.
    let (initiator, _) = Initiator::start(&secret(), TANK, PUMP).unwrap();
    assert_eq!(initiator.finish(&answer, at(0)).err(), Some(SealError::Handshake));
}

#[test]
fn each_session_has_keys_of_its_own_and_so_has_each_direction() {
    let mut keys = std::collections::HashSet::new();
    for _ in 0..50 {
        let schedule = Schedule::new(
            &secret(),
            TANK,
            PUMP,
            &random_bytes().unwrap(),
            &random_bytes().unwrap(),
        );
        assert!(keys.insert(*schedule.to_responder.key.expose()));
        assert!(keys.insert(*schedule.to_initiator.key.expose()));
        assert!(keys.insert(*schedule.confirmation.expose()));
        assert_ne!(schedule.to_responder.iv.nonce(0), schedule.to_initiator.iv.nonce(0));
    }
}

#[test]
fn nobody_talks_to_itself() {
    let refused = Some(SealError::Handshake);
    assert_eq!(Initiator::start(&secret(), TANK, TANK).err(), refused);
    assert_eq!(Session::pair(&secret(), TANK, TANK, at(0)).err(), refused);
}

#[test]
fn a_pair_has_one_secret_that_no_other_pair_and_no_other_boot_has() {
    let keys = KeyDistributor::new().unwrap();
    let pair = keys.pair_secret(TANK, PUMP);
    assert_eq!(pair.expose(), keys.pair_secret(PUMP, TANK).expose());
    assert_ne!(pair.expose(), keys.pair_secret(TANK, MALLORY).expose());
    assert_ne!(pair.expose(), KeyDistributor::new().unwrap().pair_secret(TANK, PUMP).expose());
    assert_eq!(format!("{keys:?}"), "KeyDistributor { root: Secret(..) }");
}

#[test]
fn handshake_messages_survive_a_wire() {
    let (initiator, hello, responder, answer) = halfway();
    let wire = postcard::to_stdvec(&hello).unwrap();
    assert_eq!(postcard::from_bytes::<Hello>(&wire), Ok(hello));
    let wire = postcard::to_stdvec(&answer).unwrap();
    let (_, confirm) = initiator.finish(&postcard::from_bytes(&wire).unwrap(), at(0)).unwrap();
    let wire = postcard::to_stdvec(&confirm).unwrap();
    assert!(responder.finish(&postcard::from_bytes(&wire).unwrap(), at(0)).is_ok());
}
