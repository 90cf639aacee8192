//! Settings: what is taken, what is refused and why.

use plantwin_adapter::{Protocol, conformance::points};
use plantwin_model::DeviceId;

use super::path;
use crate::{
    Mqtt,
    config::{Config, Route},
};

fn check(settings: &[(&str, &str)], mapped: &[(u16, &[(&str, &str)])], want: &[&str]) {
    let problems = (Mqtt.schema().validate)(&path(settings, mapped));
    let got: Vec<_> = problems.iter().map(|(key, problem)| format!("{key}: {problem}")).collect();
    assert_eq!(got, want, "{settings:?} {mapped:?}");
}

#[test]
fn settings_that_make_no_sense_are_named_with_the_reason() {
    check(&[("addr", "10.0.0.7:1883"), ("topic", "lab/tank1")], &[], &[]);
    check(&[("addr", "[::1]:1883")], &[], &[]);
    check(&[("addr", "broker")], &[], &["addr: `broker` is not HOST:PORT"]);
    check(&[("addr", "mqtt://a:1")], &[], &["addr: `mqtt://a:1` is not HOST:PORT"]);
    check(&[("addr", "::1:1883")], &[], &["addr: `::1:1883` is not HOST:PORT"]);
    check(&[("addr", "a:0")], &[], &["addr: `a:0` is not HOST:PORT"]);
    check(&[("topic", "a/+")], &[], &["topic: `a/+` must not contain `+`, `#` or NUL"]);
    check(&[("topic", "")], &[], &["topic: must not be empty"]);
    check(&[("password_file", "x")], &[], &["password_file: needs a `username`"]);
    check(&[("ca", "a"), ("cert", "b"), ("key", "c"), ("server_name", "d")], &[], &[]);
    check(&[("ca", "a"), ("pin", "b")], &[], &["pin: stands beside `ca`: keep one of them"]);
    check(&[("pin", "")], &[], &["pin: must not be empty"]);
    check(
        &[("ca", "a"), ("server_name", "a b")],
        &[],
        &["server_name: `a b` is neither a host name nor an IP address"],
    );
    let useless = "does nothing without TLS: give `ca` or `pin`, by which the broker is known";
    check(&[("cert", "a")], &[], &["cert: needs `key` too", format!("cert: {useless}").as_str()]);
    check(&[("pin", "a"), ("key", "b")], &[], &["key: needs `cert` too"]);
    check(&[], &[(0, &[("topic", "a/#")])], &["map: topic `a/#` must not contain `+`, `#` or NUL"]);
    check(
        &[],
        &[(0, &[("topic", "a"), ("json", "x")])],
        &["map: json `x` is no JSON pointer: it must begin with `/`"],
    );
    check(
        &[],
        &[(0, &[("topic", "a")]), (1, &[("topic", "a")])],
        &["map: two points read the same value of a"],
    );
    check(
        &[],
        &[(0, &[("topic", "a"), ("json", "/x")]), (1, &[("topic", "a"), ("json", "/y")])],
        &[],
    );
    check(
        &[],
        &[(2, &[("set", "a")]), (3, &[("set", "a")])],
        &["map: two points are written by `a`"],
    );
}

#[test]
fn topics_follow_from_the_device_and_can_be_overridden() {
    let settings = path(
        &[("addr", "h:1")],
        &[(1, &[("topic", "tele/7"), ("json", "/f")]), (2, &[("set", "cmnd/7")])],
    );
    let topics =
        Config::read(&DeviceId::from("dev"), &points(), &settings, None, false).unwrap().topics;
    let native: Vec<_> = topics.native.iter().map(|(name, point)| (&**name, point.0)).collect();
    assert_eq!(native, [("level", 0), ("voltage", 2), ("split", 3)]);
    assert_eq!(topics.set, [None, None, Some("cmnd/7".into()), Some("dev/set/split".into())]);
    assert_eq!(topics.status, "dev/status");
    assert_eq!(topics.routes["dev/data"], Route { native: true, mapped: vec![] });
    let mapped = vec![(plantwin_model::PointIx(1), Some("/f".to_owned()))];
    assert_eq!(topics.routes["tele/7"], Route { native: false, mapped });
    assert_eq!(topics.routes.len(), 2);
}

#[test]
fn a_sealed_device_has_a_topic_for_envelopes_and_none_for_values() {
    let mapped: &[(u16, &[(&str, &str)])] = &[(1, &[("topic", "a")]), (2, &[("set", "b")])];
    let settings = path(&[("addr", "h:1"), ("topic", "lab/7")], mapped);
    let read = |sealed| {
        let device = DeviceId::from("dev");
        Config::read(&device, &points(), &settings, None, sealed).unwrap().topics
    };
    let (sealed, plain) = (read(true), read(false));
    assert_eq!((sealed.sealed.as_deref(), plain.sealed), (Some("lab/7/sealed"), None));
    assert_eq!((sealed.routes.len(), sealed.native.len(), sealed.set.len()), (0, 0, 0));
    assert_eq!((sealed.status, sealed.session), (plain.status, plain.session));
}

#[test]
fn a_host_that_no_certificate_can_name_needs_a_server_name() {
    let read = |more: &[(&str, &str)]| {
        let settings = [&[("addr", "a*b:1"), ("ca", "x")], more].concat();
        let settings = path(&settings, &[]);
        Config::read(&DeviceId::from("dev"), &points(), &settings, None, false).err()
    };
    let want =
        "`server_name` is missing: in `addr`, `a*b` is neither a host name nor an IP address";
    assert_eq!(read(&[]), Some(plantwin_adapter::LinkError::Settings(want.to_owned())));
    assert_eq!(read(&[("server_name", "broker.example")]), None);
}

#[test]
fn two_devices_collide_only_on_the_same_broker_and_base_topic_or_client_id() {
    let of =
        |device, settings: &[(&str, &str)]| (Mqtt.schema().addresses)(device, &path(settings, &[]));
    assert_eq!(of("a", &[]), ["mqtt hub/a"]);
    assert_eq!(of("b", &[("topic", "a")]), ["mqtt hub/a"]);
    assert_eq!(
        of("a", &[("addr", "h:1"), ("client_id", "x")]),
        ["mqtt h:1/a", "mqtt h:1 client x"]
    );
}
