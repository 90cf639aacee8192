//! Neither factor is worth anything alone, nor is one that is old, forged or somebody else's.

use std::{sync::Arc, time::Duration};

use plantwin_model::AuditResult;
use plantwin_seal::{Secret, SigningKey};

use super::rig::{Plant, START, Thief, ask};
use crate::{
    AuthError, CLOCK_SKEW, TOKEN_LIFE,
    pws::{Agent, Answer, DeviceKeys, Purpose, RevocationList, Step, TokenClaims, Withheld, cert},
};

#[test]
fn keys_and_token_together_open_a_session() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    assert_eq!(session.device().as_str(), "tank1");
    assert_eq!(session.claims().caps, [3; 32]);
    assert_eq!((plant.gateway.counts().half_open, plant.gateway.sessions()), (0, 1));
    let last = plant.log.last();
    assert_eq!((last.result, &*last.actor), (AuditResult::Done, "device:tank1"));
    let envelope =
        agent.seal_telemetry(plantwin_seal::Lane::Latest, b"12.4 cm", plant.now()).unwrap();
    assert_eq!(session.open_telemetry(&envelope, plant.now()).unwrap().payload, b"12.4 cm");
    drop(session);
    assert_eq!(plant.gateway.sessions(), 0);
}

#[test]
fn who_has_everything_is_the_device() {
    // The control of all attacks below: the thief's tools work.
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    let thief = Thief::of(&agent);
    let (mut handshake, begin) = plant.begin();
    let (mut noise, first) = thief.first(&begin);
    let Step::Send(second) = handshake.on_answer(&first, plant.now()) else { panic!("refused") };
    let proof = thief.proof(&mut noise, &second, plant.now());
    assert!(matches!(handshake.on_answer(&proof, plant.now()), Step::Up(_)));
}

#[test]
fn a_stolen_token_with_its_secret_is_worth_nothing_without_the_keys() {
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    let own = DeviceKeys::generate().unwrap();
    let stolen = Thief::of(&agent);
    // With keys of its own, named as such.
    let thief = Thief { keys: own.clone(), claimed: own.public(), ..Thief::of(&agent) };
    assert_eq!(plant.attack(&thief), AuthError::WrongKey);
    // With keys of its own, naming the device's.
    let thief = Thief { keys: own.clone(), ..Thief::of(&agent) };
    assert_eq!(plant.attack(&thief), AuthError::WrongKey);
    // With one of the two keys.
    let keys = DeviceKeys { dh: own.dh.clone(), ..stolen.keys.clone() };
    assert_eq!(plant.attack(&Thief { keys, ..Thief::of(&agent) }), AuthError::WrongKey);
    let keys = DeviceKeys { sign: own.sign, ..stolen.keys };
    let claimed = keys.public();
    let thief = Thief { keys: keys.clone(), claimed, ..Thief::of(&agent) };
    assert_eq!(plant.attack(&thief), AuthError::WrongKey);
    // And naming the signing key that it does not have.
    assert_eq!(plant.attack(&Thief { keys, ..Thief::of(&agent) }), AuthError::NoPossession);
}

#[test]
fn the_keys_are_worth_nothing_without_a_token() {
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    let thief = Thief { token: Vec::new(), ..Thief::of(&agent) };
    assert_eq!(plant.attack(&thief), AuthError::NoToken);
    // Nor with a token that was read somewhere, without the secret that belongs to it.
    let thief = Thief { psk: Secret::random().unwrap(), ..Thief::of(&agent) };
    assert_eq!(plant.attack(&thief), AuthError::PskMismatch);

    // An honest device says so itself.
    let mut agent = Agent::new(plant.identity("tank1"));
    let (mut handshake, begin) = plant.begin();
    let need = ask(&mut agent, &begin, plant.now());
    assert!(matches!(handshake.on_answer(&need, plant.now()), Step::Ask(_)));
    for why in [Withheld::Refused, Withheld::Away] {
        let answer = ask(&mut agent, &handshake.withheld(why).unwrap(), plant.now());
        let Step::Failed(error) = handshake.on_answer(&answer, plant.now()) else { panic!() };
        assert_eq!(error.reason_code(), "refused_by_device");
        plant.assert_refused(&error);
    }
    assert!(!agent.is_up(plant.now()));
}

