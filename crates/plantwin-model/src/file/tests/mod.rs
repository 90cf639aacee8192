//! Tests of the file reader: a small world of protocols and types, and a good plant in it.

mod bad_plants;
mod bad_types;
mod good;
mod limits;
mod robust;
mod shipped;
mod texts;
mod trust;
mod upkeep;

use std::{fmt::Write, sync::Arc};

use super::{Catalog, Checked, ReadOptions, TypeSource, read_plant, read_type};
use crate::{Diagnostic, MESSAGE_LIMIT, PathSpec, ProtocolSchema, SettingKind, SettingSchema};

const fn setting(key: &'static str, kind: SettingKind) -> SettingSchema {
    SettingSchema { key, kind, help: "" }
}

fn addresses(device: &str, path: &PathSpec) -> Vec<String> {
    let addr = path.text("addr").unwrap_or("hub");
    let topic = path.text("topic").unwrap_or(device);
    vec![format!("{addr}/{topic}")]
}

fn qos_needs_a_topic(path: &PathSpec) -> Vec<(String, String)> {
    let mut out = Vec::new();
    if path.integer("qos") == Some(2) && path.text("topic").is_none() {
        out.push(("qos".into(), "2 needs a topic".into()));
    }
    if path.text("topic") == Some("") {
        out.push((String::new(), "topic is empty".into()));
    }
    out
}

static MQTT: ProtocolSchema = ProtocolSchema {
    name: "mqtt",
    settings: &[
        setting("addr", SettingKind::Text),
        setting("topic", SettingKind::Text),
        setting("qos", SettingKind::Integer(0, 2)),
        setting("retain", SettingKind::Flag),
        setting("keep_alive", SettingKind::Number),
    ],
    point_settings: &[setting("topic", SettingKind::Text)],
    needs_addr: false,
    datagrams: false,
    acknowledges: true,
    validate: qos_needs_a_topic,
    addresses,
};

static COAP: ProtocolSchema = ProtocolSchema {
    name: "coap",
    settings: &[setting("addr", SettingKind::Text)],
    point_settings: &[setting("path", SettingKind::Text)],
    needs_addr: true,
    datagrams: false,
    acknowledges: false,
    validate: |_| Vec::new(),
    addresses,
};

static OPCUA: ProtocolSchema = ProtocolSchema {
    name: "opcua",
    settings: &[setting("addr", SettingKind::Text)],
    point_settings: &[setting("node", SettingKind::Text)],
    needs_addr: true,
    datagrams: false,
    acknowledges: false,
    validate: |_| Vec::new(),
    addresses,
};

/// Types of the tests, by name.
struct Shelf;

const SHELF: [(&str, &str); 4] = [
    ("tank", include_str!("tank.toml")),
    ("pump", include_str!("pump.toml")),
    ("broken", include_str!("broken.toml")),
    ("misnamed", "[twin]\ntype = \"other\"\n[property.x]\nunit = \"1\"\nrange = [0, 1]\n"),
];

impl TypeSource for Shelf {
    fn load(&self, name: &str) -> Option<(Arc<str>, Arc<str>)> {
        let (name, text) = SHELF.iter().find(|(n, _)| *n == name)?;
        Some((format!("twins/{name}.toml").into(), (*text).into()))
    }

    fn names(&self) -> Vec<String> {
        SHELF.iter().map(|(n, _)| (*n).to_owned()).collect()
    }
}

const CATALOG: Catalog = Catalog {
    protocols: &[&MQTT, &COAP, &OPCUA],
    types: &Shelf,
    energy_profiles: &["ethernet", "esp32c3-wifi"],
};

const GOOD: &str = include_str!("good.toml");
const TANK: &str = include_str!("tank.toml");

fn read(text: &str) -> Checked {
    read_plant("plant.toml", text, &CATALOG, &ReadOptions::default())
}

/// One line a diagnostic.
fn lines(diagnostics: &[Diagnostic]) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let _ = writeln!(out, "  {:?} {}: {d}", d.severity, d.code);
    }
    out
}

/// What holds for every diagnostic whatever the input.
#[track_caller]
fn check_form(diagnostics: &[Diagnostic]) {
    assert!(diagnostics.len() <= super::DIAGNOSTIC_LIMIT + 1);
    for d in diagnostics {
        for text in std::iter::once(&d.message).chain(&d.help) {
            assert!(text.chars().count() <= MESSAGE_LIMIT, "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(!text.is_empty());
        }
        assert!(d.line >= 1 && d.column >= 1);
    }
}

/// Reads `base` with one text in it replaced, per case, and prints every diagnostic.
#[track_caller]
fn table(base: &str, cases: &[(&str, &str)], read: impl Fn(&str) -> Vec<Diagnostic>) -> String {
    let mut out = String::new();
    for (old, new) in cases {
        assert!(base.contains(old), "{old:?} is not in the good file");
        let diagnostics = read(&base.replacen(old, new, 1));
        check_form(&diagnostics);
        assert!(!diagnostics.is_empty(), "nothing is wrong with {new:?} instead of {old:?}");
        let _ = write!(out, "{old:?} -> {new:?}\n{}", lines(&diagnostics));
    }
    out
}
