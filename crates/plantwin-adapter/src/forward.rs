//! The forward face: durable telemetry on its way out of plantwin.
//!
//! Absent: spooling, order, retries and rate (the runtime's), the text of a record.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use plantwin_model::{DeviceId, NorthboundSpec};
use tokio::sync::oneshot;

use crate::{LinkError, Tasks};

/// All that an adapter is told about where telemetry goes.
#[derive(Clone, Debug)]
pub struct ForwardContext {
    /// The plant's name, for client names and default topics.
    pub plant: String,
    /// Where to.
    pub target: NorthboundSpec,
    /// Longest wait for the connection and for each acknowledgement.
    pub timeout: Duration,
}

/// One record.
#[derive(Clone, PartialEq, Debug)]
pub struct ForwardRecord {
    /// Whose.
    pub device: DeviceId,
    /// What to send: a JSON object.
    pub body: Vec<u8>,
}

/// A way out that is up. Dropping it closes the connection.
pub struct Outbound {
    /// Takes records.
    pub sink: Arc<dyn Sink>,
    /// Where it is connected to, for people.
    pub endpoint: String,
    /// Resolves when the connection ends.
    pub closed: oneshot::Receiver<LinkError>,
    /// Background tasks.
    pub tasks: Tasks,
}

/// Takes records one after the other.
pub trait Sink: Send + Sync {
    /// Sends a record, after those given before; resolves when the other side has acknowledged
    /// it. Several may be under way.
    fn send(&self, record: ForwardRecord) -> BoxFuture<'static, Result<(), LinkError>>;
}
