//! Restarts, promises of telemetry, the spool and the way out, as the file says them.

use std::time::Duration;

use super::{GOOD, lines, read, table};
use crate::{
    Delivery, DropPolicy, Escalation, PlantSpec, RestartStrategy, SettingValue, Severity,
    SpoolSpec, SupervisionSpec,
};

const DURABLE: &str = include_str!("durable.toml");

#[track_caller]
fn plant(text: &str) -> PlantSpec {
    let checked = read(text);
    assert_eq!(lines(&checked.diagnostics), "");
    checked.plant.expect("no diagnostics, so there is a plant")
}

#[test]
fn a_zone_overrides_the_restart_policy_of_the_plant_key_by_key() {
    let plant = plant(DURABLE);
    let all = SupervisionSpec {
        strategy: RestartStrategy::RestForOne,
        max_restarts: 3,
        window: Duration::from_secs(30),
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(10),
        escalation: Escalation::Parent,
    };
    assert_eq!(plant.supervision, all);
    let field =
        SupervisionSpec { strategy: RestartStrategy::OneForAll, max_restarts: 2, ..all.clone() };
    assert_eq!(plant.zones[0].supervision, Some(field));
    assert_eq!(plant.zones[1].supervision, None, "as the plant says");
}

#[test]
fn a_plant_that_says_nothing_has_the_defaults() {
    let plant = plant(GOOD);
    assert_eq!(plant.supervision, SupervisionSpec::default());
    assert_eq!(plant.spool, SpoolSpec::default());
    assert_eq!(plant.northbound, None);
    assert!(plant.devices.iter().all(|d| d.delivery == Delivery::Latest));
}

#[test]
fn the_spool_takes_bytes_as_numbers_and_as_text() {
    let spool = |device: &str| {
        plant(&DURABLE.replace("device_bytes = \"16 MiB\"", &format!("device_bytes = {device}")))
            .spool
            .device_bytes
    };
    let all = plant(DURABLE).spool;
    assert_eq!((all.device_bytes, all.total_bytes), (16 << 20, 1_000_000_000));
    assert_eq!((all.max_age, all.drop), (Duration::from_hours(12), DropPolicy::Decimate));
    for (text, bytes) in [
        ("65536", 65_536),
        ("\"65536 B\"", 65_536),
        ("\"64 KiB\"", 65_536),
        ("\"64kB\"", 64_000),
        ("\"1.5 MB\"", 1_500_000),
        ("\"0.5 GB\"", 500_000_000),
    ] {
        assert_eq!(spool(text), bytes, "{text}");
    }
}

#[test]
fn the_way_out_takes_its_settings_from_the_protocol() {
    let out = plant(DURABLE).northbound.expect("the file has one");
    assert_eq!((out.protocol, out.window), ("mqtt", 32));
    assert!((out.rate - 500.0).abs() < 1e-12);
    let text = |s: &str| SettingValue::Text(s.to_owned());
    assert_eq!(out.settings["addr"], text("broker.example:1883"));
    assert_eq!(out.settings["topic"], text("site/line"));
    assert_eq!(out.settings["qos"], SettingValue::Integer(1), "what is durable is acknowledged");
    let bare = DURABLE.replace("rate = 500\nwindow = 32\n", "protocol = \"mqtt\"\n");
    let out = plant(&bare).northbound.expect("the file has one");
    assert!((out.rate - 1000.0).abs() < 1e-12);
    assert_eq!(out.window, 64);
}

#[test]
fn a_durable_device_has_its_measurements_acknowledged_where_the_protocol_can() {
    let plant = plant(DURABLE);
    let [gauge1, gauge2] = &plant.devices[..] else { panic!("two devices") };
    assert_eq!((gauge1.delivery, gauge2.delivery), (Delivery::Durable, Delivery::Latest));
    assert_eq!(gauge1.paths[0].integer("qos"), Some(1));
    assert_eq!(gauge1.paths[1].integer("qos"), None, "this protocol has no such setting");
    assert_eq!(gauge2.paths[0].integer("qos"), None, "as the protocol does it by itself");
    // A path that is only listed is no less durable.
    let listed = DURABLE.replace(
        "[device.gauge1.mqtt]\ntopic = \"gauge1\"\n[device.gauge1.opcua]\n",
        "paths = [\"mqtt\"]\n",
    );
    assert_eq!(self::plant(&listed).devices[0].paths[0].integer("qos"), Some(1));
}

#[test]
fn warnings_about_promises_do_not_stop_the_plant() {
    let alone = DURABLE.replace("delivery = \"durable\"", "delivery = \"latest\"");
    let lossy = DURABLE.replace("topic = \"gauge1\"", "topic = \"gauge1\"\nqos = 0");
    let (start, end) = (DURABLE.find("[northbound]"), DURABLE.find("[zone.field]"));
    let mut nowhere = DURABLE.to_owned();
    nowhere.replace_range(start.expect("it is there")..end.expect("it is there"), "");
    let mut out = String::new();
    for text in [alone, lossy, nowhere] {
        let checked = read(&text);
        assert!(checked.plant.is_some());
        assert!(checked.diagnostics.iter().all(|d| d.severity == Severity::Warning));
        out.push_str(&lines(&checked.diagnostics));
    }
    insta::assert_snapshot!(out);
}

