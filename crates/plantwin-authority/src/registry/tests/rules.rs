//! Invitation, request, approval, revocation.

use plantwin_model::{DeviceId, Quality};
use plantwin_seal::{OriginValue, origin_digest};

use super::*;
use crate::registry::{DeviceState, RekeyRequest, VOUCHER_LIFE};

fn fails(registry: &mut Registry, op: &Op, error: &AuthError) {
    assert_eq!(at(registry, op, T0).as_ref().unwrap_err(), error, "{op:?}");
}

#[test]
fn a_device_is_invited_asks_is_approved_and_gets_a_token() {
    let mut registry = registry();
    let me = device("tank1", &registry);
    let voucher = invite(&mut registry, "tank1");
    let asks = request(&me, &voucher);
    let fingerprint = me.keys.public().fingerprint();
    let waits = Reply::Enrolment(EnrolStatus::Pending { fingerprint: fingerprint.clone() });
    assert_eq!(ok(&mut registry, &asks), waits);
    // It asks again while it waits, and nothing changes.
    assert!(registry.is_light(&asks));
    assert_eq!(ok(&mut registry, &asks), waits);
    assert_eq!(registry.listing(T0).pending().count(), 1);
    assert_eq!(token(&mut registry, &me, T0).unwrap_err(), AuthError::NotApproved("tank1".into()));
    // People mix cases and leave the dashes out.
    let typed = fingerprint.to_lowercase().replace('-', "");
    ok(&mut registry, &Op::Approve { device: "tank1".into(), fingerprint: typed });
    assert_eq!(
        ok(&mut registry, &asks),
        Reply::Enrolment(EnrolStatus::Active { fingerprint: fingerprint.clone() })
    );
    token(&mut registry, &me, T0).unwrap();
    let view = &registry.listing(T0).devices[0];
    assert_eq!((view.state, &view.fingerprint), (DeviceState::Active, &fingerprint));
    assert_eq!(view.by, "user:ruth");
}

#[test]
fn a_voucher_is_for_one_use_one_device_one_zone_and_its_time() {
    let mut registry = registry();
    let (me, other) = (device("tank1", &registry), device("tank2", &registry));
    let voucher = invite(&mut registry, "tank1");
    fails(&mut registry, &request(&other, &voucher), &AuthError::VoucherBound);
    let elsewhere = DeviceIdentity { zone: "office".into(), ..me.clone() };
    fails(&mut registry, &request(&elsewhere, &voucher), &AuthError::VoucherBound);
    let late = T0.plus(VOUCHER_LIFE + Duration::from_nanos(1));
    let asks = request(&me, &voucher);
    assert_eq!(at(&mut registry, &asks, late).unwrap_err(), AuthError::VoucherExpired);
    ok(&mut registry, &asks);
    let second = device("tank1", &registry);
    fails(&mut registry, &request(&second, &voucher), &AuthError::VoucherUsed);
    // One that was made up, and the right name with a made-up secret.
    let forged = VoucherView {
        code: VoucherCode::generate(&registry.root().unwrap()).unwrap().to_string(),
        ..voucher.clone()
    };
    fails(&mut registry, &request(&second, &forged), &AuthError::VoucherUnknown);
    let code: VoucherCode = voucher.code.parse().unwrap();
    let mut guessed = code.voucher();
    guessed.secret = plantwin_seal::Secret::random().unwrap();
    let guess = Op::Enrol { request: EnrolRequest::build(&second, &guessed) };
    fails(&mut registry, &guess, &AuthError::VoucherRefused);
}

#[test]
fn a_thousand_keys_with_one_voucher_give_one_pending_device() {
    let mut registry = registry();
    let voucher = invite(&mut registry, "tank1");
    let mut asked = 0;
    for _ in 0..1000 {
        let me = device("tank1", &registry);
        match at(&mut registry, &request(&me, &voucher), T0) {
            Ok(_) => asked += 1,
            Err(error) => assert_eq!(error, AuthError::VoucherUsed),
        }
    }
    assert_eq!((asked, registry.listing(T0).pending().count()), (1, 1));
}

