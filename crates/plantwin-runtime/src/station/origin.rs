//! Whether what is about to be recorded is what the device said.
//!
//! The last look before the record, behind everything that plantwin itself did with a value. Only
//! an authority in this process can tell; with one far away `plantwin authority origin` does.
//! Absent: what follows.

use plantwin_authority::service::AuthorityPort;
use plantwin_model::{DeviceId, PointSpec, Quality};
use plantwin_seal::OriginValue;
use plantwin_twin::Telemetry;

/// The first point whose value is not what the device's digest says; values without a digest say
/// nothing.
pub(crate) fn altered<'p>(
    authority: &dyn AuthorityPort,
    device: &DeviceId,
    points: &'p [PointSpec],
    telemetry: &Telemetry,
) -> Option<&'p str> {
    let sequence = telemetry.sequence?;
    telemetry.samples.iter().find_map(|s| {
        let (origin, value) = (s.origin?, s.value?);
        let spec = points.get(s.point.index())?;
        let unit = spec.unit.to_string();
        let holds = |quality| {
            let said = OriginValue {
                device: device.as_str(),
                point: &spec.name,
                unit: &unit,
                sequence,
                source_time: s.source_time,
                quality,
                value,
            };
            authority.check_origin(device, &said, &origin)
        };
        // Our own judgement of a value may be worse than the device's.
        let verdict = holds(s.quality)? || holds(Quality::Good)?;
        (!verdict).then_some(&*spec.name)
    })
}
