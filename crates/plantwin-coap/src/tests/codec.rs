//! Settings, payloads and the small rules of the message layer.

use std::time::Duration;

use plantwin_adapter::{Measurement, Protocol, Sample, conformance};
use plantwin_model::{Flaw, PointIx, Quality, SettingValue, Timestamp};
use proptest::prelude::*;
use smallvec::smallvec;
use tokio::time::Instant;

use super::support::{map, path};
use crate::{
    Coap,
    config::{Config, Content, endpoint},
    message::{self, Dice, Due, Transmission},
    payload,
};

#[test]
fn addresses_are_read_with_scheme_and_default_port() {
    for (written, meant) in [
        ("127.0.0.1:7", "127.0.0.1:7"),
        ("coap://plc.lab", "plc.lab:5683"),
        ("coap://[::1]:99/", "[::1]:99"),
        ("[::1]", "[::1]:5683"),
        ("::1", "[::1]:5683"),
    ] {
        assert_eq!(endpoint(written, false).as_deref(), Ok(meant), "{written}");
    }
    for (written, meant) in [("plc.lab", "plc.lab:5684"), ("coaps://[::1]:99/", "[::1]:99")] {
        assert_eq!(endpoint(written, true).as_deref(), Ok(meant), "{written}");
    }
    assert!(endpoint("coap://plc.lab", true).is_err_and(|e| e.contains("coaps://")));
    for wrong in ["", "coaps://h", "h:0", "h:x", "h:70000", "a/b:1", "coap://"] {
        assert!(endpoint(wrong, false).is_err(), "{wrong}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let wrong = [
        (path(&[("addr", "coaps://h")]), "addr"),
        (path(&[("addr", "h"), ("psk_identity", "a")]), "psk_identity"),
        (path(&[("addr", "h"), ("psk_file", "a")]), "psk_file"),
        (path(&[("psk_identity", &"x".repeat(129)), ("psk_file", "a")]), "psk_identity"),
        (path(&[("path", "//")]), "path"),
        (path(&[("path", "a/../b")]), "path"),
        (map(path(&[]), 0, "path", "a?b=1"), "path"),
        (map(map(path(&[]), 0, "path", "a"), 0, "json", "level"), "json"),
        (map(path(&[]), 0, "json", "/level"), "json"),
    ];
    for (path, key) in wrong {
        let problems = (Coap.schema().validate)(&path);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].0, key);
    }
}

#[test]
fn devices_may_share_a_document_but_not_a_value() {
    let at = |json| {
        let shared = map(path(&[("addr", "gw")]), 0, "path", "status");
        (Coap.schema().addresses)(json, &map(shared, 0, "json", &format!("/{json}")))
    };
    assert_eq!(at("a"), ["gw:5683/a", "gw:5683/status#/a"]);
    assert!(at("a").iter().all(|x| !at("b").contains(x)));
}

#[test]
fn mapped_points_get_their_own_resources_and_the_rest_stays_native() {
    let mut spec = map(map(path(&[("path", "lab/t1")]), 0, "path", "/s/doc"), 0, "json", "/l");
    spec = map(map(map(spec, 1, "path", "s/doc"), 1, "json", "/f"), 3, "set", "act/split");
    let polled = spec.points.entry(PointIx(2)).or_default();
    polled.insert("path".to_owned(), SettingValue::Text("u".to_owned()));
    polled.insert("observe".to_owned(), SettingValue::Flag(false));
    let config =
        Config::new(&"x".into(), &conformance::points(), &spec, false).expect("good settings");
    let seen: Vec<_> =
        config.resources.iter().map(|r| (r.path.join("/"), r.observe, &r.content)).collect();
    let doc = Content::Points(vec![
        (PointIx(0), Some("/l".to_owned())),
        (PointIx(1), Some("/f".to_owned())),
    ]);
    assert_eq!(
        seen,
        [
            ("lab/t1".to_owned(), true, &Content::Native(vec![PointIx(3)])),
            ("s/doc".to_owned(), true, &doc),
            ("u".to_owned(), false, &Content::Points(vec![(PointIx(2), None)])),
        ]
    );
    let set: Vec<_> = config.set.iter().map(|p| p.join("/")).collect();
    assert_eq!(set, ["s/doc", "s/doc", "u", "act/split"]);
}