#[test]
fn a_device_has_one_active_key_and_a_key_one_device() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let invite_again = Op::Invite { device: "tank1".into(), zone: "field".into(), valid: None };
    fails(&mut registry, &invite_again, &AuthError::AlreadyEnrolled("tank1".into()));
    // The key, or either half of it, under another name.
    let fresh = DeviceKeys::generate().unwrap();
    let borrowed = [
        me.keys.clone(),
        DeviceKeys { sign: me.keys.sign.clone(), dh: fresh.dh.clone() },
        DeviceKeys { sign: fresh.sign.clone(), dh: me.keys.dh.clone() },
    ];
    for keys in borrowed {
        let thief = DeviceIdentity { keys, ..device("tank2", &registry) };
        let voucher = invite(&mut registry, "tank2");
        fails(&mut registry, &request(&thief, &voucher), &AuthError::KeyInUse("tank2".into()));
    }
}

#[test]
fn a_revoked_key_never_comes_back_and_the_device_may_with_another() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let before = registry.revocations(T0);
    ok(&mut registry, &revoke("tank1"));
    let after = registry.revocations(T0);
    assert!(after.serial > before.serial);
    assert!(after.revoked.contains(&me.keys.public().cnf()));
    assert_eq!(token(&mut registry, &me, T0).unwrap_err(), AuthError::Revoked);
    // Once more does no harm.
    ok(&mut registry, &revoke("tank1"));
    assert_eq!(registry.revocations(T0).serial, after.serial);
    let voucher = invite(&mut registry, "tank1");
    fails(&mut registry, &request(&me, &voucher), &AuthError::KeyInUse("tank1".into()));
    let half = DeviceKeys { dh: DhKey::generate().unwrap(), sign: me.keys.sign.clone() };
    let half = DeviceIdentity { keys: half, ..me.clone() };
    fails(&mut registry, &request(&half, &voucher), &AuthError::KeyInUse("tank1".into()));
    let renewed = device("tank1", &registry);
    ok(&mut registry, &request(&renewed, &voucher));
    ok(&mut registry, &approve(&renewed));
    token(&mut registry, &renewed, T0).unwrap();
    // What was signed with the old key is worth nothing.
    assert_eq!(token(&mut registry, &me, T0).unwrap_err(), AuthError::WrongKey);
}

#[test]
fn the_old_key_may_name_a_new_one_and_is_revoked_by_that() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let new = DeviceKeys::generate().unwrap();
    let name = "tank1".into();
    let stranger = DeviceKeys::generate().unwrap();
    let forged = Op::Rekey { request: RekeyRequest::build(&name, &stranger, &new) };
    fails(&mut registry, &forged, &AuthError::WrongKey);
    let rekey = Op::Rekey { request: RekeyRequest::build(&name, &me.keys, &new) };
    ok(&mut registry, &rekey);
    let renewed = DeviceIdentity { keys: new, ..me.clone() };
    token(&mut registry, &renewed, T0).unwrap();
    assert_eq!(token(&mut registry, &me, T0).unwrap_err(), AuthError::WrongKey);
    assert!(registry.revocations(T0).revoked.contains(&me.keys.public().cnf()));
    // The same request again, and one back to the old key.
    fails(&mut registry, &rekey, &AuthError::WrongKey);
    let back = Op::Rekey { request: RekeyRequest::build(&name, &renewed.keys, &me.keys) };
    fails(&mut registry, &back, &AuthError::KeyInUse("tank1".into()));
}

#[test]
fn what_a_device_said_before_it_changed_its_key_is_still_what_it_said() {
    let mut registry = registry();
    let me = enrolled(&mut registry, "tank1");
    let tank1 = DeviceId::from("tank1");
    let said = |value| OriginValue {
        device: "tank1",
        point: "level",
        unit: "cm",
        sequence: 7,
        source_time: T0,
        quality: Quality::Good,
        value,
    };
    let by = |registry: &Registry, keys: &DeviceKeys| {
        origin_digest(&registry.origin_key(&keys.public().cnf()), &said(12.5))
    };
    let new = DeviceKeys::generate().unwrap();
    let (old_word, new_word) = (by(&registry, &me.keys), by(&registry, &new));
    assert_eq!(registry.origin_holds(&tank1, &said(12.5), &new_word), Some(false));
    ok(&mut registry, &Op::Rekey { request: RekeyRequest::build(&tank1, &me.keys, &new) });
    for word in [old_word, new_word] {
        assert_eq!(registry.origin_holds(&tank1, &said(12.5), &word), Some(true));
        assert_eq!(registry.origin_holds(&tank1, &said(12.6), &word), Some(false));
    }
    assert_eq!(registry.origin_holds(&"tank2".into(), &said(12.5), &old_word), None);
}

