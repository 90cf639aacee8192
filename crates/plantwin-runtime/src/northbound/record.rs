//! A record of telemetry, in the spool and as the JSON that leaves.

use plantwin_model::{Quality, Timestamp};
use plantwin_seal::OriginDigest;
use plantwin_store::spool::{SpoolEntry, SpoolRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// One frame of a device. Points are kept by name: the plant file may change meanwhile.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct TelemetryRecord {
    /// The device's own sequence number, if it sends one.
    pub(crate) sequence: Option<u64>,
    /// When plantwin received it.
    pub(crate) received: Timestamp,
    /// Frames of the device that were lost just before this one, on their way to plantwin.
    pub(crate) missing: u64,
    pub(crate) points: Vec<PointRecord>,
}

/// One point.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct PointRecord {
    pub(crate) name: String,
    /// Code of its unit, where the device made a digest over it.
    pub(crate) unit: Option<String>,
    pub(crate) value: Option<f64>,
    pub(crate) quality: Quality,
    /// When the device measured it, if it said.
    pub(crate) measured: Option<Timestamp>,
    /// The device's own digest, handed on as it is.
    pub(crate) origin: Option<OriginDigest>,
}

impl TelemetryRecord {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Serializing these plain types into memory cannot fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }
}

/// The JSON object that stands for a record: times in milliseconds since 1970, UTC.
pub(crate) fn body(device: &str, record: &SpoolRecord) -> Vec<u8> {
    let mut object = Map::new();
    object.insert("device".to_owned(), json!(device));
    object.insert("sequence".to_owned(), json!(record.sequence));
    match &record.entry {
        SpoolEntry::Value(bytes) => match postcard::from_bytes::<TelemetryRecord>(bytes) {
            Ok(telemetry) => fill(&mut object, &telemetry),
            // Checked by the store, so this is another version's record.
            Err(_) => {
                object.insert("unreadable".to_owned(), json!(true));
            }
        },
        SpoolEntry::Gap { count, from, to } => {
            let gap = json!({ "count": count, "from": from.as_millis(), "to": to.as_millis() });
            object.insert("gap".to_owned(), gap);
        }
    }
    Value::Object(object).to_string().into_bytes()
}

fn fill(object: &mut Map<String, Value>, telemetry: &TelemetryRecord) {
    object.insert("received".to_owned(), json!(telemetry.received.as_millis()));
    if let Some(sequence) = telemetry.sequence {
        object.insert("device_sequence".to_owned(), json!(sequence));
    }
    if telemetry.missing > 0 {
        object.insert("missing_before".to_owned(), json!(telemetry.missing));
    }
    let point = |p: &PointRecord| {
        let mut point = Map::new();
        point.insert("v".to_owned(), json!(p.value));
        let (quality, flaw) = match p.quality {
            Quality::Good => ("good", None),
            Quality::Uncertain(flaw) => ("uncertain", Some(flaw)),
            Quality::Bad(flaw) => ("bad", Some(flaw)),
        };
        point.insert("q".to_owned(), json!(quality));
        if let Some(flaw) = flaw {
            point.insert("why".to_owned(), json!(flaw.to_string()));
        }
        if let Some(at) = p.measured {
            point.insert("t".to_owned(), json!(at.as_millis()));
        }
        if let (Some(origin), Some(at)) = (p.origin, p.measured) {
            // What the digest is made over, to the bit: whoever has the key can check it.
            point.insert("u".to_owned(), json!(p.unit));
            point.insert("t_ns".to_owned(), json!(at.0));
            point.insert("origin".to_owned(), json!(origin.to_string()));
        }
        (p.name.clone(), Value::Object(point))
    };
    let points: Map<String, Value> = telemetry.points.iter().map(point).collect();
    object.insert("values".to_owned(), Value::Object(points));
}
