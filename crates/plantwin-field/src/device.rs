//! One simulated device on one path: what a device's communication processor does.
//!
//! It sends what the plant measured, takes writes within the point's range and proves who it is;
//! one that speaks in sealed envelopes only sends and takes nothing else. Absent: the model and the
//! falsifying of measurements.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc::SyncSender},
};

use plantwin_adapter::{DeviceMessage, DevicePort, Measurement};
use plantwin_model::{Access, Clock, DeviceIx, PointIx, PointSpec};
use tokio::sync::{Mutex, mpsc};

use crate::{NativeDevice, Report};

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
    /// Which of the device's ways to its gateway this is.
    pub(crate) way: u16,
    pub(crate) points: Arc<[PointSpec]>,
    pub(crate) port: DevicePort,
    pub(crate) told: mpsc::Receiver<Told>,
    /// What was told and not done.
    pub(crate) next: VecDeque<Told>,
    pub(crate) setpoints: SyncSender<Setpoint>,
    /// The device's keys; none for one that is plain.
    pub(crate) native: Option<Arc<Mutex<NativeDevice>>>,
    /// Whether it speaks in sealed envelopes only.
    pub(crate) sealed: bool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Hears of its sessions, if anybody does.
    pub(crate) report: Option<Arc<Report>>,
}

/// What was told first. Cancel safe.
async fn next(waiting: &mut VecDeque<Told>, told: &mut mpsc::Receiver<Told>) -> Option<Told> {
    match waiting.pop_front() {
        Some(first) => Some(first),
        None => told.recv().await,
    }
}

impl DeviceTask {
    /// Runs until the plant's thread or the server ends.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                told = next(&mut self.next, &mut self.told) => match told {
                    Some(Told::Measured(m)) => {
                        self.report(&m).await;
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

    /// Has a device that keeps its frames take what is measured while it sends: the plant waits for
    /// nobody.
    async fn absorb(&mut self, native: &Mutex<NativeDevice>) {
        while let Ok(told) = self.told.try_recv() {
            let kept = match &told {
                Told::Measured(measured) => native.lock().await.keep(measured),
                Told::PathUp(_) => false,
            };
            if !kept {
                self.next.push_back(told);
                return;
            }
        }
    }

    async fn report(&mut self, measured: &Measurement) {
        let native = self.native.clone();
        let sent = match &native {
            Some(native) if self.sealed => {
                let (envelopes, let_go) = {
                    let mut native = native.lock().await;
                    let before = native.let_go();
                    let envelopes = native.report(measured, self.way, self.clock.now());
                    (envelopes, native.let_go() - before)
                };
                if let_go > 0 {
                    tracing::warn!(device = %self.port.device, let_go, "values lost: too many wait");
                }
                let mut sent = Ok(());
                for envelope in &envelopes {
                    sent = self.port.outlet.publish_sealed(&envelope.bytes).await;
                    if sent.is_err() {
                        native.lock().await.failed(self.way, envelope);
                        break;
                    }
                    self.absorb(native).await;
                }
                sent
            }
            _ => self.port.outlet.publish(measured).await,
        };
        if let Err(error) = sent {
            tracing::debug!(device = %self.port.device, %error, "failed to {error}");
        }
    }

    async fn answer(&mut self, message: DeviceMessage) {
        match message {
            DeviceMessage::Write { point, value, reply } => {
                // A client that has gone away needs no answer.
                let result = if self.sealed {
                    Err("it takes sealed requests only".to_owned())
                } else {
                    self.write(point, value)
                };
                let _ = reply.send(result);
            }
            DeviceMessage::Exchange { request, reply } => {
                let _ = reply.send(self.exchange(&request).await);
            }
        }
    }

    fn write(&self, point: PointIx, value: f64) -> Result<(), String> {
        self.check(point, value)?;
        self.setpoints
            .try_send(Setpoint { device: self.ix, point, value })
            .map_err(|_| "the device is busy".to_owned())
    }

    fn check(&self, point: PointIx, value: f64) -> Result<(), String> {
        let spec = self.points.get(point.index()).ok_or("no such point")?;
        if spec.access != Access::ReadWrite {
            return Err(format!("{} is read only", spec.name));
        }
        let (low, high) = spec.range;
        if !value.is_finite() || value < low || value > high {
            return Err(format!("{value} is outside {low} to {high} {}", spec.unit));
        }
        Ok(())
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        let Some(native) = self.native.clone() else {
            return Err("it holds no keys".to_owned());
        };
        let now = self.clock.now();
        let mut native = native.lock().await;
        let said = native.on_exchange_over(self.way, request, now, |writes| {
            for &(point, value) in writes {
                self.check(point, value)?;
            }
            writes.iter().try_for_each(|&(point, value)| self.write(point, value))
        });
        let said = said.map_err(|e| format!("failed to {e}"))?;
        if let Some(event) = said.event {
            if let Some(report) = &self.report {
                report(&self.port.device, event);
            } else {
                tracing::debug!(device = %self.port.device, ?event, "session");
            }
        }
        Ok(said.bytes)
    }
}
