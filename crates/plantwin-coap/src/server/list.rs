//! What a server shows: the list of its resources, and their present representation.
//!
//! Absent: who may see it.

use std::fmt::Write as _;

use plantwin_model::PointIx;
use serde_json::{Map, Value};

use super::{Device, Peer, Server};
use crate::{
    config::Content,
    message, payload,
    represent::{encode_path, is_text, place},
};

impl Server {
    /// The resource list (RFC 6690), of what this client may use.
    pub(super) fn links(&self, to: Peer) -> String {
        let mut list = String::new();
        for device in self.devices.iter().filter(|d| d.up && d.key == to.key) {
            for resource in &device.resources {
                let (format, kind) = match &resource.content {
                    Content::Native(_) => (message::JSON, "plantwin.frame"),
                    Content::Points(p) if is_text(p) => (message::TEXT, "plantwin.point"),
                    Content::Points(_) => (message::JSON, "plantwin.point"),
                    Content::Sealed => (message::OCTETS, "plantwin.sealed"),
                };
                let path = encode_path(&resource.path);
                // Writing to a String cannot fail.
                let _ = write!(list, "<{path}>;ct={format};rt=\"{kind}\";obs,");
            }
            let session = encode_path(&format!("{}/session", device.base));
            let _ = write!(list, "<{session}>;ct={};rt=\"plantwin.session\",", message::OCTETS);
        }
        list.pop();
        list
    }
}

impl Device {
    /// The present representation of a resource, and its content format.
    pub(super) fn body(&self, resource: usize) -> (Vec<u8>, u16) {
        let latest = |p: &PointIx| self.latest.get(p.index()).copied().flatten();
        match &self.resources[resource].content {
            Content::Native(_) => match &self.last {
                Some(measurement) => (payload::encode(measurement, &self.points), message::JSON),
                None => (br#"{"v":{}}"#.to_vec(), message::JSON),
            },
            // Each envelope is a notification of its own, none is the present state.
            Content::Sealed => (Vec::new(), message::OCTETS),
            Content::Points(points) if is_text(points) => {
                let sample = points.first().and_then(|(p, _)| latest(p));
                let text = sample.map_or_else(String::new, |s| {
                    payload::text(if s.quality.is_bad() { f64::NAN } else { s.value })
                });
                (text.into_bytes(), message::TEXT)
            }
            Content::Points(points) => {
                let mut document = Value::Object(Map::new());
                for (point, pointer) in points {
                    let value = latest(point).map_or(Value::Null, |s| payload::value(&s));
                    place(&mut document, pointer.as_deref().unwrap_or_default(), value);
                }
                (document.to_string().into_bytes(), message::JSON)
            }
        }
    }
}
