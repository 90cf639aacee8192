//! The registry's rules, its file and what people carry.

use std::time::Duration;

use plantwin_model::{AuditResult, Role, Timestamp};
use plantwin_seal::{DhKey, SigningKey};

use super::{
    Actor, AuthorityOp as Op, AuthorityReply as Reply, ClientKind, EnrolStatus, PolicyStamp,
    Registry, VoucherCode, VoucherView,
};
use crate::{
    AuthError,
    pws::{DeviceIdentity, DeviceKeys, EnrolRequest, Grant, TokenRequest},
};

mod carried;
mod disk;
mod issuers;
mod random;
mod rules;
mod tokens;

const T0: Timestamp = Timestamp(1_795_262_400_000_000_000);
const GATEWAY: &str = "hall1";

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn officer() -> Actor {
    Actor::person("ruth", Role::Security)
}

/// A registry with one gateway.
fn registry() -> Registry {
    let mut registry = Registry::create(&SigningKey::generate().unwrap(), true, T0).unwrap();
    let dh = DhKey::generate().unwrap().public();
    let admit = Op::Admit { name: GATEWAY.to_owned(), kind: ClientKind::Gateway, dh };
    ok(&mut registry, &admit);
    registry
}

fn at(registry: &mut Registry, op: &Op, now: Timestamp) -> Result<Reply, AuthError> {
    let applied = registry.apply(op, &officer(), now);
    if let (Err(error), Some(entry)) = (&applied.answer, &applied.audit) {
        assert_ne!(entry.result, AuditResult::Done);
        assert!(entry.detail.contains(error.reason_code()), "{entry:?}");
    }
    applied.answer
}

fn ok(registry: &mut Registry, op: &Op) -> Reply {
    at(registry, op, T0).unwrap()
}

fn device(name: &str, registry: &Registry) -> DeviceIdentity {
    DeviceIdentity {
        device: name.into(),
        zone: "field".into(),
        keys: DeviceKeys::generate().unwrap(),
        root: registry.root().unwrap(),
        voucher: None,
    }
}

fn invite(registry: &mut Registry, name: &str) -> VoucherView {
    let op = Op::Invite { device: name.into(), zone: "field".into(), valid: None };
    match ok(registry, &op) {
        Reply::Voucher(view) => view,
        other => panic!("{other:?}"),
    }
}

fn request(me: &DeviceIdentity, voucher: &VoucherView) -> Op {
    let code: VoucherCode = voucher.code.parse().unwrap();
    Op::Enrol { request: EnrolRequest::build(me, &code.voucher()) }
}

fn approve(me: &DeviceIdentity) -> Op {
    Op::Approve { device: me.device.clone(), fingerprint: me.keys.public().fingerprint() }
}

fn revoke(name: &str) -> Op {
    Op::Revoke { device: name.into(), reason: "lost".to_owned() }
}

/// Invites, asks and approves.
fn enrolled(registry: &mut Registry, name: &str) -> DeviceIdentity {
    let me = device(name, registry);
    let voucher = invite(registry, name);
    assert!(matches!(
        ok(registry, &request(&me, &voucher)),
        Reply::Enrolment(EnrolStatus::Pending { .. })
    ));
    ok(registry, &approve(&me));
    me
}

fn token(registry: &mut Registry, me: &DeviceIdentity, now: Timestamp) -> Result<Grant, AuthError> {
    let request = TokenRequest::build(me, GATEWAY, now).unwrap();
    ask(registry, request, now)
}

fn ask(registry: &mut Registry, request: TokenRequest, now: Timestamp) -> Result<Grant, AuthError> {
    let gateway = GATEWAY.to_owned();
    let op = Op::Token { request, gateway: gateway.clone(), policy: PolicyStamp::default() };
    match registry.apply(&op, &Actor::Gateway(gateway), now).answer? {
        Reply::Grant(grant) => Ok(grant),
        other => panic!("{other:?}"),
    }
}
