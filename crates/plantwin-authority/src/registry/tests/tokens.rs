//! Tokens: for whom, how often, and what is in them.

use super::*;
use crate::{
    TOKEN_LIFE,
    pws::{GatewayCert, PwsToken, REQUEST_SKEW},
    registry::REQUESTS,
};

#[test]
fn a_token_says_who_may_show_it_to_whom_and_for_how_long() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let root = registry.root().unwrap();
    let grant = token(&mut registry, &me, T0).unwrap();
    let claims = PwsToken::verify(&root, &grant.token, T0).unwrap();
    assert_eq!((&claims.device, &claims.zone), (&me.device, &me.zone));
    assert_eq!((claims.gateway.as_str(), claims.cnf), (GATEWAY, me.keys.public().cnf()));
    assert_eq!((claims.issued, claims.expires), (T0, T0.plus(TOKEN_LIFE)));
    assert_eq!(claims.rev_epoch, registry.revocations(T0).serial);
    let gateway = GatewayCert::verify(&root, &grant.gateway, T0).unwrap();
    assert_eq!(gateway.gateway, GATEWAY);
    let second = token(&mut registry, &me, T0).unwrap();
    let second = PwsToken::verify(&root, &second.token, T0).unwrap();
    assert_ne!(claims.token_id, second.token_id);
}

#[test]
fn a_request_is_worth_one_token_to_one_gateway_now() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let request = TokenRequest::build(&me, GATEWAY, T0).unwrap();
    ask(&mut registry, request.clone(), T0).unwrap();
    assert_eq!(ask(&mut registry, request, T0).unwrap_err(), AuthError::Replayed);
    let elsewhere = TokenRequest::build(&me, "hall2", T0).unwrap();
    assert_eq!(ask(&mut registry, elsewhere, T0).unwrap_err(), AuthError::WrongAudience);
    let old = TokenRequest::build(&me, GATEWAY, T0).unwrap();
    let late = T0.plus(REQUEST_SKEW + Duration::from_nanos(1));
    assert_eq!(ask(&mut registry, old, late).unwrap_err(), AuthError::RequestStale);
    let stranger = device("tank1", &registry);
    let refused = token(&mut registry, &stranger, T0).unwrap_err();
    assert_eq!(refused, AuthError::WrongKey);
    let unknown = device("tank9", &registry);
    let refused = token(&mut registry, &unknown, T0).unwrap_err();
    assert_eq!(refused, AuthError::UnknownDevice("tank9".into()));
}

#[test]
fn a_device_that_asks_too_often_waits_and_others_do_not() {
    let mut registry = registry();
    let (me, other) = (enrolled(&mut registry, "tank1"), enrolled(&mut registry, "tank2"));
    for _ in 0..REQUESTS {
        token(&mut registry, &me, T0).unwrap();
    }
    assert_eq!(token(&mut registry, &me, T0).unwrap_err(), AuthError::RateLimited);
    token(&mut registry, &other, T0).unwrap();
    let later = T0.plus(2 * REQUEST_SKEW + Duration::from_nanos(1));
    token(&mut registry, &me, later).unwrap();
    assert_eq!(registry.nonces.values().map(std::collections::VecDeque::len).sum::<usize>(), 2);
}

#[test]
fn a_dismissed_gateway_gets_no_tokens() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    ok(&mut registry, &Op::Dismiss { name: GATEWAY.to_owned(), reason: "sold".to_owned() });
    let refused = token(&mut registry, &me, T0).unwrap_err();
    assert_eq!(refused, AuthError::UnknownGateway(GATEWAY.to_owned()));
}

#[test]
fn a_played_device_stands_before_the_real_one_and_shares_no_key() {
    let mut registry = registry();
    let real = enrolled(&mut registry, "tank1");
    let played = device("tank1", &registry);
    let zone = "field".into();
    let taken = registry.enrol_simulated(&"tank2".into(), &zone, real.keys.public(), T0);
    assert_eq!(taken.unwrap_err(), AuthError::KeyInUse("tank2".into()));
    registry.enrol_simulated(&"tank1".into(), &zone, played.keys.public(), T0).unwrap();
    token(&mut registry, &played, T0).unwrap();
    assert_eq!(token(&mut registry, &real, T0).unwrap_err(), AuthError::WrongKey);
    // And no real device takes the key of a played one.
    let voucher = invite(&mut registry, "tank3");
    let thief = DeviceIdentity { device: "tank3".into(), ..played.clone() };
    let refused = at(&mut registry, &request(&thief, &voucher), T0).unwrap_err();
    assert_eq!(refused, AuthError::KeyInUse("tank3".into()));
    ok(&mut registry, &revoke("tank1"));
    assert_eq!(token(&mut registry, &played, T0).unwrap_err(), AuthError::Revoked);
    assert!(registry.revocations(T0).revoked.contains(&played.keys.public().cnf()));
}
