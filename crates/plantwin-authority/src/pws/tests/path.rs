//! Who can read, change, hold back and repeat all messages on the path gains nothing.

use std::time::Duration;

use plantwin_seal::{DhKey, Secret};

use super::rig::{BEGIN, FIRST, GATEWAY, PROOF, Plant, SECOND, Thief, ask};
use crate::{
    AuthError, MESSAGE_LIMIT,
    pws::{
        Agent, AgentEvent, Answer, GatewayCert, GatewayCredential, HANDSHAKE_LIFE, Handshake,
        Refusal, Step, TRIES,
        wire::{Message, SUITE},
    },
};

fn failed(handshake: &mut Handshake, answer: &[u8], plant: &Plant) -> AuthError {
    match handshake.on_answer(answer, plant.now()) {
        Step::Failed(error) => {
            plant.assert_refused(&error);
            error
        }
        other => panic!("{other:?}"),
    }
}

fn refused(agent: &mut Agent, question: &[u8], plant: &Plant) -> AuthError {
    match agent.on_exchange(question, plant.now()) {
        Answer::Send { event: Some(AgentEvent::Refused(error)), bytes } => {
            assert!(matches!(Message::decode(&bytes), Ok(Message::Refuse { .. })));
            error
        }
        other => panic!("{other:?}"),
    }
}

/// All messages of a handshake: Begin, First, Second, Proof.
fn recorded(plant: &Plant, agent: &mut Agent) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    plant
        .connect_changed(agent, |_, bytes| {
            all.push(bytes.clone());
            bytes
        })
        .unwrap();
    assert_eq!(all.iter().map(|m| m[4]).collect::<Vec<_>>(), [BEGIN, FIRST, SECOND, PROOF]);
    all
}

/// With the nonce of another message.
fn with_nonce_of(mut message: Vec<u8>, other: &[u8]) -> Vec<u8> {
    message[5..21].copy_from_slice(&other[5..21]);
    message
}

#[test]
fn a_replayed_first_message_is_refused() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let old = recorded(&plant, &mut agent);
    let (mut handshake, begin) = plant.begin();
    assert_eq!(failed(&mut handshake, &old[1], &plant), AuthError::Replayed);
    // Made to look like an answer to the new offer, it does not decrypt.
    let dressed = with_nonce_of(old[1].clone(), &begin);
    assert_eq!(failed(&mut handshake, &dressed, &plant), AuthError::Altered);
    // The true one still succeeds, once.
    let first = ask(&mut agent, &begin, plant.now());
    assert!(matches!(handshake.on_answer(&first, plant.now()), Step::Send(_)));
    assert_eq!(failed(&mut handshake, &first, &plant), AuthError::Replayed);
}

#[test]
fn a_replayed_proof_is_refused() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let old = recorded(&plant, &mut agent);
    let (mut handshake, begin) = plant.begin();
    assert_eq!(failed(&mut handshake, &old[3], &plant), AuthError::Unexpected);
    let first = ask(&mut agent, &begin, plant.now());
    let Step::Send(second) = handshake.on_answer(&first, plant.now()) else { panic!("refused") };
    assert_eq!(failed(&mut handshake, &old[3], &plant), AuthError::Replayed);
    let dressed = with_nonce_of(old[3].clone(), &begin);
    assert_eq!(failed(&mut handshake, &dressed, &plant), AuthError::PskMismatch);
    let proof = ask(&mut agent, &second, plant.now());
    assert!(matches!(handshake.on_answer(&proof, plant.now()), Step::Up(_)));
    assert_eq!(failed(&mut handshake, &proof, &plant), AuthError::HandshakeOver);
}

