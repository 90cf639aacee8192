//! The device face: plantwin plays devices over the real protocol.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use plantwin_model::{Clock, DeviceId, PathSpec, PointIx, PointSpec, Quality, Timestamp};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use crate::{LinkError, Sample, Tasks, Traffic};

/// Devices to be played by one server.
pub struct HostRequest {
    /// Where to listen; `None` = a free port on 127.0.0.1. Protocols with a hub ignore it.
    pub listen: Option<SocketAddr>,
    /// Where the protocol's hub is (`host:port`), if it has one.
    pub hub: Option<String>,
    /// The devices.
    pub devices: Vec<HostedDevice>,
    /// Time source.
    pub clock: Arc<dyn Clock>,
}

/// One device to be played.
#[derive(Clone)]
pub struct HostedDevice {
    /// Name.
    pub device: DeviceId,
    /// Points by [`PointIx`].
    pub points: Arc<[PointSpec]>,
    /// The path that links will use to reach it.
    pub path: PathSpec,
    /// How often it reports.
    pub period: Duration,
    /// Whether it speaks in sealed envelopes only: no bare value of it is served, and its writes
    /// come sealed through [`DeviceMessage::Exchange`].
    pub sealed: bool,
}

/// A running server of devices. Dropping it ends it.
pub struct Host {
    /// Where it listens (or the hub it joined).
    pub address: SocketAddr,
    /// One port per requested device, in the order of the request.
    pub devices: Vec<DevicePort>,
    /// Background tasks.
    pub tasks: Tasks,
}

/// The simulation's side of one played device.
pub struct DevicePort {
    /// Which device.
    pub device: DeviceId,
    /// Where its measurements go out.
    pub outlet: Box<dyn Outlet>,
    /// What clients ask of it. Bounded.
    pub requests: mpsc::Receiver<DeviceMessage>,
    /// Bytes this device put on the wire and got from it ("up" = sent by the device).
    pub traffic: Arc<Traffic>,
}

/// Measurements of one device at one time, in the points' units.
#[derive(Clone, PartialEq, Debug)]
pub struct Measurement {
    /// When they were taken.
    pub time: Timestamp,
    /// Counts up by one for each measurement of the device.
    pub sequence: u64,
    /// The values, one entry per point that has one; `source_time` is `Some(time)`.
    pub samples: SmallVec<[Sample; 4]>,
}

impl Measurement {
    /// Measurement of good values in the order of the points.
    pub fn good(time: Timestamp, sequence: u64, values: &[f64]) -> Self {
        let sample = |(i, &value): (usize, &f64)| Sample {
            point: PointIx(i as u16),
            value,
            quality: Quality::Good,
            source_time: Some(time),
        };
        Self { time, sequence, samples: values.iter().enumerate().map(sample).collect() }
    }
}

/// Where a played device reports.
pub trait Outlet: Send {
    /// Sends or offers a measurement. While the outlet is down it is silently dropped.
    fn publish<'a>(&'a mut self, m: &'a Measurement) -> BoxFuture<'a, Result<(), LinkError>>;

    /// Sends or offers a sealed envelope, as [`Self::publish`] does a measurement; each must
    /// arrive on its own, in order, none in place of another as far as the protocol can.
    ///
    /// # Errors
    /// [`LinkError::Unsupported`] where the protocol cannot carry it; [`LinkError::Closed`] while
    /// the outlet is down, if the protocol can tell: a device that keeps its values sends it later.
    fn publish_sealed<'a>(
        &'a mut self,
        envelope: &'a [u8],
    ) -> BoxFuture<'a, Result<(), LinkError>> {
        let _ = envelope;
        Box::pin(async { Err(LinkError::Unsupported("sealed envelopes".into())) })
    }

    /// Takes the path down (the device falls silent and answers nothing on it) or up again.
    fn set_up(&mut self, up: bool) -> BoxFuture<'_, Result<(), LinkError>>;
}

/// What a client asks of a played device.
#[derive(Debug)]
pub enum DeviceMessage {
    /// Write a point.
    Write {
        /// Point.
        point: PointIx,
        /// Value in the point's unit; may be anything a client can send.
        value: f64,
        /// Whether it was taken.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Session bytes.
    Exchange {
        /// Request.
        request: Vec<u8>,
        /// Answer.
        reply: oneshot::Sender<Result<Vec<u8>, String>>,
    },
}
