//! In this process: on disk, in memory, asked by many at once.

use super::*;
use crate::registry::DeviceState;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_concurrent_uses_of_a_voucher_give_one_device() {
    let dir = tempfile::tempdir().unwrap();
    let authority = on_disk(&dir);
    let code = invite(&authority, "tank1");
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let request = EnrolRequest::build(&device(&authority, "tank1"), &code.voucher());
        let authority = authority.clone();
        asks.spawn(async move { authority.enrol(request).await });
    }
    let answers = timeout(PATIENCE * 6, asks.join_all()).await.unwrap();
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (1, 999));
    assert!(refused.iter().all(|r| *r == Err(AuthError::VoucherUsed)), "{refused:?}");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (me, keys) = {
        let authority = on_disk(&dir);
        let me = enrolled(&authority, "tank1");
        enrolled(&authority, "tank2");
        authority.op(revoke("tank2"), officer()).await.unwrap();
        let played = DeviceKeys::generate().unwrap().public();
        authority.enrol_simulated(&"tank3".into(), &"field".into(), played).unwrap();
        (me, authority.gateway_keys(GATEWAY).await.unwrap())
    };
    let authority = on_disk(&dir);
    let again = authority.gateway_keys(GATEWAY).await.unwrap();
    // So that tokens which devices still hold are worth something.
    assert_eq!(again.secret.expose(), keys.secret.expose());
    assert_eq!(again.dh.public(), keys.dh.public());
    let grant = token(&authority, &me).await.unwrap();
    PwsToken::verify(&keys.root, &grant.token, clock().now()).unwrap();
    let Reply::List(list) = authority.apply(&Op::List, &officer()).unwrap() else { panic!() };
    let states: Vec<_> = list.devices.iter().map(|d| (d.device.as_str(), d.state)).collect();
    assert_eq!(states, [("tank1", DeviceState::Active), ("tank2", DeviceState::Revoked)]);
    assert!(list.root_is_here && authority.health().advice.len() == 1);
}

#[tokio::test]
async fn a_revocation_is_told_to_whoever_waits_for_it() {
    let authority = in_memory();
    let me = enrolled(&authority, "tank1");
    let mut lists = authority.revocations();
    lists.mark_unchanged();
    authority.op(revoke("tank1"), officer()).await.unwrap();
    timeout(PATIENCE, lists.changed()).await.unwrap().unwrap();
    assert!(lists.borrow().revoked.contains(&me.keys.public().cnf()));
}

#[test]
fn what_was_refused_is_accounted_for_and_a_flood_of_it_is_counted() {
    let book = Arc::new(Book::default());
    let authority = Embedded::in_memory(clock(), Arc::clone(&book) as _).unwrap();
    let me = enrolled(&authority, "tank1");
    assert!(book.has("invited into field") && book.has("approved key"));
    let stranger = device(&authority, "tank1");
    let code = invite(&authority, "tank9");
    for _ in 0..1000 {
        let request = EnrolRequest::build(&stranger, &code.voucher());
        let refused = authority.apply(&Op::Enrol { request }, &Actor::Plant).unwrap_err();
        assert_eq!(refused, AuthError::VoucherBound);
    }
    assert!(book.has("voucher_bound"));
    assert!(book.0.lock().unwrap().len() < 100);
    // What is done is always written down.
    let before = book.0.lock().unwrap().len();
    authority.apply(&revoke(me.device.as_str()), &officer()).unwrap();
    assert_eq!(book.0.lock().unwrap().len(), before + 1);
    let lines = format!("{:?}", book.0.lock().unwrap());
    assert!(!lines.contains("PWV1"), "a voucher stands in the audit trail");
}

/// A trail that cannot be written.
struct Stuck;

impl AuditSink for Stuck {
    fn record(&self, _: AuditEntry) {}

    fn is_blocked(&self) -> bool {
        true
    }
}

#[test]
fn what_people_trust_waits_for_the_record_and_what_takes_trust_away_does_not() {
    let authority = Embedded::in_memory(clock(), Arc::new(Stuck)).unwrap();
    let (device, zone) = ("tank1".into(), "field".into());
    let invite = Op::Invite { device, zone, valid: None };
    assert_eq!(authority.apply(&invite, &officer()).unwrap_err(), AuthError::Unaccountable);
    let rotate = Op::Rotate { overlap: true };
    assert_eq!(authority.apply(&rotate, &officer()).unwrap_err(), AuthError::Unaccountable);
    assert!(authority.apply(&Op::List, &officer()).is_ok());
    // Refused for what it is, not for the record.
    let unknown = authority.apply(&revoke("tank1"), &officer()).unwrap_err();
    assert!(matches!(unknown, AuthError::UnknownDevice(_)), "{unknown}");
}