/// Cases in which one text of the durable plant is replaced by another.
const CASES: &[(&str, &str)] = &[
    // Supervision.
    ("[supervision]", "[supervison]"),
    ("strategy = \"rest_for_one\"", "strategy = \"rest_for_all\""),
    ("strategy = \"rest_for_one\"", "strategie = \"rest_for_one\""),
    ("max_restarts = 3", "max_restarts = -1"),
    ("max_restarts = 3", "max_restarts = 1001"),
    ("max_restarts = 3", "max_restarts = \"3\""),
    ("window = \"30s\"", "window = \"0s\""),
    ("window = \"30s\"", "window = 30"),
    ("backoff = [\"200ms\", \"10s\"]", "backoff = \"200ms\""),
    ("backoff = [\"200ms\", \"10s\"]", "backoff = [\"200ms\"]"),
    ("backoff = [\"200ms\", \"10s\"]", "backoff = [\"10s\", \"200ms\"]"),
    ("backoff = [\"200ms\", \"10s\"]", "backoff = [\"0s\", \"10 m\"]"),
    ("escalate = \"parent\"", "escalate = \"grandparent\""),
    ("[zone.field.supervision]\nstrategy = \"one_for_all\"", "supervision = \"one_for_all\""),
    ("strategy = \"one_for_all\"", "strategy = \"all\"\nrestarts = 3"),
    // Spool.
    ("device_bytes = \"16 MiB\"", "device_bytes = \"16 MiBs\""),
    ("device_bytes = \"16 MiB\"", "device_bytes = \"a lot\""),
    ("device_bytes = \"16 MiB\"", "device_bytes = \"16\""),
    ("device_bytes = \"16 MiB\"", "device_bytes = 16.5"),
    ("device_bytes = \"16 MiB\"", "device_bytes = 16"),
    ("device_bytes = \"16 MiB\"", "device_bytes = \"-16 MiB\""),
    ("device_bytes = \"16 MiB\"", "device_bytes = \"1e30 GiB\""),
    ("device_bytes = \"16 MiB\"", "device_bytes = \"2 GiB\""),
    ("total_bytes = 1000000000", "total_bytes = \"8 MiB\""),
    ("device_bytes = \"16 MiB\"\ntotal_bytes = 1000000000", "device_bytes = \"5 GiB\""),
    ("device_bytes = \"16 MiB\"\ntotal_bytes = 1000000000", "total_bytes = \"1 MiB\""),
    ("max_age = \"12h\"", "max_age = \"1ms\""),
    ("drop = \"decimate\"", "drop = \"all\""),
    ("drop = \"decimate\"", "drops = \"oldest\""),
    // Northbound.
    ("[northbound]\nrate = 500\nwindow = 32\n[northbound.mqtt]", "[northbound.mqqt]"),
    ("[northbound]", "[northbond]"),
    ("rate = 500", "protocol = \"matt\""),
    ("rate = 500", "protocol = \"opcua\""),
    ("rate = 500", "rate = 0"),
    ("rate = 500", "rate = \"fast\""),
    ("rate = 500", "rate = 1e7"),
    ("window = 32", "window = 0"),
    ("window = 32", "window = 1025"),
    ("window = 32", "windows = 32"),
    ("[northbound.mqtt]", "[northbound.coap]"),
    ("[northbound.mqtt]", "[northbound.opcua]\n[northbound.mqtt]"),
    ("rate = 500\nwindow = 32", "protocol = \"mqtt\"\nopcua = {}"),
    ("[northbound.mqtt]\naddr = \"broker.example:1883\"\ntopic = \"site/line\"\n", ""),
    (
        "rate = 500\nwindow = 32\n[northbound.mqtt]\naddr = \"broker.example:1883\"\ntopic = \"site/line\"\n",
        "protocol = \"mqtt\"\n",
    ),
    ("addr = \"broker.example:1883\"\n", ""),
    ("addr = \"broker.example:1883\"\ntopic = \"site/line\"", "topic = \"\""),
    ("addr = \"broker.example:1883\"", "addr = 1883"),
    ("topic = \"site/line\"", "topic = \"\""),
    ("topic = \"site/line\"", "topik = \"site/line\""),
    ("topic = \"site/line\"", "qos = 0"),
    ("topic = \"site/line\"", "map.x = { topic = \"x\" }"),
    // Delivery.
    ("delivery = \"durable\"", "delivery = \"exactly-once\""),
    ("delivery = \"latest\"", "delivery = 1"),
    ("delivery = \"latest\"", "delivry = \"latest\""),
    ("topic = \"gauge1\"", "topic = \"gauge1\"\nqos = 0"),
];

#[test]
fn every_mistake_about_restarts_spool_and_way_out_is_named_with_its_place_and_cure() {
    insta::assert_snapshot!(table(DURABLE, CASES, |text| read(text).diagnostics));
}
