//! Payloads: foreign bytes in, our own round trip.

use std::{collections::BTreeMap, sync::Arc};

use plantwin_adapter::{Frame, Measurement, Sample, conformance::points};
use plantwin_model::{DeviceId, Flaw, PathSpec, PointIx, Quality, Timestamp};
use proptest::prelude::*;
use rumqttc::v5::mqttbytes::{QoS, v5::Publish};

use super::path;
use crate::{
    client::publish_size,
    config::{Config, Route, Topics},
    payload::{MAX_PAYLOAD, decode, decode_write, encode},
};

const GOOD: Quality = Quality::Good;
const MALFORMED: Quality = Quality::Bad(Flaw::Malformed);
const REPORTED: Quality = Quality::Bad(Flaw::DeviceReported);

fn names() -> Vec<(Arc<str>, PointIx)> {
    ["level", "flow"].iter().zip(0..).map(|(n, ix)| (Arc::from(*n), PointIx(ix))).collect()
}

fn read(payload: &[u8]) -> Frame {
    let route = Route { native: true, mapped: Vec::new() };
    decode(&route, &names(), payload, Timestamp(1))
}

/// Checks the samples as (point, value, quality), NaN being equal to itself.
fn check(payload: &str, want: &[(u16, f64, Quality)]) {
    same(payload, &read(payload.as_bytes()), want);
}

fn same(payload: &str, frame: &Frame, want: &[(u16, f64, Quality)]) {
    let got: Vec<_> = frame.samples.iter().map(|s| (s.point.0, s.value, s.quality)).collect();
    let equal = |a: &(u16, f64, Quality), b: &(u16, f64, Quality)| {
        a.0 == b.0 && (a.1 == b.1 || a.1.is_nan() && b.1.is_nan()) && a.2 == b.2
    };
    let all = got.len() == want.len() && got.iter().zip(want).all(|(a, b)| equal(a, b));
    assert!(all, "{payload}: got {got:?}, want {want:?}");
}