#[test]
fn a_device_refuses_replayed_second_messages_and_grants() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let public = agent.me.keys.public();
    let old_grant = plant.grant(plant.claims(agent.device(), &public), &public);
    let old = recorded(&plant, &mut agent);
    assert_eq!(ask(&mut agent, &old[2], plant.now()), old[3], "sent twice, answered alike");
    let (mut handshake, begin) = plant.begin();
    let first = ask(&mut agent, &begin, plant.now());
    assert_eq!(refused(&mut agent, &old[2], &plant), AuthError::Replayed);
    let dressed = with_nonce_of(old[2].clone(), &begin);
    assert_eq!(refused(&mut agent, &dressed, &plant), AuthError::PskMismatch);
    assert_eq!(agent.take(&old_grant, plant.now()), Err(AuthError::Replayed));
    // None of it disturbed the handshake.
    let Step::Send(second) = handshake.on_answer(&first, plant.now()) else { panic!("refused") };
    let proof = ask(&mut agent, &second, plant.now());
    assert!(matches!(handshake.on_answer(&proof, plant.now()), Step::Up(_)));
}

#[test]
fn a_replayed_begin_brings_nobody_a_session() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let old = recorded(&plant, &mut agent);
    let mut session = plant.connect(&mut agent).unwrap();
    plant.wait(Duration::from_secs(1));
    // The device answers, as it must: the offer is genuine. The rest of the recording is not.
    let first = ask(&mut agent, &old[0], plant.now());
    assert_eq!(first[4], FIRST);
    assert_ne!(first, old[1]);
    assert_eq!(refused(&mut agent, &old[2], &plant), AuthError::PskMismatch);
    let lane = plantwin_seal::Lane::Latest;
    let envelope = agent.seal_telemetry(lane, b"still here", plant.now()).unwrap();
    assert!(session.open_telemetry(&envelope, plant.now()).is_ok());
}

#[test]
fn no_version_but_the_one_offered_is_agreed_on() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    for version in [0, 2, 255] {
        let (mut handshake, mut begin) = plant.begin();
        begin[3] = version;
        let Answer::Send { bytes, event } = agent.on_exchange(&begin, plant.now()) else {
            panic!("a request")
        };
        assert_eq!(event, Some(AgentEvent::Refused(AuthError::Version(version))));
        assert_eq!(failed(&mut handshake, &bytes, &plant), AuthError::Downgraded);
        // The answer's version changed, on its frame or where the device repeats what it saw.
        for place in [3, 21] {
            let error = plant.connect_changed(&mut agent, |kind, mut bytes| {
                if kind == FIRST {
                    bytes[place] = version;
                }
                bytes
            });
            assert_eq!(error.unwrap_err(), AuthError::Downgraded);
        }
    }
    assert!(plant.connect(&mut agent).is_ok());
}

#[test]
fn no_suite_but_the_best_common_one_is_agreed_on() {
    // Where the suites stand: Begin has nonce and session before them, First nonce and version.
    const IN_BEGIN: usize = 5 + 16 + 8;
    const IN_FIRST: usize = 5 + 16 + 1;
    fn offering(bytes: &[u8], at: usize, suites: &[u16]) -> Vec<u8> {
        let mut out = bytes[..at].to_vec();
        out.push(suites.len() as u8);
        out.extend(suites.iter().flat_map(|suite| suite.to_le_bytes()));
        out.extend(&bytes[at + 1 + 2 * usize::from(bytes[at])..]);
        out
    }
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    for suites in [&[][..], &[0], &[2], &[SUITE, 2], &[2, SUITE]] {
        let error = plant.connect_changed(&mut agent, |kind, bytes| match kind {
            BEGIN => offering(&bytes, IN_BEGIN, suites),
            _ => bytes,
        });
        assert_eq!(error.unwrap_err(), AuthError::Downgraded, "{suites:?}");
        plant.assert_refused(&AuthError::Downgraded);
        if !suites.contains(&SUITE) {
            continue;
        }
        // Who also mends the echo is found by the handshake itself.
        let error = plant.connect_changed(&mut agent, |kind, bytes| match kind {
            BEGIN => offering(&bytes, IN_BEGIN, suites),
            FIRST => offering(&bytes, IN_FIRST, &[SUITE]),
            _ => bytes,
        });
        assert_eq!(error.unwrap_err(), AuthError::Altered, "{suites:?}");
    }
    // The choice stands encrypted in the first message: nobody but the device can make it.
    let thief = Thief { suite: 2, ..Thief::of(&agent) };
    assert_eq!(plant.attack(&thief), AuthError::Downgraded);
}