#[test]
fn only_the_key_that_was_compared_is_approved() {
    let mut registry = registry();
    let (first, second) = (device("tank1", &registry), device("tank1", &registry));
    let voucher = invite(&mut registry, "tank1");
    ok(&mut registry, &request(&first, &voucher));
    // It was invited anew meanwhile, and another key asked.
    let voucher = invite(&mut registry, "tank1");
    ok(&mut registry, &request(&second, &voucher));
    fails(&mut registry, &approve(&first), &AuthError::FingerprintDiffers("tank1".into()));
    ok(&mut registry, &approve(&second));
    fails(&mut registry, &approve(&second), &AuthError::NotPending("tank1".into()));
    // The key that was replaced was never active and is free again.
    let voucher = invite(&mut registry, "tank2");
    let moved = DeviceIdentity { device: "tank2".into(), ..first };
    ok(&mut registry, &request(&moved, &voucher));
}

#[test]
fn a_device_that_was_sent_away_hears_it_and_needs_a_new_voucher() {
    let mut registry = registry();
    let me = device("tank1", &registry);
    let voucher = invite(&mut registry, "tank1");
    ok(&mut registry, &request(&me, &voucher));
    ok(&mut registry, &Op::Refuse { device: "tank1".into(), reason: "not ours".to_owned() });
    fails(&mut registry, &request(&me, &voucher), &AuthError::EnrolmentRefused);
    let voucher = invite(&mut registry, "tank1");
    ok(&mut registry, &request(&me, &voucher));
}

#[test]
fn each_role_may_do_what_it_needs_and_no_more() {
    let mut registry = registry();
    let name: plantwin_model::DeviceId = "tank1".into();
    let may = |registry: &mut Registry, op: &Op, actor: &Actor| {
        !matches!(registry.apply(op, actor, T0).answer, Err(AuthError::NotAllowed(_)))
    };
    let invite = Op::Invite { device: name.clone(), zone: "field".into(), valid: None };
    let rotate = Op::Rotate { overlap: true };
    let roles = [Role::Viewer, Role::Operator, Role::Engineer, Role::Security];
    let allowed = |registry: &mut Registry, op: &Op| {
        roles.map(|role| may(registry, op, &Actor::person("ruth", role)))
    };
    assert_eq!(allowed(&mut registry, &Op::List), [false, false, true, true]);
    assert_eq!(allowed(&mut registry, &invite), [false, false, true, true]);
    for op in [revoke("tank1"), rotate.clone(), Op::ExportRoot, Op::RotateBegin] {
        assert_eq!(allowed(&mut registry, &op), [false, false, false, true], "{op:?}");
    }
    // A gateway speaks for its devices and for itself.
    let gateway = Actor::Gateway(GATEWAY.to_owned());
    for op in [Op::List, invite, revoke("tank1"), rotate, Op::Upkeep] {
        assert!(!may(&mut registry, &op, &gateway), "{op:?}");
    }
    let keys = |name: &str| Op::GatewayKeys { gateway: name.to_owned() };
    assert!(may(&mut registry, &keys(GATEWAY), &gateway));
    assert!(!may(&mut registry, &keys("hall2"), &gateway));
    // No person gets the secret of a gateway.
    assert_eq!(allowed(&mut registry, &keys(GATEWAY)), [false; 4]);
}

#[test]
fn names_and_reasons_that_drive_terminals_are_refused() {
    let mut registry = registry();
    for name in ["", "a b", "tank\u{1b}[2J", "x/y", &"x".repeat(129)] {
        let op = Op::Invite { device: name.into(), zone: "field".into(), valid: None };
        fails(&mut registry, &op, &AuthError::BadName);
    }
    enrolled(&mut registry, "tank1");
    let op = Op::Revoke { device: "tank1".into(), reason: "\u{7}".to_owned() };
    fails(&mut registry, &op, &AuthError::BadText);
    for valid in [Duration::ZERO, minutes(24 * 60 + 1)] {
        let op = Op::Invite { device: "t".into(), zone: "f".into(), valid: Some(valid) };
        fails(&mut registry, &op, &AuthError::VoucherLife);
    }
}
