//! Tests of the pure parts; sockets are in `tests/`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use opcua::{
    crypto::SecurityPolicy,
    types::{
        ByteString, DataValue, EndpointDescription, MessageSecurityMode, StatusCode,
        UserTokenPolicy, UserTokenType, Variant,
    },
};
use plantwin_adapter::{LinkEvent, ManualClock, SEALED_LIMIT, Sample};
use plantwin_model::{Flaw, PathSpec, PointIx, Quality, SettingValue, Span, Timestamp};
use tokio::time::Instant;

use crate::{
    choose::choose,
    config::{PathConfig, SCHEMA},
    feed::{Feed, Pending, Slot},
    gate::{Allowance, BURST, PER_SECOND},
    opn::{NotOpcUa, OpnWatch},
    pki::{KEPT, keep_newest},
    secret::Secret,
    security::Protection,
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
    let secure = ("security", "sign-encrypt");
    check(&[("pki", "certs"), secure], None, &[]);
    check(&[("security", "sign"), ("server_cert", "plc.der")], None, &[]);
    check(&[("server_cert", "plc.der")], None, &["server_cert"]);
    check(&[("password", "x")], None, &["password"]);
    check(&[("password_file", "x")], None, &["password_file"]);
    let user = ("user", "op");
    check(&[user, secure, ("password_file", "x")], None, &[]);
    check(&[user, secure, ("password_file", "x"), ("password", "x")], None, &["password"]);
    check(&[("user_cert", "c"), secure], None, &["user_cert"]);
    check(&[("user_key", "k"), secure], None, &["user_key"]);
    check(&[("user_cert", "c"), ("user_key", "k"), secure], None, &[]);
    check(&[("user_cert", "c"), ("user_key", "k"), user, secure], None, &["user_cert"]);
    check(&[("policy", "Basic256Sha256"), secure], None, &[]);
    check(&[("policy", "Rot13"), secure], None, &["policy"]);
    check(&[("node", ""), ("user", "")], None, &["node", "user"]);
    check(&[], Some("level"), &["map"]);
}

#[test]
fn a_password_in_clear_and_a_broken_policy_are_refused_with_their_reason() {
    let why = |settings: &[(&str, &str)]| {
        let problems = (SCHEMA.validate)(&path(settings, None));
        let one = |(key, message): (String, String)| format!("{key} {message}");
        problems.into_iter().map(one).collect::<Vec<_>>().join("; ")
    };
    for settings in [&[("user", "op")][..], &[("user", "op"), ("security", "none")]] {
        let why = why(settings);
        assert!(why.starts_with("user needs `security") && why.contains("in clear"), "{why}");
    }
    let secure = ("security", "sign-encrypt");
    let old = why(&[secure, ("policy", "Basic128Rsa15")]);
    assert!(old.contains("switched off") && old.contains("RUSTSEC-2023-0071"), "{old}");
    let old = why(&[secure, ("policy", "Basic256")]);
    assert!(old.contains("switched off") && old.contains("SHA-1"), "{old}");
}