#[test]
fn our_own_messages_sent_back_are_refused_on_both_sides() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let (mut handshake, begin) = plant.begin();
    assert_eq!(failed(&mut handshake, &begin, &plant), AuthError::Reflected);
    let first = ask(&mut agent, &begin, plant.now());
    assert_eq!(refused(&mut agent, &first, &plant), AuthError::Reflected);
    let Step::Send(second) = handshake.on_answer(&first, plant.now()) else { panic!("refused") };
    assert_eq!(failed(&mut handshake, &second, &plant), AuthError::Reflected);
    let proof = ask(&mut agent, &second, plant.now());
    assert_eq!(refused(&mut agent, &proof, &plant), AuthError::Reflected);
    assert!(matches!(handshake.on_answer(&proof, plant.now()), Step::Up(_)));
}

#[test]
fn a_stranger_cannot_pose_as_the_gateway() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    // With a certificate of another plant's authority, of nobody, and one that is over.
    let other = Plant::new();
    let (_, begin) = other.begin();
    plant.wait(Duration::from_secs(1));
    assert_eq!(refused(&mut agent, &begin, &plant), AuthError::GatewayForged);
    let own = GatewayCert {
        gateway: GATEWAY.into(),
        dh: DhKey::generate().unwrap().public(),
        not_after: plant.now(),
    };
    let issuer = &plant.issuer;
    let late = own.sign(&issuer.key, &issuer.cert).unwrap();
    let (_, genuine) = plant.begin();
    let with_certificate = |certificate: &[u8]| {
        let Ok(Message::Begin(mut begin)) = Message::decode(&genuine) else { panic!("no begin") };
        begin.certificate = certificate.to_vec();
        Message::Begin(begin).encode().unwrap()
    };
    let begin = with_certificate(&late);
    assert_eq!(refused(&mut agent, &begin, &plant), AuthError::GatewayExpired);
    assert_eq!(refused(&mut agent, &with_certificate(&[]), &plant), AuthError::GatewayForged);
    // A token is no certificate.
    let token = agent.grant.clone().unwrap().token;
    assert_eq!(refused(&mut agent, &with_certificate(&token), &plant), AuthError::GatewayForged);

    // With the true certificate, but not its key: it can neither read the answer nor go on.
    let (_, begin) = plant.begin();
    let first = ask(&mut agent, &begin, plant.now());
    let thief = GatewayCredential {
        dh: DhKey::generate().unwrap(),
        certificate: plant.credential.certificate.clone(),
        secret: plant.credential.secret.clone(),
    };
    let adopted = plant.gateway.adopt(thief.clone(), plant.now());
    assert_eq!(adopted, Err(AuthError::WrongKey));
    let Ok(Message::First(message)) = Message::decode(&first) else { panic!("no first") };
    let prologue = crate::pws::wire::prologue(GATEWAY, &[SUITE], &begin);
    assert!(plantwin_seal::noise::Responder::read(&thief.dh, &prologue, &message.noise).is_err());
    let nonce = message.nonce;
    let made_up = Message::Second { nonce, noise: vec![7; 80] }.encode().unwrap();
    assert_eq!(refused(&mut agent, &made_up, &plant), AuthError::PskMismatch);
    assert!(!agent.is_up(plant.now()));
}