#[test]
fn a_native_payload_has_the_documented_form() {
    let m = Measurement::good(Timestamp::from_millis(1_700_000_000_123), 12, &[12.4]);
    let text = String::from_utf8(payload::encode(&m, &conformance::points())).expect("text");
    assert_eq!(text, r#"{"seq":12,"t":1700000000123,"v":{"level":12.4}}"#);
}

#[test]
fn values_survive_to_the_last_bit() {
    // serde_json's default parser gives this one back one bit off.
    let value = 5.846_820_946_225_544e-9;
    let points = conformance::points();
    let text = payload::encode(&Measurement::good(Timestamp(0), 1, &[value]), &points);
    let back = payload::decode(&text, &points, &[PointIx(0)]).expect("own form");
    assert_eq!(back.samples[0].value.to_bits(), value.to_bits());
}

#[test]
fn whatever_cannot_be_read_is_malformed_and_what_a_device_doubts_is_bad() {
    let points = conformance::points();
    let all = [PointIx(0), PointIx(1), PointIx(2), PointIx(3)];
    let text =
        br#"{"v":{"level":"x","flow":null,"voltage":{"v":1,"q":"uncertain"},"split":"NaN"}}"#;
    let native = payload::decode(text, &points, &all).expect("the native form");
    let quality: Vec<_> = native.samples.iter().map(|s| s.quality).collect();
    assert_eq!(
        quality,
        [
            Quality::Bad(Flaw::Malformed),
            Quality::Bad(Flaw::DeviceReported),
            Quality::Uncertain(Flaw::DeviceReported),
            Quality::Good,
        ]
    );
    assert!(native.samples[3].value.is_nan(), "\"NaN\" is a NaN");
    for wrong in [&b"{"[..], b"[]", b"{}", b"{\"v\":3}", b"\xff"] {
        assert_eq!(payload::decode(wrong, &points, &all), None);
    }
    let of = |text: &[u8], pointer| payload::decode_point(text, PointIx(0), pointer);
    assert_eq!(of(b" 12.5\n", None).map(|s| s.value), Some(12.5));
    assert!(of(b"NaN", None).is_some_and(|s| s.value.is_nan() && s.quality.is_good()));
    assert_eq!(of(b"", None), None, "no value yet");
    assert_eq!(of(br#"{"a":{"b":2}}"#, Some("/a/b")).map(|s| s.value), Some(2.0));
    for (text, pointer) in [(&b"wet"[..], None), (b"{}", Some("/a")), (b"3", Some("/a"))] {
        let sample = of(text, pointer).expect("a sample");
        assert_eq!(sample.quality, Quality::Bad(Flaw::Malformed));
    }
}

#[test]
fn freshness_follows_the_rule_of_rfc_7641_also_across_the_wrap() {
    let t = Instant::now();
    let soon = t + Duration::from_secs(1);
    for (old, new, fresh) in [
        (1, 2, true),
        (2, 1, false),
        (2, 2, false),
        (0x00FF_FFFF, 0, true),
        (0, 0x00FF_FFFF, false),
    ] {
        assert_eq!(message::fresher((old, t), (new, soon)), fresh, "{old} {new}");
    }
    assert!(message::fresher((2, t), (1, t + Duration::from_secs(129))), "old enough to wrap");
}

#[test]
fn a_confirmable_message_is_sent_five_times_with_doubling_pauses() {
    let start = Instant::now();
    let second = Duration::from_secs(2);
    let mut t = Transmission::new(vec![1], start, second, &mut Dice::default());
    let first = t.due - start;
    assert!(first >= second && first <= second * 3 / 2, "{first:?}");
    let mut pause = first;
    for _ in 0..4 {
        let now = t.due;
        assert_eq!(t.poll(now - Duration::from_millis(1)), Due::Nothing);
        assert_eq!(t.poll(now), Due::Again);
        pause *= 2;
        assert_eq!(t.due - now, pause);
    }
    assert_eq!(t.poll(t.due), Due::GivenUp);
}

#[test]
fn a_broken_confirmable_message_is_reset_and_other_garbage_is_not() {
    // Token length 9 is reserved (RFC 7252 §3).
    assert_eq!(message::parse(&[0x49, 1, 0xAB, 0xCD]), Err(Some(vec![0x70, 0, 0xAB, 0xCD])));
    assert_eq!(message::parse(&[0x59, 1, 0xAB, 0xCD]), Err(None), "non-confirmable");
    assert_eq!(message::parse(&[0xC0, 1, 0, 1]), Err(None), "version 3");
    assert_eq!(message::parse(&[0x40, 1]), Err(None), "too short");
}

proptest! {
    #[test]
    fn no_datagram_makes_either_face_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::handle_any_datagram(&bytes);
    }

    #[test]
    fn no_datagram_that_begins_well_makes_either_face_panic(
        kind in 0_u8..4, code in prop::sample::select(vec![0, 1, 2, 3, 4, 0x45, 0x84, 0xA0, 0xFF]),
        token in prop::collection::vec(any::<u8>(), 0..9),
        options in prop::collection::vec((0_u16..30, prop::collection::vec(any::<u8>(), 0..6)), 0..6),
        body in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut packet = coap_lite::Packet::new();
        packet.header.code = code.into();
        packet.set_token(token);
        packet.add_option(coap_lite::CoapOption::UriPath, b"a".to_vec());
        for (number, value) in options {
            packet.add_option(number.into(), value);
        }
        packet.payload = body;
        let mut bytes = message::bytes(&packet);
        bytes[0] = (bytes[0] & 0xCF) | kind << 4;
        crate::handle_any_datagram(&bytes);
    }

    #[test]
    fn a_native_payload_comes_back_as_it_was(
        seq in any::<u64>(), ms in 0_i64..4_000_000_000_000,
        a in any::<f64>(), b in any::<f64>(), bad in any::<bool>(),
    ) {
        let time = Timestamp::from_millis(ms);
        let quality = if bad { Quality::Bad(Flaw::DeviceReported) } else { Quality::Good };
        let sample = |point, value, quality| {
            Sample { point: PointIx(point), value, quality, source_time: Some(time) }
        };
        let samples = smallvec![sample(0, a, quality), sample(1, b, Quality::Good)];
        let m = Measurement { time, sequence: seq, samples };
        let points = conformance::points();
        let text = payload::encode(&m, &points);
        let back = payload::decode(&text, &points, &[PointIx(0), PointIx(1)]).expect("own form");
        prop_assert_eq!(back.sequence, Some(seq));
        for (x, y) in back.samples.iter().zip(&m.samples) {
            prop_assert!(x.value == y.value || (x.value.is_nan() && y.value.is_nan()));
            prop_assert_eq!((x.point, x.quality, x.source_time), (y.point, y.quality, y.source_time));
        }
    }

    #[test]
    fn blocks_of_any_size_make_the_whole(body in prop::collection::vec(any::<u8>(), 1..4000), exponent in 0_u8..7) {
        let mut whole = Vec::new();
        for number in 0.. {
            let block = coap_lite::block_handler::BlockValue { num: number, more: false, size_exponent: exponent };
            let mut packet = coap_lite::Packet::new();
            prop_assert!(message::put_body(&mut packet, &body, Some(&block)));
            whole.extend_from_slice(&packet.payload);
            let got = message::block2(&packet).expect("sound").expect("present");
            prop_assert_eq!((got.num, got.size_exponent), (number, exponent));
            if !got.more { break }
        }
        prop_assert_eq!(whole, body);
    }
}