#[test]
fn a_password_is_never_shown() {
    let settings = [("addr", "a:1"), ("security", "sign"), ("user", "op"), ("password", "hunter2")];
    let read = PathConfig::read(&"tank".into(), &[], &path(&settings, None)).expect("it is fine");
    let shown = format!("{read:?} {:?}", read.protection);
    assert!(shown.contains("op") && !shown.contains("hunter2"), "{shown}");
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

#[test]
fn of_a_sealed_device_only_envelopes_are_heard() {
    let pending = Pending::default();
    let clock = Arc::new(ManualClock::new(Timestamp(77)));
    let mut feed = Feed::new(vec![Slot::Sealed], Arc::clone(&pending), clock);
    let bytes = |n: usize| at(100, Variant::ByteString(ByteString::from(vec![7; n])));
    let changes = [
        bytes(1),
        bytes(SEALED_LIMIT),
        // Too long, empty, no bytes at all, a bad status: nothing that could be opened.
        bytes(SEALED_LIMIT + 1),
        bytes(0),
        at(100, 3.5),
        DataValue { status: Some(StatusCode::BadSensorFailure), ..DataValue::default() },
    ];
    feed.changes(changes.into_iter().map(|value| (1, value)));
    let seen: Vec<usize> = events(&pending)
        .into_iter()
        .map(|event| match event {
            LinkEvent::Sealed { received: Timestamp(77), envelope, receipt: None } => {
                envelope.len()
            }
            other => panic!("no envelope: {other:?}"),
        })
        .collect();
    assert_eq!(seen, [1, SEALED_LIMIT]);
}

#[tokio::test]
async fn accepted_sockets_inherit_tcp_nodelay_from_the_listener() {
    let listener = crate::device::listen(None).unwrap();
    let address = listener.local_addr().unwrap();
    let client = tokio::net::TcpStream::connect(address);
    let (accepted, _client) = tokio::join!(listener.accept(), client);
    assert!(accepted.unwrap().0.nodelay().unwrap());
}

/// The header of an OpenSecureChannel message with a body.
fn opn(policy: &str, body: usize) -> Vec<u8> {
    let mut bytes = b"OPNF".to_vec();
    bytes.extend(((16 + policy.len() + body) as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((policy.len() as u32).to_le_bytes());
    bytes.extend(policy.as_bytes());
    bytes.resize(bytes.len() + body, b'O');
    bytes
}

#[test]
fn policies_are_seen_however_the_stream_is_cut_and_never_after_the_message_is_whole() {
    let mut stream = b"HELF\x0c\0\0\0OPNF".to_vec();
    stream.extend(opn("first", 40));
    let first_ends = stream.len();
    stream.extend(*b"MSGF\x10\0\0\0OPNFabcd");
    stream.extend(opn("", 1));
    stream.extend(opn("second", 0));
    for step in [1, 2, 7, 16, 33, stream.len()] {
        let mut watch = OpnWatch::default();
        let (mut seen, mut fed) = (Vec::new(), 0);
        for part in stream.chunks(step) {
            fed += part.len();
            seen.extend(watch.feed(part).expect("it is well formed"));
            assert!(fed < first_ends || seen.first().is_some_and(|p| p == "first"), "{step}");
        }
        assert_eq!(seen, ["first", "", "second"], "in parts of {step}");
    }
    let bad: [&[u8]; 4] =
        [b"OPNF\x08\0\0\0", b"MSGF\x07\0\0\0", b"OPNF\xff\0\0\0\0\0\0\0\0\x01\0\0", &[0; 8]];
    for garbage in bad {
        assert_eq!(OpnWatch::default().feed(garbage), Err(NotOpcUa), "{garbage:?}");
    }
}

#[test]
fn a_source_has_its_burst_then_its_rate_and_takes_nothing_from_others() {
    let (mut allowance, start) = (Allowance::default(), Instant::now());
    let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
    let mut taken = |source: IpAddr, after_ms: u64, tries: usize| {
        let now = start + Duration::from_millis(after_ms);
        (0..tries).filter(|_| allowance.take(source, now)).count()
    };
    assert_eq!(taken(address(1), 0, 1000), BURST as usize);
    assert_eq!(taken(address(2), 0, 10), 10);
    assert_eq!(taken(address(1), 1000, 1000), PER_SECOND as usize);
    assert_eq!(taken(address(1), 3_600_000, 1000), BURST as usize);
    // Of one network of IPv6 all addresses are one source.
    let v6 = |n: u128| IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) + n));
    let all: usize = (0..200).map(|n| taken(v6(n), 0, 1)).sum();
    assert_eq!(all, BURST as usize);
    // A flood from everywhere shares one allowance once it is too much to remember.
    let flood: usize = (0..3000).map(|n| taken(address(1000 + n), 3_600_000, 1)).sum();
    assert!(flood <= 1024 + BURST as usize, "{flood}");
}

/// An endpoint as a server lists it.
fn endpoint(
    mode: MessageSecurityMode,
    policy: SecurityPolicy,
    token: UserTokenType,
    token_policy: &str,
) -> EndpointDescription {
    EndpointDescription {
        security_mode: mode,
        security_policy_uri: policy.to_uri().into(),
        user_identity_tokens: Some(vec![UserTokenPolicy {
            token_type: token,
            security_policy_uri: token_policy.into(),
            ..Default::default()
        }]),
        ..Default::default()
    }
}

