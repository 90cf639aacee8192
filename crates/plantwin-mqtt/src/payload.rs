//! Payloads to values and back.
//!
//! Everything here reads foreign bytes, so nothing here can fail: what cannot be read becomes a
//! sample of quality `Bad(Malformed)`. The native payload is read without building a tree.
//! Absent: topics and sockets.

use std::{fmt, io::Write as _, sync::Arc};

use plantwin_adapter::{Frame, Measurement, Sample};
use plantwin_model::{Flaw, PointIx, Quality, Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::config::{Route, Topics};

/// Longest payload that is read, bytes; longer ones are malformed.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;

/// Reads what a topic carries.
pub(crate) fn decode(
    route: &Route,
    native: &[(Arc<str>, PointIx)],
    payload: &[u8],
    received: Timestamp,
) -> Frame {
    let mut frame = Frame { received, sequence: None, samples: smallvec::SmallVec::new() };
    let payload = if payload.len() <= MAX_PAYLOAD { payload } else { b"" };
    let mut time = None;
    if route.native {
        if let Ok(source_time) = read_native(native, payload, &mut frame) {
            time = source_time;
        } else {
            frame.sequence = None;
            frame.samples = native.iter().map(|(_, point)| malformed(*point)).collect();
        }
    }
    if route.mapped.iter().any(|(_, pointer)| pointer.is_some()) {
        read_pointers(route, payload, &mut frame);
    }
    for (point, _) in route.mapped.iter().filter(|(_, pointer)| pointer.is_none()) {
        frame.samples.push(Reading::of_bytes(payload).sample(*point));
    }
    for sample in &mut frame.samples {
        sample.source_time = time;
    }
    frame
}

fn malformed(point: PointIx) -> Sample {
    Reading::MALFORMED.sample(point)
}

/// Values by pointer. A pointer that leads nowhere is skipped, since devices report parts; but
/// a payload in which no pointer leads anywhere is malformed.
fn read_pointers(route: &Route, payload: &[u8], frame: &mut Frame) {
    let before = frame.samples.len();
    let tree: Value = serde_json::from_slice(payload).unwrap_or(Value::Null);
    let pointed = || route.mapped.iter().filter_map(|(p, ptr)| Some((*p, ptr.as_deref()?)));
    for (point, pointer) in pointed() {
        let Some(value) = tree.pointer(pointer) else { continue };
        let reading = Reading::deserialize(value).unwrap_or(Reading::MALFORMED);
        frame.samples.push(reading.sample(point));
    }
    if frame.samples.len() == before {
        frame.samples.extend(pointed().map(|(point, _)| malformed(point)));
    }
}

fn read_native(
    names: &[(Arc<str>, PointIx)],
    payload: &[u8],
    frame: &mut Frame,
) -> Result<Option<Timestamp>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    let time = json.deserialize_map(NativeVisitor { names, frame })?;
    json.end()?;
    Ok(time)
}

/// A value and what is said of it.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Reading {
    value: f64,
    quality: Quality,
}

impl Reading {
    const MALFORMED: Self = Self { value: f64::NAN, quality: Quality::Bad(Flaw::Malformed) };
    const MISSING: Self = Self { value: f64::NAN, quality: Quality::Bad(Flaw::DeviceReported) };

    const fn good(value: f64) -> Self {
        Self { value, quality: Quality::Good }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes).map_or(Self::MALFORMED, Self::of_text)
    }

    /// A bare number, also in quotes; `nan` and `inf` pass, the session refuses them.
    fn of_text(text: &str) -> Self {
        match text.trim().trim_matches('"') {
            "true" => Self::good(1.0),
            "false" => Self::good(0.0),
            "null" => Self::MISSING,
            number => number.parse().map_or(Self::MALFORMED, Self::good),
        }
    }

    const fn sample(self, point: PointIx) -> Sample {
        Sample { point, value: self.value, quality: self.quality, source_time: None }
    }
}

/// Reads a bare number that somebody wants to write to a point.
pub(crate) fn decode_write(payload: &[u8]) -> Option<f64> {
    let reading = Reading::of_bytes(payload.get(..MAX_PAYLOAD).unwrap_or(payload));
    reading.quality.is_good().then_some(reading.value)
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Seq,
    T,
    V,
    #[serde(other)]
    Other,
}

struct NativeVisitor<'a> {
    names: &'a [(Arc<str>, PointIx)],
    frame: &'a mut Frame,
}

impl<'de> Visitor<'de> for NativeVisitor<'_> {
    type Value = Option<Timestamp>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `v`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut time, mut found) = (None, false);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Seq => self.frame.sequence = map.next_value()?,
                Key::T => time = map.next_value::<Option<f64>>()?,
                Key::V => {
                    found = true;
                    map.next_value_seed(Values { names: self.names, frame: &mut *self.frame })?;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if found { Ok(time.map(timestamp)) } else { Err(serde::de::Error::missing_field("v")) }
    }
}

/// Whole milliseconds, which is what the convention asks for, are kept exactly.
fn timestamp(millis: f64) -> Timestamp {
    if millis.fract() == 0.0 {
        Timestamp::from_millis(millis as i64)
    } else {
        Timestamp((millis * 1e6) as i64)
    }
}

/// The object under `v`.
struct Values<'a> {
    names: &'a [(Arc<str>, PointIx)],
    frame: &'a mut Frame,
}

