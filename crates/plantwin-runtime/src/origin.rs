//! Whether values are what the device said of them, by its digests.
//!
//! Looked at twice: where a device's values come in, and last before they are recorded, behind
//! everything that plantwin itself did with them. Only an authority in this process can tell; with
//! one far away `plantwin authority origin` does. Absent: what follows.

use plantwin_authority::{
    native::{NativeFrame, NativeSample},
    service::AuthorityPort,
};
use plantwin_model::{DeviceId, PointIx, PointSpec, Quality, Timestamp};
use plantwin_seal::{OriginDigest, OriginValue};
use plantwin_twin::Telemetry;

/// Whose values are looked at.
pub(crate) struct Origins<'a> {
    pub(crate) authority: &'a dyn AuthorityPort,
    pub(crate) device: &'a DeviceId,
    pub(crate) points: &'a [PointSpec],
}

/// A value with its digest.
struct Claim {
    point: PointIx,
    source_time: Timestamp,
    value: f64,
    digest: OriginDigest,
}

impl<'a> Origins<'a> {
    /// The first point of a frame from the device whose value is not what its digest says. A value
    /// without a digest says nothing.
    pub(crate) fn misfit(&self, frame: &NativeFrame) -> Option<&'a str> {
        frame.samples.iter().find_map(|s: &NativeSample| {
            let (point, source_time, value) = (s.point, s.source_time, s.value);
            let claim = Claim { point, source_time, value, digest: s.origin? };
            self.refuted(frame.sequence, &claim, &[s.quality])
        })
    }

    /// The same of what is about to be recorded. Our own judgement of a value may be worse than
    /// the device's.
    pub(crate) fn altered(&self, telemetry: &Telemetry) -> Option<&'a str> {
        let sequence = telemetry.sequence?;
        telemetry.samples.iter().find_map(|s| {
            let (point, source_time, value) = (s.point, s.source_time, s.value?);
            let claim = Claim { point, source_time, value, digest: s.origin? };
            self.refuted(sequence, &claim, &[s.quality, Quality::Good])
        })
    }

    /// The point's name, if the digest holds for none of these qualities.
    fn refuted(&self, sequence: u64, claim: &Claim, qualities: &[Quality]) -> Option<&'a str> {
        let spec = self.points.get(claim.point.index())?;
        let unit = spec.unit.to_string();
        for &quality in qualities {
            let said = OriginValue {
                device: self.device.as_str(),
                point: &spec.name,
                unit: &unit,
                sequence,
                source_time: claim.source_time,
                quality,
                value: claim.value,
            };
            if self.authority.check_origin(self.device, &said, &claim.digest)? {
                return None;
            }
        }
        Some(&spec.name)
    }
}