#[test]
fn the_native_payload_is_read_in_every_form_it_may_take() {
    check(r#"{"v":{"level":12.4,"flow":3}}"#, &[(0, 12.4, GOOD), (1, 3.0, GOOD)]);
    check(r#"{"v":{"flow":-1e-3},"more":[{}]}"#, &[(1, -1e-3, GOOD)]);
    check(r#"{"v":{"level":null}}"#, &[(0, f64::NAN, REPORTED)]);
    check(
        r#"{"v":{"level":"NaN","flow":"-inf"}}"#,
        &[(0, f64::NAN, GOOD), (1, f64::NEG_INFINITY, GOOD)],
    );
    check(r#"{"v":{"level":true,"flow":"2.5"}}"#, &[(0, 1.0, GOOD), (1, 2.5, GOOD)]);
    check(
        r#"{"v":{"level":{"q":"bad","v":1},"flow":{"v":2,"q":"uncertain"}}}"#,
        &[(0, 1.0, REPORTED), (1, 2.0, Quality::Uncertain(Flaw::DeviceReported))],
    );
    check(
        r#"{"v":{"level":{"v":1,"q":"so-so"}}}"#,
        &[(0, 1.0, Quality::Uncertain(Flaw::Malformed))],
    );
    check(r#"{"v":{"level":1,"level":2,"unknown":3}}"#, &[(0, 2.0, GOOD)]);
    check(r#"{"v":{"l\u0065vel":7}}"#, &[(0, 7.0, GOOD)]);
    check(r#"{"v":{}}"#, &[]);
}

#[test]
fn sequence_and_time_are_read_wherever_they_stand() {
    let frame = read(br#"{"v":{"level":1},"t":1700000000123,"seq":12}"#);
    assert_eq!((frame.sequence, frame.received), (Some(12), Timestamp(1)));
    assert_eq!(frame.samples[0].source_time, Some(Timestamp::from_millis(1_700_000_000_123)));
    let frame = read(br#"{"v":{"level":1},"t":1.5,"seq":null}"#);
    assert_eq!((frame.sequence, frame.samples[0].source_time), (None, Some(Timestamp(1_500_000))));
}

#[test]
fn what_cannot_be_read_is_malformed_once_for_each_point_of_the_topic() {
    let both = [(0, f64::NAN, MALFORMED), (1, f64::NAN, MALFORMED)];
    for payload in
        ["", "12", "{", r#"{"v":3}"#, r#"{"seq":1}"#, r#"{"v":{"level":1}} x"#, "\u{fffd}"]
    {
        check(payload, &both);
    }
    check(r#"{"seq":-1,"v":{"level":1}}"#, &both);
    check(r#"{"v":{"level":[1],"flow":2}}"#, &[(0, f64::NAN, MALFORMED), (1, 2.0, GOOD)]);
    check(r#"{"v":{"level":"high","flow":{}}}"#, &both);
    let deep = format!(r#"{{"v":{{"level":{}"#, r#"{"v":"#.repeat(5000));
    check(&deep, &both);
    let long = format!(r#"{{"v":{{"level":1}},"x":"{}"}}"#, "x".repeat(MAX_PAYLOAD));
    check(&long, &both);
    assert_eq!(read(br#"{"seq":5,"v":{"level":1},"t":"now"}"#).sequence, None);
}

#[test]
fn mapped_topics_carry_bare_numbers_or_pick_values_by_pointer() {
    let bare = Route { native: false, mapped: vec![(PointIx(3), None)] };
    for (payload, value, quality) in [
        ("12.5", 12.5, GOOD),
        (" 7\n", 7.0, GOOD),
        ("\"8\"", 8.0, GOOD),
        ("NaN", f64::NAN, GOOD),
        ("inf", f64::INFINITY, GOOD),
        ("false", 0.0, GOOD),
        ("null", f64::NAN, REPORTED),
        ("12 cm", f64::NAN, MALFORMED),
        ("", f64::NAN, MALFORMED),
    ] {
        same(
            payload,
            &decode(&bare, &[], payload.as_bytes(), Timestamp(0)),
            &[(3, value, quality)],
        );
    }
    let pointer = |p: u16, s: &str| (PointIx(p), Some(s.to_owned()));
    let json = Route { native: false, mapped: vec![pointer(0, "/a/0/t"), pointer(1, "/b")] };
    let check = |payload: &str, want: &[(u16, f64, Quality)]| {
        same(payload, &decode(&json, &[], payload.as_bytes(), Timestamp(0)), want);
    };
    check(r#"{"a":[{"t":4}],"b":"5"}"#, &[(0, 4.0, GOOD), (1, 5.0, GOOD)]);
    check(r#"{"b":6}"#, &[(1, 6.0, GOOD)]);
    check(r#"{"c":6}"#, &[(0, f64::NAN, MALFORMED), (1, f64::NAN, MALFORMED)]);
    check("no json", &[(0, f64::NAN, MALFORMED), (1, f64::NAN, MALFORMED)]);
}

#[test]
fn writes_are_bare_numbers() {
    assert_eq!(decode_write(b"3.25"), Some(3.25));
    assert!(decode_write(b"NaN").is_some_and(f64::is_nan));
    assert_eq!(decode_write(b"on"), None);
    assert_eq!(decode_write(b"null"), None);
    assert_eq!(decode_write(&[0xff]), None);
}

fn topics(path: &PathSpec) -> Topics {
    Config::read(&DeviceId::from("dev"), &points(), path, Some("h:1"), false).unwrap().topics
}

/// What the link reads of what the device writes, by point.
fn round_trip(topics: &Topics, m: &Measurement) -> BTreeMap<u16, Sample> {
    let mut got = BTreeMap::new();
    encode(topics, m, |topic, payload| {
        let frame = decode(&topics.routes[topic], &topics.native, &payload, Timestamp(0));
        got.extend(frame.samples.iter().map(|s| (s.point.0, *s)));
    });
    got
}

proptest! {
    #[test]
    fn link_and_device_agree_to_the_last_bit_for_every_kind_of_topic(
        values in proptest::array::uniform4(proptest::num::f64::ANY),
        bad in proptest::array::uniform4(any::<bool>()),
    ) {
        let mixed = path(&[], &[
            (0, &[("topic", "x"), ("json", "/a~1b/0/c")]),
            (1, &[("topic", "y")]),
            (2, &[("json", "/extra")]),
        ]);
        for path in [path(&[], &[]), mixed] {
            let topics = topics(&path);
            let mut m = Measurement::good(Timestamp::from_millis(5), 9, &values);
            for (sample, &bad) in m.samples.iter_mut().zip(&bad) {
                if bad { sample.quality = REPORTED; }
            }
            let got = round_trip(&topics, &m);
            prop_assert_eq!(got.len(), 4);
            for sample in &m.samples {
                let back = got[&sample.point.0];
                if sample.quality.is_good() {
                    let same = back.value == sample.value
                        || back.value.is_nan() && sample.value.is_nan();
                    prop_assert!(same && back.quality.is_good(), "{:?} {:?}", sample, back);
                } else {
                    prop_assert!(back.quality.is_bad() || back.value.is_nan(), "{:?}", back);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_outgrow_the_device(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        text in r#"[\[\]{}:,"vtseqlow.0-9einul ]{0,80}"#,
    ) {
        let topics = topics(&path(&[], &[(0, &[("json", "/v/level")]), (1, &[("topic", "y")])]));
        for payload in [noise.as_slice(), text.as_bytes()] {
            for route in topics.routes.values() {
                let frame = decode(route, &topics.native, payload, Timestamp(0));
                prop_assert!(frame.samples.len() <= 4);
            }
            let _ = decode_write(payload);
        }
    }

    #[test]
    fn packet_sizes_are_those_of_the_library(topic in "[a-z/]{1,300}", length in 0_usize..40_000) {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut packet = Publish::new(topic.clone(), qos, vec![0; length], None);
            packet.pkid = 7;
            prop_assert_eq!(publish_size(&topic, length, qos), packet.size());
        }
    }
}