#[test]
fn a_gateway_with_the_key_but_not_the_secret_gets_no_session() {
    // The certificate's key alone does not do either: the token's secret is missing.
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let credential =
        GatewayCredential { secret: Secret::random().unwrap(), ..plant.credential.clone() };
    plant.gateway.adopt(credential, plant.now()).unwrap();
    let (mut handshake, begin) = plant.begin();
    let first = ask(&mut agent, &begin, plant.now());
    let Step::Send(second) = handshake.on_answer(&first, plant.now()) else { panic!("refused") };
    assert_eq!(refused(&mut agent, &second, &plant), AuthError::PskMismatch);
    assert!(!agent.is_up(plant.now()));
}

#[test]
fn a_gateway_cannot_make_two_others_share_a_session_unknowingly() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    // Another gateway of the same plant passes our offer on under its own name.
    let other = plant.issuer.credential("yard");
    let (mut handshake, begin) = plant.begin();
    let Ok(Message::Begin(mut offer)) = Message::decode(&begin) else { panic!("no begin") };
    offer.certificate = other.certificate.clone();
    let swapped = Message::Begin(offer).encode().unwrap();
    let need = ask(&mut agent, &swapped, plant.now());
    let Ok(Message::NeedToken(request)) = Message::decode(&need) else { panic!("{need:?}") };
    assert_eq!(request.gateway, "yard", "the device asks for a token for whom it speaks with");
    assert_eq!(failed(&mut handshake, &need, &plant), AuthError::WrongAudience);
    // It gets that token granted, for itself. The device then speaks with it, and what it says
    // is of no use with us.
    let public = agent.me.keys.public();
    let mut claims = plant.claims(agent.device(), &public);
    claims.gateway = "yard".into();
    let issuer = &plant.issuer;
    let token = crate::pws::PwsToken::issue(&issuer.key, &issuer.cert, claims).unwrap();
    let grant =
        crate::pws::Grant::make(&token, &other.secret, &public.dh, &other.certificate).unwrap();
    let first = ask(&mut agent, &Message::Granted(grant).encode().unwrap(), plant.now());
    assert_eq!(first[4], FIRST);
    assert_eq!(failed(&mut handshake, &first, &plant), AuthError::Altered);
}

#[test]
fn a_grant_for_another_gateway_than_its_certificate_names_is_refused() {
    let plant = Plant::new();
    let mut agent = Agent::new(plant.identity("tank1"));
    let public = agent.me.keys.public();
    let mut grant = plant.grant(plant.claims(agent.device(), &public), &public);
    grant.gateway = plant.issuer.credential("yard").certificate;
    assert_eq!(agent.take(&grant, plant.now()), Err(AuthError::WrongAudience));
    // Nor one of another device, zone or key, nor with the secret of another token.
    let other = plant.identity("tank1").keys.public();
    let theirs = plant.grant(plant.claims(agent.device(), &other), &other);
    assert_eq!(agent.take(&theirs, plant.now()), Err(AuthError::WrongKey));
    let tank2 = plant.grant(plant.claims(&"tank2".into(), &public), &public);
    assert_eq!(agent.take(&tank2, plant.now()), Err(AuthError::WrongDevice("tank2".into())));
    let mut claims = plant.claims(agent.device(), &public);
    claims.zone = "control".into();
    assert_eq!(agent.take(&plant.grant(claims, &public), plant.now()), Err(AuthError::WrongZone));
    let good = plant.grant(plant.claims(agent.device(), &public), &public);
    let mut mixed = plant.grant(plant.claims(agent.device(), &public), &public);
    mixed.sealed_psk.clone_from(&good.sealed_psk);
    assert_eq!(agent.take(&mixed, plant.now()), Err(AuthError::PskMismatch));
    assert!(agent.take(&good, plant.now()).is_ok());
}