#[test]
fn the_token_of_another_device_is_refused() {
    let plant = Plant::new();
    let (agent, mut other) = (plant.agent("tank1"), plant.agent("tank2"));
    let wrong = AuthError::WrongDevice("tank2".into());
    // Its holder in tank1's place, with everything that tank2 has.
    assert_eq!(plant.attack(&Thief::of(&other)), wrong);
    // Tank1's keys with tank2's token and secret.
    let thief = Thief { keys: agent.me.keys.clone(), ..Thief::of(&other) };
    assert_eq!(plant.attack(&thief), wrong);
    let error = plant.connect(&mut other).unwrap_err();
    assert_eq!(error, wrong);
    plant.assert_refused(&error);
    // A second device with the same keys is tank1 with a token for another name.
    let mut twin = Agent::new(plant.identity("tank2"));
    twin.me.keys = agent.me.keys;
    plant.renew(&mut twin);
    assert_eq!(plant.connect(&mut twin).unwrap_err(), wrong);
}

#[test]
fn a_token_for_another_zone_or_another_gateway_is_refused() {
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    let try_with = |change: fn(&mut TokenClaims)| {
        let public = agent.me.keys.public();
        let mut claims = plant.claims(agent.device(), &public);
        change(&mut claims);
        let psk = crate::pws::token_psk(&plant.credential.secret, &claims.token_id, &claims.cnf);
        let token = plant.grant(claims, &public).token;
        plant.attack(&Thief { token, psk, ..Thief::of(&agent) })
    };
    assert_eq!(try_with(|claims| claims.zone = "control".into()), AuthError::WrongZone);
    assert_eq!(try_with(|claims| claims.gateway = "yard".into()), AuthError::WrongAudience);
    assert_eq!(try_with(|claims| claims.cnf = [0; 32]), AuthError::WrongKey);
}

#[test]
fn a_token_is_refused_from_the_moment_it_expires() {
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    let thief = Thief::of(&agent);
    plant.wait(TOKEN_LIFE.saturating_sub(Duration::from_secs(2)));
    let (mut handshake, begin) = plant.begin();
    let step = handshake.on_answer(&thief.first(&begin).1, plant.now());
    assert!(matches!(step, Step::Send(_)), "a second before: {step:?}");
    drop(handshake);
    // `attack` lets a second pass.
    assert_eq!(plant.attack(&Thief::of(&agent)), AuthError::Expired);
}

#[test]
fn a_token_of_the_future_and_one_that_lives_too_long_are_refused() {
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    let try_with = |change: &dyn Fn(&mut TokenClaims)| {
        let mut claims = plant.claims(agent.device(), &agent.me.keys.public());
        change(&mut claims);
        let issuer = &plant.issuer;
        let token = cert::sign(b"plantwin v1 session token", &issuer.key, &issuer.cert, &claims);
        plant.attack(&Thief { token: token.unwrap(), ..Thief::of(&agent) })
    };
    let ahead = CLOCK_SKEW + Duration::from_secs(2);
    let early = |claims: &mut TokenClaims| claims.issued = claims.issued.plus(ahead);
    assert_eq!(try_with(&early), AuthError::NotYetValid);
    let long = |claims: &mut TokenClaims| claims.expires = claims.expires.plus(ahead);
    assert_eq!(try_with(&long), AuthError::LifeTooLong);
    let inside_out = |claims: &mut TokenClaims| claims.expires = START;
    assert_eq!(try_with(&inside_out), AuthError::Expired);
    let ours = PwsTokenOf::longer(&plant, &agent);
    assert_eq!(ours, AuthError::LifeTooLong, "an issuer does not even sign it");
}

/// An issuer that is asked for too much.
struct PwsTokenOf;

impl PwsTokenOf {
    fn longer(plant: &Plant, agent: &Agent) -> AuthError {
        let mut claims = plant.claims(agent.device(), &agent.me.keys.public());
        claims.expires = claims.expires.plus(Duration::from_nanos(1));
        let issuer = &plant.issuer;
        crate::pws::PwsToken::issue(&issuer.key, &issuer.cert, claims).unwrap_err()
    }
}

