//! What a protocol may be told in a plant file, as data.
//!
//! The file checker reads this to find unknown keys, wrong types and addresses used twice
//! without knowing any protocol. Absent: the protocols themselves.

use crate::PathSpec;

/// Name and keys of a protocol.
#[derive(Debug)]
pub struct ProtocolSchema {
    /// Key in plant files, e.g. `mqtt` in `[device.tank1.mqtt]`.
    pub name: &'static str,
    /// Keys of a path.
    pub settings: &'static [SettingSchema],
    /// Keys of a point in `map.POINT = { ... }`.
    pub point_settings: &'static [SettingSchema],
    /// Whether a physical device without `addr` is an error (a protocol with a hub can do
    /// without: the device then comes to the embedded hub).
    pub needs_addr: bool,
    /// Whether it travels in datagrams (UDP) rather than in a stream (TCP); the energy ledger adds
    /// what IP puts around each.
    pub datagrams: bool,
    /// Whether whoever receives a message acknowledges it, so that it can be held until what it
    /// says is safe. Without it a device's values are durable only from plantwin on, and nothing
    /// durable can go northbound over it.
    pub acknowledges: bool,
    /// Checks the values of a path's settings beyond their kind; problems as
    /// `(key, message)`, key empty for the path as a whole.
    pub validate: fn(&PathSpec) -> Vec<(String, String)>,
    /// What the path occupies, for finding addresses used twice: one text per occupied thing,
    /// e.g. `127.0.0.1:5683/tank1`. Two devices must not share any.
    pub addresses: fn(device: &str, path: &PathSpec) -> Vec<String>,
}

impl ProtocolSchema {
    /// A protocol over a stream with nothing to be set, whose devices are known by their names:
    /// for one that is new, and to write down only what is different,
    /// `ProtocolSchema { datagrams: true, ..ProtocolSchema::bare("smoke") }`.
    pub const fn bare(name: &'static str) -> Self {
        Self {
            name,
            settings: &[],
            point_settings: &[],
            needs_addr: false,
            datagrams: false,
            acknowledges: false,
            validate: |_| Vec::new(),
            addresses: |_, _| Vec::new(),
        }
    }
}

/// One key.
#[derive(Debug)]
pub struct SettingSchema {
    /// Key.
    pub key: &'static str,
    /// Kind of value.
    pub kind: SettingKind,
    /// One line for people: meaning, default, example.
    pub help: &'static str,
}

/// Kind of a setting's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingKind {
    /// Text.
    Text,
    /// Whole number within the bounds, inclusive.
    Integer(i64, i64),
    /// Number.
    Number,
    /// `true` or `false`.
    Flag,
}
