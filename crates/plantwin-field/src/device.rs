//! One simulated device on one path: what a device's communication processor does.
//!
//! It sends what the plant measured, takes writes within the point's range and answers the
//! session challenge with its credentials. Absent: the model and the falsifying of measurements.

use std::sync::{Arc, mpsc::SyncSender};

use plantwin_adapter::{DeviceMessage, DevicePort, Measurement};
use plantwin_authority::{Authority, DeviceAgent};
use plantwin_model::{Access, Clock, DeviceIx, PointIx, PointSpec};
use tokio::sync::{Mutex, mpsc};

/// A setpoint on its way into the plant model.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Setpoint {
    pub(crate) device: DeviceIx,
    pub(crate) point: PointIx,
    pub(crate) value: f64,
}

/// What the plant's thread tells a device.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Measured(Arc<Measurement>),
    PathUp(bool),
}

/// All that one device on one path needs.
pub(crate) struct DeviceTask {
    pub(crate) ix: DeviceIx,
    pub(crate) points: Arc<[PointSpec]>,
    pub(crate) port: DevicePort,
    pub(crate) told: mpsc::Receiver<Told>,
    pub(crate) setpoints: SyncSender<Setpoint>,
    pub(crate) agent: Arc<Mutex<DeviceAgent>>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl DeviceTask {
    /// Runs until the plant's thread or the server ends.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(Told::Measured(m)) => {
                        if let Err(error) = self.port.outlet.publish(&m).await {
                            tracing::debug!(device = %self.port.device, %error, "failed to {error}");
                        }
                    }
                    Some(Told::PathUp(up)) => {
                        if let Err(error) = self.port.outlet.set_up(up).await {
                            tracing::warn!(device = %self.port.device, "failed to {error}");
                        }
                    }
                    None => return,
                },
                request = self.port.requests.recv() => match request {
                    Some(request) => self.answer(request).await,
                    None => return,
                },
            }
        }
    }

    async fn answer(&mut self, message: DeviceMessage) {
        match message {
            DeviceMessage::Write { point, value, reply } => {
                // A client that has gone away needs no answer.
                let _ = reply.send(self.write(point, value));
            }
            DeviceMessage::Exchange { request, reply } => {
                let _ = reply.send(self.exchange(&request).await);
            }
        }
    }

    fn write(&self, point: PointIx, value: f64) -> Result<(), String> {
        let spec = self.points.get(point.index()).ok_or("no such point")?;
        if spec.access != Access::ReadWrite {
            return Err(format!("{} is read only", spec.name));
        }
        let (low, high) = spec.range;
        if !value.is_finite() || value < low || value > high {
            return Err(format!("{value} is outside {low} to {high} {}", spec.unit));
        }
        self.setpoints
            .try_send(Setpoint { device: self.ix, point, value })
            .map_err(|_| "the device is busy".to_owned())
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        let now = self.clock.now();
        let mut agent = self.agent.lock().await;
        if agent.needs_token(now) {
            let token = self.authority.issue(&self.port.device, now).map_err(|e| e.to_string())?;
            agent.accept(token).map_err(|e| e.to_string())?;
        }
        agent.answer(request, now).map_err(|e| e.to_string())
    }
}
