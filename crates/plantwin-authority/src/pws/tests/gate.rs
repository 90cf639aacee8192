//! Floods, lock-out and cookies.

use std::time::Duration;

use plantwin_model::Timestamp;
use plantwin_seal::DhKey;

use super::rig::{Plant, START, ask};
use crate::{
    AuthError,
    pws::{
        COOKIE_LIFE, COOKIES_ABOVE, CookieJar, FORGET, Gate, HALF_OPEN_LIMIT, Handshake,
        LOCK_AFTER, LOCK_FIRST, LOCK_MAX, RATE, RATE_INTERVAL, Source, Step, check_mac1, mac1,
    },
};

fn source(name: &str) -> Source {
    Source::new(&[name.as_bytes()])
}

fn begin(plant: &Plant, path: &str) -> Result<(Handshake, Vec<u8>), AuthError> {
    plant.gateway.begin(&"tank1".into(), &"field".into(), path, plant.now())
}

#[test]
fn a_source_gets_ten_attempts_a_second() {
    let gate = Gate::new(100, 100);
    let admit = |name, now| gate.admit(source(name), false, now);
    for _ in 0..RATE {
        assert!(admit("a", START).is_ok());
    }
    assert_eq!(admit("a", START).unwrap_err(), AuthError::RateLimited);
    assert!(admit("b", START).is_ok(), "others are not concerned");
    let next = START.plus(RATE_INTERVAL);
    assert!(admit("a", next).is_ok());
    assert_eq!(admit("a", next).unwrap_err(), AuthError::RateLimited);
    // Over ten seconds of trying ten times as often.
    let admitted =
        (1..=1000).filter(|step| admit("a", next.plus(RATE_INTERVAL / 10 * *step)).is_ok()).count();
    assert_eq!(admitted, 100);
    assert_eq!(gate.counts().refused, 2 + 900);
    assert_eq!(gate.counts().half_open, 0);
}

#[test]
fn a_clock_that_is_set_back_holds_nobody_up_for_longer_than_the_rules_say() {
    let gate = Gate::new(100, 100);
    let hour = Duration::from_hours(1);
    for _ in 0..RATE {
        gate.admit(source("a"), false, START.plus(hour)).unwrap();
    }
    for _ in 0..20 {
        gate.failed(source("a"), false, START.plus(hour));
    }
    let refused = gate.admit(source("a"), false, START);
    assert_eq!(refused.unwrap_err(), AuthError::LockedOut(LOCK_MAX));
    assert!(gate.admit(source("a"), false, START.plus(LOCK_MAX)).is_ok());
}

#[test]
fn handshakes_under_way_are_bounded_and_their_places_come_back() {
    let gate = Gate::new(3, 100);
    let admit = |name| gate.admit(source(name), false, START);
    let held: Vec<_> = ["a", "b", "c"].map(|name| admit(name).unwrap()).into();
    assert_eq!(admit("d").unwrap_err(), AuthError::Busy);
    assert_eq!(gate.counts().half_open, 3);
    drop(held);
    assert_eq!(gate.counts().half_open, 0);
    assert!(admit("d").is_ok());
}

#[test]
fn a_full_table_refuses_strangers_and_lets_the_known_go_on() {
    let gate = Gate::new(100, 4);
    let admit = |name, now| gate.admit(source(name), false, now).map(drop);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(admit(name, START), Ok(()));
    }
    assert_eq!(admit("e", START), Err(AuthError::Busy));
    assert_eq!(admit("a", START), Ok(()));
    // Whoever has been quiet makes room.
    let later = START.plus(Duration::from_secs(1));
    assert_eq!(admit("e", later), Ok(()));
    assert_eq!(gate.counts().sources, 1);
    // Whoever failed of late is remembered.
    gate.failed(source("e"), false, later);
    for name in ["f", "g", "h"] {
        assert_eq!(admit(name, later), Ok(()));
    }
    let latest = later.plus(Duration::from_secs(1));
    assert_eq!(admit("i", latest), Ok(()));
    assert_eq!(gate.counts().sources, 2);
    assert_eq!(admit("j", latest.plus(FORGET)), Ok(()));
}

#[test]
fn failures_in_a_row_lock_a_source_out_for_longer_each_time() {
    let gate = Gate::new(100, 100);
    let mut now = START;
    for _ in 1..LOCK_AFTER {
        assert_eq!(gate.failed(source("a"), false, now), None);
    }
    let mut expected = LOCK_FIRST;
    for _ in 0..12 {
        assert_eq!(gate.failed(source("a"), false, now), Some(expected));
        let refused = gate.admit(source("a"), false, now).unwrap_err();
        assert_eq!(refused, AuthError::LockedOut(expected));
        assert!(gate.admit(source("b"), false, now).is_ok());
        let last = Timestamp(now.plus(expected).0 - 1);
        assert!(gate.admit(source("a"), false, last).is_err());
        now = now.plus(expected);
        assert!(gate.admit(source("a"), false, now).is_ok());
        expected = (expected * 2).min(LOCK_MAX);
    }
    assert_eq!(expected, LOCK_MAX);
    gate.succeeded(source("a"), now);
    assert_eq!(gate.failed(source("a"), false, now), None, "a success makes all good");
}

#[test]
fn old_failures_are_forgotten() {
    let gate = Gate::new(100, 100);
    for _ in 1..LOCK_AFTER {
        gate.failed(source("a"), false, START);
    }
    assert_eq!(gate.failed(source("a"), false, START.plus(FORGET)), None);
}

