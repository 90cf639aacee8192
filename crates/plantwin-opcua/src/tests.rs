//! Tests of the pure parts; sockets are in `tests/`.

use std::{collections::BTreeMap, sync::Arc};

use opcua::types::{DataValue, StatusCode, Variant};
use plantwin_adapter::{LinkEvent, ManualClock, Sample};
use plantwin_model::{Flaw, PathSpec, PointIx, Quality, SettingValue, Span, Timestamp};

use crate::{
    config::SCHEMA,
    feed::{Feed, Pending, Slot},
    value::{Kind, date_time, number, quality, status, timestamp},
};

fn path(settings: &[(&str, &str)], node: Option<&str>) -> PathSpec {
    let text = |v: &str| SettingValue::Text(v.to_owned());
    let map = |n: &str| (PointIx(0), BTreeMap::from([("node".to_owned(), text(n))]));
    PathSpec {
        protocol: "opcua",
        settings: settings.iter().map(|&(k, v)| (k.to_owned(), text(v))).collect(),
        points: node.map(map).into_iter().collect(),
        span: Span::default(),
    }
}

/// The keys that a path's problems are about.
fn check(settings: &[(&str, &str)], node: Option<&str>, wrong: &[&str]) {
    let problems = (SCHEMA.validate)(&path(settings, node));
    let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, wrong, "{settings:?} {node:?}: {problems:?}");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    check(&[("addr", "127.0.0.1:4840")], None, &[]);
    check(&[("addr", "opc.tcp://plc.example:4840/server/1")], Some("ns=3;i=7"), &[]);
    check(&[("addr", "plc.example")], None, &["addr"]);
    check(&[("addr", "plc.example:0")], None, &["addr"]);
    check(&[("addr", "http://plc.example:4840")], None, &["addr"]);
    check(&[("security", "tls")], None, &["security"]);
    check(&[("pki", "certs")], None, &["pki"]);
    check(&[("pki", "certs"), ("security", "sign-encrypt")], None, &[]);
    check(&[("password", "x")], None, &["password"]);
    check(&[("node", ""), ("user", "")], None, &["node", "user"]);
    check(&[], Some("level"), &["map"]);
}

#[test]
fn devices_share_an_address_only_when_they_share_a_node() {
    let of =
        |device, settings: &[(&str, &str)], node| (SCHEMA.addresses)(device, &path(settings, node));
    let share = |a: &[String], b: &[String]| a.iter().any(|x| b.contains(x));
    let server = ("addr", "10.0.0.1:4840");
    let (a, b) = (of("a", &[server], None), of("b", &[server], None));
    assert!(!share(&a, &b));
    let url = ("addr", "opc.tcp://10.0.0.1:4840/");
    assert!(share(&a, &of("b", &[url, ("node", "a")], None)));
    let mapped = |device| of(device, &[server], Some("ns=2;s=x"));
    assert!(share(&mapped("a"), &mapped("b")));
}

#[test]
fn numbers_become_the_declared_type_or_are_refused() {
    let fits = |kind: Kind, value: f64, want: Variant| {
        assert_eq!(kind.variant(value), Some(want), "{value} as {kind:?}");
    };
    fits(Kind::Boolean, 1.0, Variant::Boolean(true));
    fits(Kind::SByte, -128.0, Variant::SByte(-128));
    fits(Kind::Byte, 254.6, Variant::Byte(255));
    fits(Kind::Int16, -32_768.0, Variant::Int16(i16::MIN));
    fits(Kind::UInt16, 65_535.0, Variant::UInt16(u16::MAX));
    fits(Kind::Int32, -7.0, Variant::Int32(-7));
    fits(Kind::UInt32, 7.0, Variant::UInt32(7));
    fits(Kind::Int64, 9e18, Variant::Int64(9_000_000_000_000_000_000));
    fits(Kind::UInt64, 1.8e19, Variant::UInt64(18_000_000_000_000_000_000));
    fits(Kind::Float, 0.1, Variant::Float(0.1));
    fits(Kind::Double, 0.1, Variant::Double(0.1));
    let refused = [
        (Kind::Boolean, 2.0),
        (Kind::Byte, -1.0),
        (Kind::Int16, 32_768.0),
        (Kind::Int64, 9.3e18),
        (Kind::UInt64, 1.85e19),
        (Kind::Float, 1e39),
        (Kind::Int32, f64::NAN),
    ];
    for (kind, value) in refused {
        assert_eq!(kind.variant(value), None, "{value} as {kind:?}");
    }
}

#[test]
fn what_is_written_is_what_is_read_back() {
    let kinds = [
        Kind::Boolean,
        Kind::SByte,
        Kind::Byte,
        Kind::Int16,
        Kind::UInt16,
        Kind::Int32,
        Kind::UInt32,
        Kind::Int64,
        Kind::UInt64,
        Kind::Float,
        Kind::Double,
    ];
    for kind in kinds {
        let variant = kind.variant(1.0).expect("one fits everything");
        assert_eq!(Kind::of_value(&variant), Some(kind));
        assert_eq!(number(&variant), Some(1.0));
    }
    assert_eq!(number(&Variant::from("1.0")), None);
}

