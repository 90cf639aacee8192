//! The root and its issuers.

use super::*;
use crate::{
    pws::PwsToken,
    registry::{ISSUER_DUE, ISSUER_LIFE, ISSUER_OVERLAP, IssuerRequest, issuer_mark},
};

/// How long nothing has to be done about a new issuer.
const BEFORE_DUE: Duration = ISSUER_LIFE.saturating_sub(ISSUER_DUE);

fn issuer_of(grant: &Grant) -> plantwin_seal::VerifyingKey {
    let mut key = [0; 32];
    key.copy_from_slice(&grant.token[..32]);
    plantwin_seal::VerifyingKey::from_bytes(&key).unwrap()
}

fn is_marked(registry: &Registry, issuer: &plantwin_seal::VerifyingKey, now: Timestamp) -> bool {
    registry.revocations(now).revoked.contains(&issuer_mark(issuer.as_bytes()))
}

fn request_of(registry: &mut Registry) -> IssuerRequest {
    match ok(registry, &Op::RotateBegin) {
        Reply::IssuerRequest(request) => request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rotated_issuer_signs_nothing_more_and_is_honoured_for_a_day() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let root = registry.root().unwrap();
    let old = token(&mut registry, &me, T0).unwrap();
    ok(&mut registry, &Op::Rotate { overlap: true });
    let new = token(&mut registry, &me, T0).unwrap();
    let (before, after) = (issuer_of(&old), issuer_of(&new));
    assert_ne!(before, after);
    // Both are believed.
    PwsToken::verify(&root, &old.token, T0).unwrap();
    PwsToken::verify(&root, &new.token, T0).unwrap();
    assert_eq!(registry.listing(T0).issuers_before, vec![(1, T0.plus(ISSUER_OVERLAP))]);
    let almost = T0.plus(minutes(24 * 60 - 1));
    at(&mut registry, &Op::Upkeep, almost).unwrap_err();
    registry.apply(&Op::Upkeep, &Actor::Plant, almost).answer.unwrap();
    assert!(!is_marked(&registry, &before, almost));
    // Then everybody is told that it is over.
    let serial = registry.revocations(almost).serial;
    let over = T0.plus(ISSUER_OVERLAP);
    assert!(registry.is_due(over));
    registry.apply(&Op::Upkeep, &Actor::Plant, over).answer.unwrap();
    assert!(is_marked(&registry, &before, over) && !is_marked(&registry, &after, over));
    assert!(registry.revocations(over).serial > serial);
    assert!(!registry.is_due(over));
    // Until its certificate ends anyway.
    let end = T0.plus(ISSUER_LIFE + minutes(6));
    registry.apply(&Op::Upkeep, &Actor::Plant, end).answer.unwrap();
    assert!(!is_marked(&registry, &before, end));
}

#[test]
fn a_stolen_issuer_is_refused_at_once_if_there_is_no_overlap() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let old = issuer_of(&token(&mut registry, &me, T0).unwrap());
    ok(&mut registry, &Op::Rotate { overlap: false });
    assert!(is_marked(&registry, &old, T0));
}

#[test]
fn an_issuer_follows_by_itself_if_the_root_is_here_and_is_asked_for_if_not() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let due = T0.plus(BEFORE_DUE + minutes(1));
    assert!(!registry.is_due(T0) && registry.is_due(due) && registry.issuer_is_due(due));
    registry.apply(&Op::Upkeep, &Actor::Plant, due).answer.unwrap();
    assert_eq!(registry.listing(due).issuer_serial, 2);
    ok(&mut registry, &Op::ForgetRoot);
    let again = due.plus(BEFORE_DUE + minutes(1));
    registry.apply(&Op::Upkeep, &Actor::Plant, again).answer.unwrap();
    assert_eq!(registry.listing(again).issuer_serial, 2);
    assert!(registry.issuer_is_due(again) && !registry.is_due(again));
    let dead = due.plus(ISSUER_LIFE);
    assert_eq!(token(&mut registry, &me, dead).unwrap_err(), AuthError::IssuerExpired);
}

#[test]
fn an_offline_root_signs_what_was_asked_and_nothing_else() {
    let mut registry = registry();
    let Reply::Root(seed) = ok(&mut registry, &Op::ExportRoot) else { panic!("the root") };
    let root = SigningKey::from_seed(seed.expose());
    ok(&mut registry, &Op::ForgetRoot);
    for op in [Op::Rotate { overlap: true }, Op::ExportRoot, Op::ForgetRoot] {
        assert_eq!(at(&mut registry, &op, T0).unwrap_err(), AuthError::RootElsewhere);
    }
    let finish = |cert: Vec<u8>| Op::RotateFinish { cert, overlap: true };
    let early = at(&mut registry, &finish(vec![0; 120]), T0).unwrap_err();
    assert_eq!(early, AuthError::NoIssuerRequest);
    let request = request_of(&mut registry);
    let stranger = SigningKey::generate().unwrap();
    assert_eq!(request.sign(&stranger).unwrap_err(), AuthError::WrongRoot);
    // Signed by the root, but for a longer life than was asked for.
    let longer = IssuerRequest { not_after: T0.plus(2 * ISSUER_LIFE), ..request };
    let cert = longer.sign(&root).unwrap();
    assert_eq!(at(&mut registry, &finish(cert), T0).unwrap_err(), AuthError::IssuerForged);
    let forged = IssuerRequest { root: *stranger.verifying_key().as_bytes(), ..request };
    let cert = forged.sign(&stranger).unwrap();
    assert_eq!(at(&mut registry, &finish(cert), T0).unwrap_err(), AuthError::IssuerForged);
    ok(&mut registry, &finish(request.sign(&root).unwrap()));
    assert_eq!(registry.listing(T0).issuer_serial, 2);
    assert!(!registry.listing(T0).root_is_here);
}