#[test]
fn a_password_goes_only_to_endpoints_where_nobody_can_read_or_decrypt_it() {
    let wanted = |security: &str| {
        let settings = [("security", security), ("user", "op"), ("password", "x")];
        Protection::read(&path(&settings, None))
    };
    let none = SecurityPolicy::None.to_uri();
    let old = SecurityPolicy::Basic128Rsa15.to_uri();
    let good = SecurityPolicy::Basic256Sha256;
    let (sign, encrypt) = (MessageSecurityMode::Sign, MessageSecurityMode::SignAndEncrypt);
    let check = |security: &str, mode, token_policy: &str, taken: bool| {
        let listed = endpoint(mode, good, UserTokenType::UserName, token_policy);
        let chosen = choose(vec![listed], &wanted(security));
        assert_eq!(chosen.is_ok(), taken, "{security} {mode:?} {token_policy}: {chosen:?}");
    };
    check("sign-encrypt", encrypt, none, true);
    check("sign-encrypt", encrypt, "", true);
    check("sign-encrypt", encrypt, old, false);
    check("sign-encrypt", encrypt, "urn:unknown", false);
    check("sign-encrypt", sign, "", false);
    check("sign", sign, none, false);
    check("sign", sign, good.to_uri(), true);
    check("sign", sign, old, false);
}

#[test]
fn the_best_policy_is_used_and_a_deprecated_one_never() {
    let encrypt = MessageSecurityMode::SignAndEncrypt;
    let all = [
        SecurityPolicy::Basic128Rsa15,
        SecurityPolicy::Aes128Sha256RsaOaep,
        SecurityPolicy::Basic256Sha256,
        SecurityPolicy::Basic256,
    ];
    let listed = |policies: &[SecurityPolicy]| -> Vec<EndpointDescription> {
        let one = |p: &SecurityPolicy| {
            // The server recommends its worst one; that is not listened to.
            let level = if *p == SecurityPolicy::Basic128Rsa15 { 200 } else { 1 };
            let listed = endpoint(encrypt, *p, UserTokenType::Anonymous, "");
            EndpointDescription { security_level: level, ..listed }
        };
        policies.iter().map(one).collect()
    };
    let wanted = Protection::read(&path(&[("security", "sign-encrypt")], None));
    let chosen = choose(listed(&all), &wanted).expect("two of them will do");
    assert_eq!(chosen.security_policy_uri.as_ref(), SecurityPolicy::Basic256Sha256.to_uri());
    let why = choose(listed(&[all[0], all[3]]), &wanted).expect_err("both are off").to_string();
    assert!(why.contains("nothing better than Basic128Rsa15") && why.contains("2023"), "{why}");
    assert!(why.contains("it offers sign-encrypt with Basic128Rsa15, "), "{why}");
}

#[test]
fn certificates_of_strangers_do_not_fill_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..KEPT + 30 {
        std::fs::write(folder.path().join(format!("{n}.der")), "x").expect("written");
    }
    keep_newest(folder.path());
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), KEPT);
    keep_newest(&folder.path().join("nowhere"));
}

#[cfg(unix)]
#[test]
fn a_password_file_that_others_can_read_or_that_holds_no_line_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    let read = |text: &str, mode: u32| {
        std::fs::write(&file, text).expect("written");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, mode).expect("its mode is set");
        Secret::File(file.clone()).read().map(|text| text.to_string())
    };
    assert_eq!(read("pass word\n", 0o600), Ok("pass word".to_owned()));
    assert_eq!(read("pass word\r\n", 0o400), Ok("pass word".to_owned()));
    let open = read("secret", 0o640).expect_err("the group can read it");
    assert!(open.contains("mode 640") && open.contains("chmod 600"), "{open}");
    for text in ["", "\n", "one\ntwo\n", &"x".repeat(1025)] {
        let bad = read(text, 0o600).expect_err("it is no password");
        assert!(bad.contains("one line"), "{bad}");
    }
}