#[test]
fn times_survive_the_wire_to_100_ns() {
    for ns in [0, 1_795_243_106_329_494_500, -1_000_000_000_100, 100] {
        assert_eq!(timestamp(date_time(Timestamp(ns))), Some(Timestamp(ns)));
    }
    assert_eq!(timestamp(date_time(Timestamp(199))), Some(Timestamp(100)));
    assert_eq!(timestamp(opcua::types::DateTime::endtimes()), None);
}

#[test]
fn qualities_keep_their_level_across_the_wire() {
    assert_eq!(quality(status(Quality::Good)), Quality::Good);
    assert_eq!(quality(StatusCode::Good.set_overflow(true)), Quality::Good);
    for flaw in [Flaw::OutOfRange, Flaw::DeviceReported, Flaw::Stale] {
        let doubtful = Quality::Uncertain(Flaw::DeviceReported);
        assert_eq!(quality(status(Quality::Uncertain(flaw))), doubtful);
        assert!(quality(status(Quality::Bad(flaw))).is_bad());
    }
    assert_eq!(quality(status(Quality::Bad(Flaw::CommLost))), Quality::Bad(Flaw::CommLost));
}

/// A feed of two points, with or without a sequence.
fn feed(sequence: bool) -> (Feed, Pending) {
    let mut slots = vec![Slot::Point(PointIx(4)), Slot::Point(PointIx(5))];
    slots.extend(sequence.then_some(Slot::Sequence));
    let pending = Pending::default();
    let clock = Arc::new(ManualClock::new(Timestamp(77)));
    (Feed::new(slots, Arc::clone(&pending), clock), pending)
}

fn at(time: i64, value: impl Into<Variant>) -> DataValue {
    DataValue::new_at(value, date_time(Timestamp(time)))
}

fn events(pending: &Pending) -> Vec<LinkEvent> {
    std::mem::take(&mut *pending.lock().unwrap())
}

/// Sequence and (point, value) ... of a frame.
type Plain = (Option<u64>, Vec<(u16, f64)>);

fn frames(pending: &Pending) -> Vec<Plain> {
    let plain = |s: &Sample| (s.point.0, s.value);
    let frame = |event: LinkEvent| match event {
        LinkEvent::Frame(f) => {
            assert_eq!(f.received, Timestamp(77));
            (f.sequence, f.samples.iter().map(plain).collect())
        }
        other => panic!("not a frame: {other:?}"),
    };
    events(pending).into_iter().map(frame).collect()
}

#[test]
fn a_backlog_of_measurements_is_taken_apart_by_source_time() {
    let (mut feed, pending) = feed(true);
    let changes = [
        (1, at(100, 1.0)),
        (1, at(200, 2.0)),
        (2, at(200, 9.0)),
        (3, at(200, 8_u64)),
        (3, at(100, 7_u64)),
        (3, at(300, 9_u64)),
    ];
    feed.changes(changes.into_iter());
    let want = vec![
        (Some(7), vec![(4, 1.0)]),
        (Some(8), vec![(4, 2.0), (5, 9.0)]),
        // A measurement without values is a sign of life.
        (Some(9), vec![]),
    ];
    assert_eq!(frames(&pending), want);
}

#[test]
fn a_value_older_than_the_measurement_does_not_get_its_number() {
    let (mut feed, pending) = feed(true);
    feed.changes([(1, at(100, 1.0)), (2, at(200, 2.0)), (3, at(200, 8_u64))].into_iter());
    assert_eq!(frames(&pending), vec![(None, vec![(4, 1.0)]), (Some(8), vec![(5, 2.0)])]);
}

#[test]
fn a_foreign_server_gives_one_frame_per_notification() {
    let (mut feed, pending) = feed(false);
    feed.changes([(1, at(100, 1_i16)), (2, at(200, true)), (9, at(1, 1.0))].into_iter());
    assert_eq!(frames(&pending), vec![(None, vec![(4, 1.0), (5, 1.0)])]);
}

#[test]
fn a_link_ends_when_the_server_lost_the_whole_device_and_not_before() {
    let (mut feed, pending) = feed(false);
    let gone = || DataValue {
        value: Some(Variant::Empty),
        status: Some(StatusCode::BadNoCommunication),
        ..DataValue::default()
    };
    feed.changes([(1, gone())].into_iter());
    let seen = events(&pending);
    let [LinkEvent::Frame(frame)] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(frame.samples[0].quality, Quality::Bad(Flaw::CommLost));
    feed.changes([(2, gone())].into_iter());
    assert!(matches!(events(&pending).as_slice(), [LinkEvent::Closed(_)]));
}

#[test]
fn waiting_for_a_first_value_is_no_value() {
    let (mut feed, pending) = feed(false);
    let waiting =
        DataValue { status: Some(StatusCode::BadWaitingForInitialData), ..DataValue::default() };
    feed.changes([(1, waiting)].into_iter());
    assert_eq!(events(&pending), []);
}

#[tokio::test]
async fn accepted_sockets_inherit_tcp_nodelay_from_the_listener() {
    let listener = crate::device::listen(None).unwrap();
    let address = listener.local_addr().unwrap();
    let client = tokio::net::TcpStream::connect(address);
    let (accepted, _client) = tokio::join!(listener.accept(), client);
    assert!(accepted.unwrap().0.nodelay().unwrap());
}
