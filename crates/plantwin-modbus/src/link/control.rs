//! Writes and session bytes of a link.
//!
//! Absent: parts of a session message (see `session`).

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{Control, LinkError, PointWrite, Traffic};
use plantwin_model::{Access, PointSpec};
use tokio::time::timeout;

use crate::{
    bus::Bus,
    config::PointMap,
    native::SESSION_LIMIT,
    session,
    unit::{Failure, Unit},
};

/// The way to a device. It may outlive its link, and must not keep the bus open then.
pub(super) struct ModbusControl {
    bus: Weak<Bus>,
    number: u8,
    patience: Duration,
    limit: Duration,
    traffic: Arc<Traffic>,
    endpoint: String,
    native: bool,
    /// Name, place and whether it may be written, by point.
    points: Arc<[(String, PointMap, bool)]>,
}

impl ModbusControl {
    pub(super) fn new(
        unit: &Unit,
        native: bool,
        maps: &[PointMap],
        specs: &[PointSpec],
        limit: Duration,
    ) -> Self {
        let point = |(map, spec): (&PointMap, &PointSpec)| {
            (spec.name.to_string(), map.clone(), spec.access == Access::ReadWrite)
        };
        Self {
            bus: Arc::downgrade(&unit.bus),
            number: unit.number,
            patience: unit.patience,
            limit,
            traffic: Arc::clone(&unit.traffic),
            endpoint: unit.endpoint.clone(),
            native,
            points: maps.iter().zip(specs).map(point).collect(),
        }
    }

    fn unit(&self) -> Result<Unit, LinkError> {
        let bus = self.bus.upgrade();
        Ok(Unit {
            bus: bus.ok_or_else(|| LinkError::Closed("the link has ended".to_owned()))?,
            number: self.number,
            patience: self.patience,
            traffic: Arc::clone(&self.traffic),
            endpoint: self.endpoint.clone(),
        })
    }

    fn late(&self) -> LinkError {
        LinkError::Timeout {
            endpoint: self.endpoint.clone(),
            millis: self.limit.as_millis() as u64,
        }
    }

    /// Place and registers of each write; nothing is sent unless all can be.
    fn encode(&self, writes: &[PointWrite]) -> Result<Vec<(PointMap, Vec<u16>)>, LinkError> {
        let one = |write: &PointWrite| {
            let (name, map, writable) = self
                .points
                .get(write.point.index())
                .ok_or_else(|| LinkError::Unsupported(format!("point {}", write.point.0)))?;
            if !writable || !map.table.writable() {
                return Err(LinkError::Refused(format!("{name} is read only")));
            }
            if !write.value.is_finite() {
                return Err(LinkError::Refused(format!("{name} cannot be {}", write.value)));
            }
            let registers = map.codec.encode(write.value);
            let registers =
                registers.map_err(|e| LinkError::Refused(format!("{name}: failed to {e}")))?;
            Ok((map.clone(), registers.to_vec()))
        };
        writes.iter().map(one).collect()
    }
}

impl Control for ModbusControl {
    fn write(&self, writes: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>> {
        let ready = self.encode(&writes).and_then(|encoded| Ok((encoded, self.unit()?)));
        let (late, limit) = (self.late(), self.limit);
        let work = async move {
            let (encoded, unit) = ready?;
            // One after the other, so that the device sees them in the order of the request.
            for (map, registers) in encoded {
                let done = unit.write(map.table, map.register, registers).await;
                done.map_err(Failure::into_error)?;
            }
            Ok(())
        };
        async move { timeout(limit, work).await.unwrap_or(Err(late)) }.boxed()
    }

    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let ready = if !self.native {
            Err(LinkError::Unsupported("a session".to_owned()))
        } else if request.len() > SESSION_LIMIT {
            Err(LinkError::Refused(format!("more than {SESSION_LIMIT} bytes")))
        } else {
            self.unit()
        };
        let (late, limit) = (self.late(), self.limit);
        let work = async move {
            let unit = ready?;
            session::exchange(&unit, &request).await
        };
        async move { timeout(limit, work).await.unwrap_or(Err(late)) }.boxed()
    }
}