#[test]
fn whoever_keeps_failing_as_a_device_is_locked_out_on_its_path_alone() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    for _ in 0..LOCK_AFTER {
        plant.wait(Duration::from_millis(100));
        let (mut handshake, _) = begin(&plant, "rogue").unwrap();
        let step = handshake.on_answer(b"PWS\x01\x85", plant.now());
        assert!(matches!(step, Step::Failed(_)), "{step:?}");
    }
    let locked = begin(&plant, "rogue").map(drop).unwrap_err();
    assert_eq!(locked, AuthError::LockedOut(LOCK_FIRST));
    plant.assert_refused(&locked);
    let audited = plant.log.all().len();
    for _ in 0..1000 {
        assert!(begin(&plant, "rogue").is_err());
    }
    assert_eq!(plant.log.all().len(), audited, "a flood does not fill the audit trail");
    assert!(plant.connect(&mut agent).is_ok(), "the device itself comes by another path");
}

#[test]
fn forged_answers_never_lock_out_a_device_that_has_a_session() {
    let plant = Plant::new();
    let mut agent = plant.agent("tank1");
    let session = plant.connect(&mut agent).unwrap();
    for _ in 0..100 {
        plant.wait(RATE_INTERVAL);
        let (mut handshake, _) = begin(&plant, "wire").unwrap();
        assert!(matches!(handshake.on_answer(b"nonsense", plant.now()), Step::Failed(_)));
    }
    plant.wait(RATE_INTERVAL);
    let (mut handshake, question) = begin(&plant, "wire").unwrap();
    let first = ask(&mut agent, &question, plant.now());
    assert!(matches!(handshake.on_answer(&first, plant.now()), Step::Send(_)));
    // Once the session is gone, so is the privilege.
    drop((session, handshake));
    for _ in 0..LOCK_AFTER {
        plant.wait(RATE_INTERVAL);
        let (mut handshake, _) = begin(&plant, "wire").unwrap();
        assert!(matches!(handshake.on_answer(b"nonsense", plant.now()), Step::Failed(_)));
    }
    let locked = begin(&plant, "wire").map(drop).unwrap_err();
    assert_eq!(locked.reason_code(), "locked_out");
}

#[test]
fn refusals_and_late_answers_lock_nobody_out() {
    let plant = Plant::new();
    let mut stranger = crate::pws::Agent::new(plant.identity("tank1"));
    for _ in 0..3 * LOCK_AFTER {
        plant.wait(Duration::from_secs(1));
        let (mut handshake, question) = begin(&plant, "path").unwrap();
        ask(&mut stranger, &question, plant.now());
        let withheld = handshake.withheld(crate::pws::Withheld::Refused).unwrap();
        let refuse = ask(&mut stranger, &withheld, plant.now());
        assert!(matches!(handshake.on_answer(&refuse, plant.now()), Step::Failed(_)));
    }
    assert!(begin(&plant, "path").is_ok());
}

#[test]
fn a_gateway_has_only_so_many_handshakes_under_way() {
    let plant = Plant::new();
    let mut held = Vec::new();
    for number in 0..HALF_OPEN_LIMIT {
        held.push(begin(&plant, &number.to_string()).unwrap());
    }
    assert_eq!(begin(&plant, "one more").map(drop).unwrap_err(), AuthError::Busy);
    held.clear();
    assert_eq!(plant.gateway.counts().half_open, 0);
    assert!(begin(&plant, "one more").is_ok());
}

#[test]
fn cookies_are_asked_for_only_when_many_handshakes_are_under_way() {
    let gate = Gate::new(1000, 1000);
    let mut held = Vec::new();
    for number in 0..=COOKIES_ABOVE {
        assert!(!gate.wants_cookies());
        held.push(gate.admit(source(&number.to_string()), false, START).unwrap());
    }
    assert!(gate.wants_cookies());
    held.pop();
    assert!(!gate.wants_cookies());
}

#[test]
fn a_cookie_is_good_for_its_source_and_for_a_while() {
    let jar = CookieJar::new().unwrap();
    // At the beginning of a period, so that the bounds are exact.
    let period = COOKIE_LIFE.as_millis() as i64;
    let start = Timestamp::from_millis(START.as_millis() / period * period);
    let cookie = jar.mint(b"10.0.0.1:4000", start);
    let check = |source: &[u8], now| jar.check(source, &cookie, now);
    let last = Timestamp(start.plus(2 * COOKIE_LIFE).0 - 1);
    assert_eq!(check(b"10.0.0.1:4000", start), Ok(()));
    assert_eq!(check(b"10.0.0.1:4000", last), Ok(()));
    assert_eq!(check(b"10.0.0.1:4000", start.plus(2 * COOKIE_LIFE)), Err(AuthError::Cookie));
    assert_eq!(check(b"10.0.0.1:4001", start), Err(AuthError::Cookie));
    let mut forged = cookie;
    forged[31] ^= 1;
    assert_eq!(jar.check(b"10.0.0.1:4000", &forged, start), Err(AuthError::Cookie));
    let other = CookieJar::new().unwrap();
    assert_eq!(other.check(b"10.0.0.1:4000", &cookie, start), Err(AuthError::Cookie));
    assert_eq!(format!("{jar:?}"), "CookieJar(Secret(..))");
}

#[test]
fn a_first_mac_is_made_by_who_knows_the_key_and_for_one_message() {
    let (me, other) = (DhKey::generate().unwrap().public(), DhKey::generate().unwrap().public());
    let first = mac1(&me, b"hello");
    assert_eq!(check_mac1(&me, b"hello", &first), Ok(()));
    assert_eq!(check_mac1(&me, b"hallo", &first), Err(AuthError::Altered));
    assert_eq!(check_mac1(&other, b"hello", &first), Err(AuthError::Altered));
}
