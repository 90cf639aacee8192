//! What a native device and its gateway say inside their envelopes.
//!
//! A device that speaks in sealed envelopes needs no protocol's data format any more: values and
//! writes travel as these messages (postcard), whatever carries the envelope. Points go by their
//! place in the twin type, so both ends compare a [`layout`] of it first. Absent: the session that
//! seals them ([`crate::pws`]), the wire (adapters), the origin key's way to the device.

use std::time::Duration;

use plantwin_model::{PointIx, PointSpec, Quality, Timestamp};
use plantwin_seal::{OriginDigest, hash};
use serde::{Deserialize, Serialize};

/// Most values of one frame.
pub const SAMPLES_LIMIT: usize = 64;
/// Most writes of one request.
pub const WRITES_LIMIT: usize = 64;

/// Values of a device, measured together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NativeFrame {
    /// [`layout`] of the device's type as the device knows it.
    pub layout: [u8; 8],
    /// Counts up by one for each frame of the device.
    pub sequence: u64,
    /// The values; at most [`SAMPLES_LIMIT`].
    pub samples: Vec<NativeSample>,
}

/// One value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NativeSample {
    /// Which point.
    pub point: PointIx,
    /// In the point's unit; may be NaN or infinite, the twin's session refuses those.
    pub value: f64,
    /// What the device says of it.
    pub quality: Quality,
    /// When it was measured.
    pub source_time: Timestamp,
    /// The device's digest over it; `None` from a device that has no origin key.
    pub origin: Option<OriginDigest>,
}

/// What a gateway asks of a device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum NativeRequest {
    /// Write these points, all or none, in their units; at most [`WRITES_LIMIT`].
    Write {
        /// [`layout`] of the device's type as the gateway knows it.
        layout: [u8; 8],
        /// How old the session may be when it is carried out: whoever holds a command back must
        /// not choose its moment. The session's age needs no common clock.
        until: Duration,
        /// Points and values.
        writes: Vec<(PointIx, f64)>,
    },
    /// Write these points whenever this comes, all or none: they are the safe state that the device
    /// itself declares, and it refuses any other value.
    MakeSafe {
        /// As above.
        layout: [u8; 8],
        /// As above.
        writes: Vec<(PointIx, f64)>,
    },
    /// What was received of the device's durable values: it keeps them until then. Nothing is done.
    Received {
        /// Number of the last frame up to which none is missing, and what it said
        /// (`plantwin_adapter::print`); `None` if nothing is on record.
        after: Option<(u64, u32)>,
        /// What the device said before this session is not wanted: it was confined.
        discard: bool,
    },
}

/// What a device answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NativeAnswer {
    /// It was done.
    Done,
    /// It was not, and nothing was changed: a lowercase fragment.
    Refused(String),
}

/// Names what points a type has, in which order and unit.
pub fn layout(points: &[PointSpec]) -> [u8; 8] {
    let mut parts: Vec<Vec<u8>> = vec![b"plantwin v1 layout".to_vec()];
    for point in points {
        parts.push(point.name.as_bytes().to_vec());
        parts.push(point.unit.to_string().into_bytes());
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let full = hash(&parts);
    let mut short = [0; 8];
    short.copy_from_slice(&full[..8]);
    short
}

/// As bytes for an envelope.
pub fn to_bytes(message: &impl Serialize) -> Vec<u8> {
    // Serializing these plain types into memory cannot fail.
    postcard::to_allocvec(message).unwrap_or_default()
}

/// From bytes of an opened envelope; `None` if they are no such message, whole.
pub fn from_bytes<'b, M: Deserialize<'b>>(bytes: &'b [u8]) -> Option<M> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(m, _)| m)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_come_back_whole_and_no_byte_may_follow() {
        let frame = NativeFrame {
            layout: [1; 8],
            sequence: 3,
            samples: vec![NativeSample {
                point: PointIx(0),
                value: 12.4,
                quality: Quality::Good,
                source_time: Timestamp(5),
                origin: Some(OriginDigest([7; 16])),
            }],
        };
        let mut bytes = to_bytes(&frame);
        assert_eq!(from_bytes::<NativeFrame>(&bytes), Some(frame));
        bytes.push(0);
        assert_eq!(from_bytes::<NativeFrame>(&bytes), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_bytes::<NativeFrame>(&bytes);
            let _ = from_bytes::<NativeRequest>(&bytes);
            let _ = from_bytes::<NativeAnswer>(&bytes);
        }
    }
}