impl<'de> DeserializeSeed<'de> for Values<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Values<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by point")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(point) = map.next_key_seed(PointName(self.names))? {
            let Some(point) = point else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let sample = map.next_value::<Reading>()?.sample(point);
            // A key given twice counts once, so that a frame cannot outgrow its device.
            match self.frame.samples.iter_mut().find(|s| s.point == point) {
                Some(known) => *known = sample,
                None => self.frame.samples.push(sample),
            }
        }
        Ok(())
    }
}

/// A point by its name, without copying the name.
struct PointName<'a>(&'a [(Arc<str>, PointIx)]);

impl<'de> DeserializeSeed<'de> for PointName<'_> {
    type Value = Option<PointIx>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PointName<'_> {
    type Value = Option<PointIx>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a point")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(known, _)| **known == *name).map(|(_, point)| *point))
    }
}

impl<'de> Deserialize<'de> for Reading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadingVisitor)
    }
}

struct ReadingVisitor;

impl<'de> Visitor<'de> for ReadingVisitor {
    type Value = Reading;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Reading, E> {
        Ok(Reading::good(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Reading, E> {
        Ok(Reading::good(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Reading, E> {
        Ok(Reading::good(value as f64))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Reading, E> {
        Ok(Reading::good(f64::from(u8::from(value))))
    }

    fn visit_unit<E>(self) -> Result<Reading, E> {
        Ok(Reading::MISSING)
    }

    fn visit_str<E>(self, text: &str) -> Result<Reading, E> {
        Ok(Reading::of_text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Reading, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Reading::MALFORMED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reading, A::Error> {
        let (mut reading, mut said) = (Reading::MALFORMED, Quality::Good);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*key {
                "v" => reading = map.next_value()?,
                "q" => {
                    said = match &*map.next_value::<std::borrow::Cow<'de, str>>()? {
                        "good" => Quality::Good,
                        "uncertain" => Quality::Uncertain(Flaw::DeviceReported),
                        "bad" => Quality::Bad(Flaw::DeviceReported),
                        _ => Quality::Uncertain(Flaw::Malformed),
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if reading.quality.is_good() {
            reading.quality = said;
        }
        Ok(reading)
    }
}

/// Writes a measurement as the messages that carry it, as `(topic, payload)`.
pub(crate) fn encode<'t>(
    topics: &'t Topics,
    m: &Measurement,
    mut send: impl FnMut(&'t str, Vec<u8>),
) {
    for (topic, route) in &topics.routes {
        let of = |point| m.samples.iter().find(|s| s.point == point);
        let pointers = route.mapped.iter().filter_map(|(p, ptr)| Some((of(*p)?, ptr.as_deref()?)));
        let mut pointers = pointers.peekable();
        if pointers.peek().is_some() {
            let native = if route.native { encode_native(&topics.native, m) } else { Vec::new() };
            let mut tree = serde_json::from_slice(&native).unwrap_or(Value::Null);
            for (sample, pointer) in pointers {
                place(&mut tree, pointer, wire_value(sample));
            }
            send(topic, tree.to_string().into_bytes());
        } else if route.native {
            send(topic, encode_native(&topics.native, m));
        }
        for (point, _) in route.mapped.iter().filter(|(_, pointer)| pointer.is_none()) {
            // A bare number has no room for a quality: what is not good is sent as NaN.
            if let Some(s) = of(*point) {
                let value = if s.quality.is_good() { s.value } else { f64::NAN };
                send(topic, value.to_string().into_bytes());
            }
        }
    }
}

fn encode_native(names: &[(Arc<str>, PointIx)], m: &Measurement) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + 24 * m.samples.len());
    // Writing into memory cannot fail.
    let _ = write!(out, r#"{{"seq":{},"t":{},"v":{{"#, m.sequence, m.time.as_millis());
    let mut first = true;
    for sample in &m.samples {
        let Some((name, _)) = names.iter().find(|(_, point)| *point == sample.point) else {
            continue;
        };
        let comma = if std::mem::take(&mut first) { "" } else { "," };
        // Names are identifiers: nothing to escape.
        let _ = write!(out, r#"{comma}"{name}":"#);
        if sample.quality.is_good() && sample.value.is_finite() {
            let _ = write!(out, "{}", sample.value);
        } else {
            let _ = write!(out, "{}", wire_value(sample));
        }
    }
    out.extend_from_slice(b"}}");
    out
}

/// A value as the convention has it.
fn wire_value(sample: &Sample) -> Value {
    let said = match sample.quality {
        Quality::Good => None,
        Quality::Uncertain(_) => Some("uncertain"),
        Quality::Bad(_) if sample.value.is_finite() => Some("bad"),
        Quality::Bad(_) => return Value::Null,
    };
    let value = serde_json::Number::from_f64(sample.value)
        .map_or_else(|| Value::String(sample.value.to_string()), Value::Number);
    match said {
        None => value,
        Some(quality) => serde_json::json!({ "v": value, "q": quality }),
    }
}

/// Puts a value where the pointer leads, making objects on the way.
fn place(tree: &mut Value, pointer: &str, value: Value) {
    let mut at = tree;
    for token in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(serde_json::Map::new());
        }
        let Value::Object(object) = at else { return };
        let token = token.replace("~1", "/").replace("~0", "~");
        at = object.entry(token).or_insert(Value::Null);
    }
    *at = value;
}
