//! Each way to fail has its own reason, and there is one way to succeed.

use std::time::Duration;

use plantwin_model::{DeviceId, Timestamp, ZoneId};
use plantwin_seal::SigningKey;
use proptest::prelude::*;

use crate::{
    AuthError, Authority, CHALLENGE_LIFE, CLOCK_SKEW, DeviceAgent, DeviceCredentials,
    MESSAGE_LIMIT, SessionGrant, TOKEN_LIFE, Token, Verifier,
    wire::{self, Answer},
};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

struct Rig {
    authority: Authority,
    gateway: Verifier,
    credentials: DeviceCredentials,
    agent: DeviceAgent,
    device: DeviceId,
    zone: ZoneId,
}

impl Rig {
    fn new() -> Self {
        let (device, zone) = (DeviceId::from("tank1"), ZoneId::from("field"));
        let authority = Authority::from_seed(&[7; 32]);
        let gateway = authority.verifier("gateway");
        let credentials = authority.enrol(&device, &zone).unwrap();
        let mut agent = DeviceAgent::new(credentials.clone());
        agent.accept(authority.issue(&device, NOW).unwrap()).unwrap();
        Self { authority, gateway, credentials, agent, device, zone }
    }

    /// A whole exchange at `now`, the answer changed on its way.
    fn exchange(
        &self,
        now: Timestamp,
        change: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> Result<SessionGrant, AuthError> {
        let pending = self.gateway.challenge(now)?;
        let answer = change(self.agent.answer(pending.bytes(), now)?);
        self.gateway.verify(pending, &answer, &self.device, &self.zone, now)
    }

    /// An answer of whoever holds `key` and `token`, made by hand and checked at `now`.
    fn try_with(
        &self,
        key: &SigningKey,
        token: &[u8],
        now: Timestamp,
    ) -> Result<SessionGrant, AuthError> {
        let pending = self.gateway.challenge(now).unwrap();
        let token_id = Token::from_bytes(token).map_or([0; 16], |t| t.claims().token_id);
        let public = key.verifying_key();
        let answer = Answer {
            challenge: &wire::challenge_digest(pending.bytes()),
            key: public.as_bytes(),
            signature: &key.sign(&wire::proof(pending.bytes(), &token_id)).to_bytes(),
            token,
        };
        let answer = answer.encode().unwrap();
        self.gateway.verify(pending, &answer, &self.device, &self.zone, now)
    }

    fn token(&self) -> Token {
        self.authority.issue(&self.device, NOW).unwrap()
    }
}

#[test]
fn key_and_token_together_open_a_session_until_the_token_expires() {
    let rig = Rig::new();
    let grant = rig.exchange(NOW, |answer| answer).unwrap();
    assert_eq!((&grant.device, grant.expires), (&rig.device, NOW.plus(TOKEN_LIFE)));
    let token = rig.token();
    let again = rig.try_with(&rig.credentials.key, token.as_bytes(), NOW).unwrap();
    assert_eq!(again.token_id, token.claims().token_id);
    assert_ne!(again.token_id, grant.token_id, "token ids are unique");
}

#[test]
fn a_stolen_token_without_its_key_is_refused() {
    let rig = Rig::new();
    let (token, thief) = (rig.token(), SigningKey::generate().unwrap());
    let result = rig.try_with(&thief, token.as_bytes(), NOW);
    assert_eq!(result, Err(AuthError::WrongKey));
    // The thief names the right key, which it cannot sign with.
    let pending = rig.gateway.challenge(NOW).unwrap();
    let proof = wire::proof(pending.bytes(), &token.claims().token_id);
    let public = rig.credentials.key.verifying_key();
    let answer = Answer {
        challenge: &wire::challenge_digest(pending.bytes()),
        key: public.as_bytes(),
        signature: &thief.sign(&proof).to_bytes(),
        token: token.as_bytes(),
    };
    let answer = answer.encode().unwrap();
    let result = rig.gateway.verify(pending, &answer, &rig.device, &rig.zone, NOW);
    assert_eq!(result, Err(AuthError::NoPossession));
}

#[test]
fn a_key_without_a_token_is_refused_on_both_sides() {
    let rig = Rig::new();
    let agent = DeviceAgent::new(rig.credentials.clone());
    let pending = rig.gateway.challenge(NOW).unwrap();
    assert_eq!(agent.answer(pending.bytes(), NOW), Err(AuthError::NoToken));
    let result = rig.try_with(&rig.credentials.key, b"", NOW);
    assert!(matches!(result, Err(AuthError::Malformed(_))), "{result:?}");
    let result = rig.try_with(&rig.credentials.key, &[0; 200], NOW);
    assert_eq!(result, Err(AuthError::Forged));
}

#[test]
fn another_devices_token_is_refused() {
    let rig = Rig::new();
    let other = DeviceId::from("tank2");
    let credentials = rig.authority.enrol(&other, &rig.zone).unwrap();
    let token = rig.authority.issue(&other, NOW).unwrap();
    for key in [&rig.credentials.key, &credentials.key] {
        let result = rig.try_with(key, token.as_bytes(), NOW);
        assert_eq!(result, Err(AuthError::WrongDevice(other.clone())));
    }
    let mut agent = DeviceAgent::new(rig.credentials.clone());
    assert_eq!(agent.accept(token), Err(AuthError::WrongDevice(other)));
}

#[test]
fn a_token_for_another_zone_is_refused() {
    let mut rig = Rig::new();
    rig.zone = "control".into();
    assert_eq!(rig.exchange(NOW, |answer| answer), Err(AuthError::WrongZone));
    rig.credentials.zone = "control".into();
    let mut agent = DeviceAgent::new(rig.credentials.clone());
    assert_eq!(agent.accept(rig.token()), Err(AuthError::WrongZone));
}

#[test]
fn a_token_is_refused_from_the_moment_it_expires() {
    let rig = Rig::new();
    let token = rig.token();
    let key = &rig.credentials.key;
    let last = Timestamp(NOW.plus(TOKEN_LIFE).0 - 1);
    assert!(rig.try_with(key, token.as_bytes(), last).is_ok());
    let result = rig.try_with(key, token.as_bytes(), NOW.plus(TOKEN_LIFE));
    assert_eq!(result, Err(AuthError::Expired));
    let pending = rig.gateway.challenge(NOW).unwrap();
    let late = rig.agent.answer(pending.bytes(), NOW.plus(TOKEN_LIFE));
    assert_eq!(late, Err(AuthError::NoToken), "the device does not even try");
}

#[test]
fn a_token_from_the_future_is_refused_beyond_the_allowed_skew() {
    let rig = Rig::new();
    let key = &rig.credentials.key;
    let at = |ahead: Duration| rig.authority.issue(&rig.device, NOW.plus(ahead)).unwrap();
    assert!(rig.try_with(key, at(CLOCK_SKEW).as_bytes(), NOW).is_ok());
    let token = at(CLOCK_SKEW + Duration::from_nanos(1));
    assert_eq!(rig.try_with(key, token.as_bytes(), NOW), Err(AuthError::NotYetValid));
}

#[test]
fn a_token_of_another_authority_is_forged() {
    let rig = Rig::new();
    let other = Authority::generate().unwrap();
    let key = rig.credentials.key.verifying_key();
    other.enrol_key(&rig.device, &rig.zone, key).unwrap();
    let token = other.issue(&rig.device, NOW).unwrap();
    let result = rig.try_with(&rig.credentials.key, token.as_bytes(), NOW);
    assert_eq!(result, Err(AuthError::Forged));
}

#[test]
fn a_replayed_answer_is_refused() {
    let rig = Rig::new();
    let first = rig.gateway.challenge(NOW).unwrap();
    let answer = rig.agent.answer(first.bytes(), NOW).unwrap();
    rig.gateway.verify(first, &answer, &rig.device, &rig.zone, NOW).unwrap();
    let second = rig.gateway.challenge(NOW).unwrap();
    let result = rig.gateway.verify(second, &answer, &rig.device, &rig.zone, NOW);
    assert_eq!(result, Err(AuthError::Replayed));
}

#[test]
fn a_replayed_answer_with_the_new_challenge_written_in_proves_nothing() {
    let rig = Rig::new();
    let first = rig.gateway.challenge(NOW).unwrap();
    let recorded = rig.agent.answer(first.bytes(), NOW).unwrap();
    let recorded = Answer::decode(&recorded).unwrap();
    let second = rig.gateway.challenge(NOW).unwrap();
    let challenge = &wire::challenge_digest(second.bytes());
    let answer = Answer { challenge, ..recorded }.encode().unwrap();
    let result = rig.gateway.verify(second, &answer, &rig.device, &rig.zone, NOW);
    assert_eq!(result, Err(AuthError::NoPossession));
}

#[test]
fn an_answer_relayed_to_another_gateway_is_refused() {
    let rig = Rig::new();
    let pending = rig.gateway.challenge(NOW).unwrap();
    let answer = rig.agent.answer(pending.bytes(), NOW).unwrap();
    let other = rig.authority.verifier("other");
    let result = other.verify(other.challenge(NOW).unwrap(), &answer, &rig.device, &rig.zone, NOW);
    assert_eq!(result, Err(AuthError::Replayed));
}

#[test]
fn an_answer_that_comes_too_late_is_refused() {
    let rig = Rig::new();
    let answered_after = |delay: Duration| {
        let pending = rig.gateway.challenge(NOW).unwrap();
        let answer = rig.agent.answer(pending.bytes(), NOW).unwrap();
        rig.gateway.verify(pending, &answer, &rig.device, &rig.zone, NOW.plus(delay))
    };
    assert!(answered_after(CHALLENGE_LIFE).is_ok());
    let late = answered_after(CHALLENGE_LIFE + Duration::from_nanos(1));
    assert_eq!(late, Err(AuthError::StaleChallenge));
}

#[test]
fn a_revoked_device_gets_no_token_and_its_tokens_are_refused_at_once() {
    let rig = Rig::new();
    rig.authority.revoke(&rig.device).unwrap();
    rig.authority.revoke(&rig.device).unwrap();
    assert_eq!(rig.authority.issue(&rig.device, NOW), Err(AuthError::Revoked));
    assert_eq!(rig.authority.device_key(&rig.device), None);
    assert_eq!(rig.exchange(NOW, |answer| answer), Err(AuthError::Revoked));
}

#[test]
fn a_revoked_device_comes_back_with_another_key_only() {
    let rig = Rig::new();
    rig.authority.revoke(&rig.device).unwrap();
    let old = rig.credentials.key.verifying_key();
    let result = rig.authority.enrol_key(&rig.device, &rig.zone, old);
    assert_eq!(result, Err(AuthError::KeyInUse(rig.device.clone())));
    let fresh = rig.authority.enrol(&rig.device, &rig.zone).unwrap();
    let result = rig.authority.enrol_key(&"tank9".into(), &rig.zone, old);
    assert_eq!(result, Err(AuthError::KeyInUse("tank9".into())));
    let token = rig.token();
    assert!(rig.try_with(&fresh.key, token.as_bytes(), NOW).is_ok());
    assert_eq!(rig.exchange(NOW, |answer| answer), Err(AuthError::Revoked), "the old key");
}

#[test]
fn a_device_has_one_active_key_and_a_key_one_device() {
    let rig = Rig::new();
    let again = rig.authority.enrol(&rig.device, &rig.zone).unwrap_err();
    assert_eq!(again, AuthError::AlreadyEnrolled(rig.device.clone()));
    let key = rig.credentials.key.verifying_key();
    assert_eq!(rig.authority.device_key(&rig.device), Some(key));
    let copy = rig.authority.enrol_key(&"tank2".into(), &rig.zone, key);
    assert_eq!(copy, Err(AuthError::KeyInUse("tank2".into())));
    let stranger = DeviceId::from("stranger");
    let unknown = Err(AuthError::UnknownDevice(stranger.clone()));
    assert_eq!(rig.authority.issue(&stranger, NOW), unknown);
    assert_eq!(rig.authority.revoke(&stranger).map(|()| rig.token()), unknown);
}

#[test]
fn a_token_bound_to_another_key_is_not_taken_by_the_agent() {
    let rig = Rig::new();
    let key = SigningKey::generate().unwrap();
    let mut agent = DeviceAgent::new(DeviceCredentials { key, ..rig.credentials.clone() });
    assert_eq!(agent.accept(rig.token()), Err(AuthError::WrongKey));
    assert!(agent.needs_token(NOW));
}

#[test]
fn an_agent_wants_a_new_token_at_half_of_its_life() {
    let rig = Rig::new();
    assert_eq!(rig.agent.device(), &rig.device);
    let half = TOKEN_LIFE / 2;
    assert!(!rig.agent.needs_token(Timestamp(NOW.plus(half).0 - 1)));
    assert!(rig.agent.needs_token(NOW.plus(half)));
    assert!(DeviceAgent::new(rig.credentials.clone()).needs_token(NOW));
}

#[test]
fn an_agent_answers_challenges_only() {
    let rig = Rig::new();
    let good = rig.gateway.challenge(NOW).unwrap();
    for bad in [&b""[..], b"PWCH", b"PWAN\x01", &good.bytes()[..36], &[b'x'; 5000]] {
        let result = rig.agent.answer(bad, NOW);
        assert!(matches!(result, Err(AuthError::Malformed(_))), "{result:?}");
    }
    let mut newer = good.bytes().to_owned();
    newer[4] = 2;
    assert_eq!(rig.agent.answer(&newer, NOW), Err(AuthError::Version(2)));
}

#[test]
fn names_that_do_not_fit_into_a_message_are_refused() {
    let rig = Rig::new();
    let gateway = rig.authority.verifier(&"g".repeat(129));
    assert_eq!(gateway.challenge(NOW).unwrap_err(), AuthError::TooLong(129));
    let device = DeviceId::from("d".repeat(MESSAGE_LIMIT).as_str());
    let mut agent = DeviceAgent::new(rig.authority.enrol(&device, &rig.zone).unwrap());
    agent.accept(rig.authority.issue(&device, NOW).unwrap()).unwrap();
    let pending = rig.gateway.challenge(NOW).unwrap();
    let result = agent.answer(pending.bytes(), NOW);
    assert!(matches!(result, Err(AuthError::TooLong(_))), "{result:?}");
}

#[test]
fn a_kept_seed_gives_the_same_authority() {
    let rig = Rig::new();
    let restarted = Authority::from_seed(&[7; 32]);
    assert_eq!(restarted.verifying_key(), rig.authority.verifying_key());
    assert_ne!(Authority::generate().unwrap().verifying_key(), restarted.verifying_key());
}

#[test]
fn nothing_that_is_printed_shows_a_secret_key() {
    let rig = Rig::new();
    let shown = format!("{:?} {:?} {:?}", rig.credentials, rig.agent, rig.authority);
    for secret in [rig.credentials.key.expose_seed(), &[7; 32]] {
        assert!(!shown.contains(&format!("{secret:?}")));
    }
    assert!(shown.contains("SigningKey(.."), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_of_an_answer_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let rig = Rig::new();
        let result = rig.exchange(NOW, |mut answer| {
            let at = at.index(answer.len());
            answer[at] ^= 1_u8 << bit;
            answer
        });
        prop_assert!(result.is_err());
    }

    #[test]
    fn any_flipped_bit_of_a_token_is_a_forgery(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let rig = Rig::new();
        let mut token = rig.token().as_bytes().to_owned();
        let at = at.index(token.len());
        token[at] ^= 1_u8 << bit;
        let result = rig.try_with(&rig.credentials.key, &token, NOW);
        prop_assert_eq!(result, Err(AuthError::Forged));
    }

    #[test]
    fn a_cut_or_lengthened_answer_is_refused(
        cut in any::<prop::sample::Index>(), tail in prop::collection::vec(any::<u8>(), 1..9)
    ) {
        let rig = Rig::new();
        let shorter = rig.exchange(NOW, |answer| answer[..cut.index(answer.len())].to_vec());
        prop_assert!(shorter.is_err());
        prop_assert!(rig.exchange(NOW, |answer| [answer, tail].concat()).is_err());
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let rig = Rig::new();
        prop_assert!(rig.exchange(NOW, |_| bytes.clone()).is_err());
        let _ = Token::from_bytes(&bytes);
        let framed = [&b"PWAN\x01"[..], &bytes].concat();
        prop_assert!(rig.exchange(NOW, |_| framed).is_err());
    }
}