#[test]
fn a_handshake_ends_by_time_and_by_failures() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let (mut handshake, begin) = plant.begin();
    let first = ask(&mut agent, &begin, plant.now());
    plant.wait(HANDSHAKE_LIFE + Duration::from_nanos(1));
    assert_eq!(failed(&mut handshake, &first, &plant), AuthError::HandshakeOver);
    assert_eq!(plant.gateway.counts().half_open, 0, "though it was not dropped");

    let (mut handshake, begin) = plant.begin();
    for _ in 0..TRIES {
        let error = failed(&mut handshake, b"PWS\x01\x81", &plant);
        assert_eq!(error, AuthError::Malformed("the message is too short"));
    }
    let first = ask(&mut agent, &begin, plant.now());
    assert_eq!(failed(&mut handshake, &first, &plant), AuthError::HandshakeOver);
}

#[test]
fn nothing_is_left_of_a_handshake_that_was_dropped_at_any_point() {
    let plant = Plant::new();
    for stage in 0..4 {
        let mut agent = plant.agent("tank1");
        let held = plant.gateway.counts().half_open;
        assert_eq!(held, 0);
        let (mut handshake, begin) = plant.begin();
        assert_eq!(plant.gateway.counts().half_open, 1);
        let mut up = None;
        if stage > 0 {
            let first = ask(&mut agent, &begin, plant.now());
            if stage > 1 {
                let Step::Send(second) = handshake.on_answer(&first, plant.now()) else {
                    panic!("refused")
                };
                if stage > 2 {
                    let proof = ask(&mut agent, &second, plant.now());
                    let Step::Up(session) = handshake.on_answer(&proof, plant.now()) else {
                        panic!("refused")
                    };
                    assert_eq!(plant.gateway.counts().half_open, 0, "a session is no handshake");
                    up = Some(session);
                }
            }
        }
        drop(handshake);
        assert_eq!(plant.gateway.counts().half_open, 0, "stage {stage}");
        assert_eq!(plant.gateway.sessions(), usize::from(stage == 3));
        assert_eq!(agent.is_up(plant.now()), stage == 3);
        drop(up);
        assert_eq!(plant.gateway.sessions(), 0);
    }
    assert_eq!(std::sync::Arc::strong_count(&plant.gateway), 1, "nobody else holds the gateway");
}

#[test]
fn what_is_no_message_is_refused_by_both_sides() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let (mut handshake, _) = plant.begin();
    let long = vec![b'x'; MESSAGE_LIMIT + 1];
    let kind = b"PWS\x01\x40";
    for bad in [&b""[..], b"PWS", b"PWS\x01", b"PWCH\x01", kind, &long] {
        let error = failed(&mut handshake, bad, &plant);
        assert!(matches!(error, AuthError::Malformed(_)), "{error:?}");
        let error = refused(&mut agent, bad, &plant);
        assert!(matches!(error, AuthError::Malformed(_)), "{error:?}");
    }
}

#[test]
fn what_a_device_refuses_is_told_by_its_reason() {
    let plant = Plant::new();
    let (mut handshake, _) = plant.begin();
    let refuse = |why| Message::Refuse { seen: 1, why }.encode().unwrap();
    let error = failed(&mut handshake, &refuse(Refusal::Gateway), &plant);
    assert_eq!(error, AuthError::RefusedByDevice(Refusal::Gateway));
    assert!(error.to_string().ends_with("it does not trust this gateway"), "{error}");
}

#[test]
fn a_device_asks_for_a_new_token_when_its_own_leads_nowhere() {
    // The gateway got a new secret, so that the secrets of all tokens changed.
    let mut plant = Plant::new();
    let mut agent = plant.agent("tank1");
    plant.credential.secret = Secret::random().unwrap();
    plant.gateway.adopt(plant.credential.clone(), plant.now()).unwrap();
    for _ in 0..2 {
        let error = plant.connect(&mut agent).unwrap_err();
        assert_eq!(error, AuthError::RefusedByDevice(Refusal::Handshake));
    }
    assert!(plant.connect(&mut agent).is_ok(), "the third time it asks for a token");
}
