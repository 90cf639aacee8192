//! Any flipped bit of any message is refused, and the true message still succeeds after it.

use plantwin_seal::SigningKey;
use proptest::prelude::*;

use super::rig::{GATEWAY, Plant, ask};
use crate::pws::{
    Agent, AgentEvent, Answer, AuthorityNeed, GatewayCert, IssuerCert, PwsToken, RevocationList,
    Step, Voucher, wire::Message,
};

fn flipped(bytes: &[u8], at: prop::sample::Index, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    bytes
}

fn is_refused(agent: &mut Agent, question: &[u8], plant: &Plant) -> bool {
    matches!(
        agent.on_exchange(question, plant.now()),
        Answer::Send { event: Some(AgentEvent::Refused(_)), .. }
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_handshake_survives_every_flipped_bit_and_believes_none(
        message in 0..4_usize, at in any::<prop::sample::Index>(), bit in 0_u8..8
    ) {
        let plant = Plant::with_root(SigningKey::from_seed(&[7; 32]));
        let mut agent = plant.agent("tank1");
        let now = || plant.now();
        let (mut handshake, begin) = plant.begin();
        if message == 0 {
            // What the device makes of it, the gateway refuses.
            let answer = ask(&mut agent, &flipped(&begin, at, bit), now());
            let step = handshake.on_answer(&answer, now());
            prop_assert!(matches!(step, Step::Failed(_)), "{:?}", step);
        }
        let first = ask(&mut agent, &begin, now());
        if message == 1 {
            let step = handshake.on_answer(&flipped(&first, at, bit), now());
            prop_assert!(matches!(step, Step::Failed(_)), "{:?}", step);
        }
        let Step::Send(second) = handshake.on_answer(&first, now()) else { panic!("refused") };
        if message == 2 {
            prop_assert!(is_refused(&mut agent, &flipped(&second, at, bit), &plant));
            prop_assert!(!agent.is_up(now()));
        }
        let proof = ask(&mut agent, &second, now());
        if message == 3 {
            let step = handshake.on_answer(&flipped(&proof, at, bit), now());
            prop_assert!(matches!(step, Step::Failed(_)), "{:?}", step);
            prop_assert_eq!(plant.gateway.sessions(), 0);
        }
        let Step::Up(mut session) = handshake.on_answer(&proof, now()) else { panic!("refused") };
        let lane = plantwin_seal::Lane::Durable;
        let envelope = agent.seal_telemetry(lane, b"12.4 cm", now()).unwrap();
        prop_assert!(session.open_telemetry(&flipped(&envelope, at, bit), now()).is_err());
        prop_assert_eq!(session.open_telemetry(&envelope, now()).unwrap().payload, b"12.4 cm");
    }

    #[test]
    fn a_token_is_neither_asked_for_nor_granted_with_a_flipped_bit(
        at in any::<prop::sample::Index>(), bit in 0_u8..8
    ) {
        let plant = Plant::with_root(SigningKey::from_seed(&[7; 32]));
        let mut agent = Agent::new(plant.identity("tank1"));
        let public = agent.me.keys.public();
        let (mut handshake, begin) = plant.begin();
        let need = ask(&mut agent, &begin, plant.now());
        match handshake.on_answer(&flipped(&need, at, bit), plant.now()) {
            Step::Failed(_) => {}
            Step::Ask(AuthorityNeed::Token(request)) => {
                prop_assert!(request.verify(&public, GATEWAY, plant.now()).is_err());
            }
            other => panic!("{other:?}"),
        }
        let step = handshake.on_answer(&need, plant.now());
        let Step::Ask(AuthorityNeed::Token(request)) = step else { panic!("{step:?}") };
        prop_assert_eq!(request.verify(&public, GATEWAY, plant.now()), Ok(()));
        let grant = plant.grant(plant.claims(&request.device, &public), &public);
        let granted = handshake.granted(grant).unwrap();
        prop_assert!(is_refused(&mut agent, &flipped(&granted, at, bit), &plant));
        prop_assert_eq!(agent.token_expires(), None);
        let first = ask(&mut agent, &granted, plant.now());
        prop_assert!(matches!(handshake.on_answer(&first, plant.now()), Step::Send(_)));
    }

    #[test]
    fn enrolment_with_a_flipped_bit_proves_nothing(
        at in any::<prop::sample::Index>(), bit in 0_u8..8
    ) {
        let plant = Plant::with_root(SigningKey::from_seed(&[7; 32]));
        let mut identity = plant.identity("tank1");
        let voucher = Voucher::from_code(&[9; 16]);
        identity.voucher = Some(voucher.clone());
        let mut agent = Agent::new(identity);
        let (mut handshake, begin) = plant.begin();
        let asks = ask(&mut agent, &begin, plant.now());
        match handshake.on_answer(&flipped(&asks, at, bit), plant.now()) {
            Step::Failed(_) => {}
            Step::Ask(AuthorityNeed::Enrol(request)) => {
                prop_assert!(request.verify(&voucher.secret).is_err()
                    || request.voucher_id != voucher.id);
            }
            other => panic!("{other:?}"),
        }
        let step = handshake.on_answer(&asks, plant.now());
        let Step::Ask(AuthorityNeed::Enrol(request)) = step else { panic!("{step:?}") };
        prop_assert_eq!(request.verify(&voucher.secret), Ok(()));
    }

    #[test]
    fn nothing_that_is_signed_survives_a_flipped_bit(
        at in any::<prop::sample::Index>(), bit in 0_u8..8
    ) {
        let plant = Plant::with_root(SigningKey::from_seed(&[7; 32]));
        let (root, now) = (plant.issuer.root.verifying_key(), plant.now());
        let agent = plant.agent("tank1");
        let token = agent.grant.clone().unwrap().token;
        prop_assert!(PwsToken::verify(&root, &token, now).is_ok());
        prop_assert!(PwsToken::verify(&root, &flipped(&token, at, bit), now).is_err());
        let cert = &plant.issuer.cert;
        prop_assert!(IssuerCert::verify(&root, cert, now).is_ok());
        prop_assert!(IssuerCert::verify(&root, &flipped(cert, at, bit), now).is_err());
        let gateway = &plant.credential.certificate;
        prop_assert!(GatewayCert::verify(&root, gateway, now).is_ok());
        prop_assert!(GatewayCert::verify(&root, &flipped(gateway, at, bit), now).is_err());
        let list = RevocationList { serial: 1, issued: now, revoked: [[1; 32]].into() };
        let list = list.sign(&plant.issuer.key, cert).unwrap();
        prop_assert!(RevocationList::verify(&root, &list, now).is_ok());
        prop_assert!(RevocationList::verify(&root, &flipped(&list, at, bit), now).is_err());
    }

    #[test]
    fn foreign_bytes_panic_nobody_and_begin_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..400), kind in any::<u8>()
    ) {
        let plant = Plant::with_root(SigningKey::from_seed(&[7; 32]));
        let mut agent = plant.agent("tank1");
        let (mut handshake, _) = plant.begin();
        for message in [bytes.clone(), [&b"PWS\x01"[..], &[kind], &bytes].concat()] {
            let step = handshake.on_answer(&message, plant.now());
            prop_assert!(!matches!(step, Step::Up(_) | Step::Send(_)));
            ask(&mut agent, &message, plant.now());
            if let Ok(message) = Message::decode(&message) {
                prop_assert!(message.encode().is_ok());
            }
        }
        prop_assert!(!agent.is_up(plant.now()));
        prop_assert_eq!(plant.gateway.sessions(), 0);
    }
}
