//! Payloads: the native JSON of a whole measurement, and single numbers.
//!
//! The native form is that of plantwin's MQTT convention:
//! `{"seq":12,"t":1700000000123,"v":{"level":12.4}}`. A value is a number, `null` (bad),
//! `"NaN"`, `"inf"`, `"-inf"`, or `{"v":12.4,"q":"bad"}` with `q` one of `good`, `uncertain`,
//! `bad`. Absent: anything of the protocol.

use plantwin_adapter::{Measurement, Sample};
use plantwin_model::{Flaw, PointIx, PointSpec, Quality, Timestamp};
use serde_json::{Map, Value, json};
use smallvec::SmallVec;

/// What a native payload said.
#[derive(PartialEq, Debug)]
pub(crate) struct Native {
    /// Sequence number.
    pub(crate) sequence: Option<u64>,
    /// Values of points that the device has.
    pub(crate) samples: SmallVec<[Sample; 4]>,
}

/// Writes a measurement.
pub(crate) fn encode(measurement: &Measurement, points: &[PointSpec]) -> Vec<u8> {
    let mut values = Map::new();
    for sample in &measurement.samples {
        if let Some(point) = points.get(sample.point.index()) {
            values.insert(point.name.to_string(), value(sample));
        }
    }
    json!({ "seq": measurement.sequence, "t": measurement.time.as_millis(), "v": values })
        .to_string()
        .into_bytes()
}

/// A sample as JSON.
pub(crate) fn value(sample: &Sample) -> Value {
    let plain = if sample.value.is_finite() {
        json!(sample.value)
    } else {
        Value::String(text(sample.value))
    };
    match sample.quality {
        Quality::Good => plain,
        Quality::Uncertain(_) => json!({ "v": plain, "q": "uncertain" }),
        Quality::Bad(_) => json!({ "v": plain, "q": "bad" }),
    }
}

/// A number as text: shortest form that reads back to the same value.
pub(crate) fn text(value: f64) -> String {
    value.to_string()
}

/// Reads a measurement; `wanted` says which points are taken from it. `None` if it is not of
/// the native form.
pub(crate) fn decode(bytes: &[u8], points: &[PointSpec], wanted: &[PointIx]) -> Option<Native> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let values = document.get("v")?.as_object()?;
    let time = document.get("t").and_then(Value::as_i64).map(Timestamp::from_millis);
    let samples = wanted.iter().filter_map(|&point| {
        let value = values.get(&*points.get(point.index())?.name)?;
        Some(sample(point, Some(value), time))
    });
    Some(Native {
        sequence: document.get("seq").and_then(Value::as_u64),
        samples: samples.collect(),
    })
}

/// Reads one point from JSON at `pointer` (RFC 6901), or from text. Empty text is `None`: the
/// device has no value yet.
pub(crate) fn decode_point(bytes: &[u8], point: PointIx, pointer: Option<&str>) -> Option<Sample> {
    if let Some(pointer) = pointer {
        let document: Option<Value> = serde_json::from_slice(bytes).ok();
        return Some(sample(point, document.as_ref().and_then(|d| d.pointer(pointer)), None));
    }
    if bytes.trim_ascii().is_empty() {
        return None;
    }
    Some(match number(bytes) {
        Some(value) => Sample { point, value, quality: Quality::Good, source_time: None },
        None => malformed(point),
    })
}

/// Reads a number from text.
pub(crate) fn number(bytes: &[u8]) -> Option<f64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// What stands for bytes that cannot be read.
pub(crate) fn malformed(point: PointIx) -> Sample {
    bad(point, Flaw::Malformed)
}

/// A sample without a value.
pub(crate) fn bad(point: PointIx, flaw: Flaw) -> Sample {
    Sample { point, value: f64::NAN, quality: Quality::Bad(flaw), source_time: None }
}

fn sample(point: PointIx, value: Option<&Value>, source_time: Option<Timestamp>) -> Sample {
    let (value, quality) = match value {
        Some(Value::Object(both)) => {
            let quality = match both.get("q").and_then(Value::as_str) {
                None | Some("good") => Quality::Good,
                Some("uncertain") => Quality::Uncertain(Flaw::DeviceReported),
                Some(_) => Quality::Bad(Flaw::DeviceReported),
            };
            (both.get("v"), quality)
        }
        other => (other, Quality::Good),
    };
    let number = match value {
        Some(Value::Number(n)) => n.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Bool(on)) => Some(f64::from(*on)),
        Some(Value::Null) => {
            return Sample { source_time, ..bad(point, Flaw::DeviceReported) };
        }
        _ => None,
    };
    match number {
        Some(value) => Sample { point, value, quality, source_time },
        None => Sample { source_time, ..malformed(point) },
    }
}