#[test]
fn a_forged_token_is_refused() {
    let plant = Plant::new();
    let agent = plant.agent("tank1");
    let claims = || plant.claims(agent.device(), &agent.me.keys.public());
    let forge = |token: Vec<u8>| plant.attack(&Thief { token, ..Thief::of(&agent) });
    // By an issuer that the root of another plant signed.
    let other = Plant::new();
    assert_eq!(forge(other.grant(claims(), &agent.me.keys.public()).token), AuthError::Forged);
    // By a stranger, with our issuer's certificate in front.
    let stranger = SigningKey::generate().unwrap();
    let mut token = plant.grant(claims(), &agent.me.keys.public()).token;
    let end = token.len() - 64;
    let signed = [b"plantwin v1 session token", &token[..end]].concat();
    token[end..].copy_from_slice(&stranger.sign(&signed).to_bytes());
    assert_eq!(forge(token), AuthError::Forged);
    // Something else that our issuer signed.
    let list = RevocationList::default().sign(&plant.issuer.key, &plant.issuer.cert).unwrap();
    assert_eq!(forge(list), AuthError::Forged);
    assert_eq!(forge(vec![0; 10]), AuthError::Forged);
    // By an issuer whose certificate is over.
    plant.wait(30 * super::rig::DAY);
    let late = plant.grant(claims(), &agent.me.keys.public()).token;
    assert_eq!(forge(late), AuthError::IssuerExpired);
}

#[test]
fn what_a_replaced_issuer_signed_is_refused_before_its_certificate_ends() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let issuer = plant.issuer.key.verifying_key();
    let revoked = [crate::registry::issuer_mark(issuer.as_bytes())].into();
    let list = RevocationList { serial: 1, issued: plant.now(), revoked };
    plant.revoked.adopt(Arc::new(list), plant.now()).unwrap();
    assert_eq!(plant.attack(&Thief::of(&agent)), AuthError::IssuerExpired);
    assert_eq!(plant.connect(&mut agent).unwrap_err(), AuthError::IssuerExpired);
}

#[test]
fn a_revoked_device_is_refused_before_and_during_the_handshake_and_after_it() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let revoke = |serial| {
        let revoked = [agent.me.keys.public().cnf()].into();
        let list = RevocationList { serial, issued: plant.now(), revoked };
        plant.revoked.adopt(Arc::new(list), plant.now()).unwrap();
    };
    let release = |serial| {
        let list = RevocationList { serial, ..RevocationList::default() };
        plant.revoked.adopt(Arc::new(list), plant.now()).unwrap();
    };
    revoke(1);
    assert_eq!(plant.attack(&Thief::of(&agent)), AuthError::Revoked);
    release(2);
    let thief = Thief::of(&agent);
    let (mut handshake, begin) = plant.begin();
    let (mut noise, first) = thief.first(&begin);
    let Step::Send(second) = handshake.on_answer(&first, plant.now()) else { panic!("refused") };
    let proof = thief.proof(&mut noise, &second, plant.now());
    revoke(3);
    let Step::Failed(error) = handshake.on_answer(&proof, plant.now()) else { panic!("up") };
    assert_eq!(error, AuthError::Revoked);
    plant.assert_refused(&error);
    release(4);
    // A session that is up ends with the next look at it, though no time passed.
    let revoked = [agent.me.keys.public().cnf()].into();
    let mut session = plant.connect(&mut agent).unwrap();
    let now = plant.now();
    let envelope = agent.seal_telemetry(plantwin_seal::Lane::Alarm, b"hot", now).unwrap();
    assert_eq!(session.check(now), Ok(()));
    let list = RevocationList { serial: 5, issued: now, revoked };
    plant.revoked.adopt(Arc::new(list), now).unwrap();
    assert_eq!(session.check(now), Err(AuthError::Revoked));
    assert_eq!(session.open_telemetry(&envelope, now), Err(AuthError::Revoked));
    for purpose in [Purpose::Read, Purpose::Command] {
        let request = session.seal_request(purpose, b"open", now);
        assert_eq!(request, Err(AuthError::Revoked));
    }
}

#[test]
fn a_device_whose_key_was_revoked_is_still_told_to_be_safe_and_nothing_else() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let mut session = plant.connect(&mut agent).unwrap();
    let now = plant.now();
    let revoked = [agent.me.keys.public().cnf()].into();
    let list = RevocationList { serial: 1, issued: now, revoked };
    plant.revoked.adopt(Arc::new(list), now).unwrap();
    let (number, stop) = session.seal_request(Purpose::Safety, b"stop", now).unwrap();
    let Answer::Request { payload, ticket } = agent.on_exchange(&stop, now) else {
        panic!("the device believes it")
    };
    assert_eq!(payload, b"stop");
    let answer = agent.reply(ticket, b"stopped", now).unwrap();
    assert_eq!(session.open_answer(number, &answer, now).as_deref(), Ok(&b"stopped"[..]));
    // Not for longer than the session lasts.
    let end = session.expires();
    let late = session.seal_request(Purpose::Safety, b"stop", end);
    assert_eq!(late, Err(AuthError::SessionOver));
}
