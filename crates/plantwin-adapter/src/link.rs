//! The link face: plantwin as the client of one device.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use plantwin_model::{
    Clock, Delivery, DeviceId, Flaw, PathSpec, PointIx, PointSpec, Quality, Timestamp,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{LinkError, Traffic};

/// All that an adapter is told about the device it shall reach.
#[derive(Clone)]
pub struct LinkContext {
    /// The device.
    pub device: DeviceId,
    /// Its points, by [`PointIx`].
    pub points: Arc<[PointSpec]>,
    /// The path, its `addr` resolved (the runtime fills in where embedded servers listen).
    pub path: PathSpec,
    /// How often the device reports; an adapter that polls or subscribes asks for this.
    pub period: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Time source for receive times.
    pub clock: Arc<dyn Clock>,
    /// What is promised of the device's values. [`Delivery::Durable`]: an adapter whose protocol
    /// can acknowledge does so only when told ([`Control::confirm`]), and asks for what was not
    /// acknowledged before; one whose protocol cannot goes on as always.
    pub delivery: Delivery,
    /// Whether the device speaks in sealed envelopes only ([`LinkEvent::Sealed`]): the adapter
    /// then listens for those and takes no bare values.
    pub sealed: bool,
}

/// A link that is up. Dropping it closes the connection and ends its tasks.
pub struct Connection {
    /// What the device says. Bounded: an adapter that finds it full stops reading its socket.
    pub events: mpsc::Receiver<LinkEvent>,
    /// Writes and session bytes to the device.
    pub control: Arc<dyn Control>,
    /// Bytes on the wire so far.
    pub traffic: Arc<Traffic>,
    /// Where it is connected to, for people.
    pub endpoint: String,
    /// What the device sent to the connection before and nobody took may still come over this one:
    /// somebody between kept it.
    pub resumed: bool,
    /// Background tasks; aborted when dropped.
    pub tasks: Tasks,
}

/// Background tasks that end when this is dropped.
#[derive(Debug, Default)]
pub struct Tasks(JoinSet<()>);

impl Tasks {
    /// No task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a task until it ends or `self` is dropped. Must be called within a tokio runtime.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

/// Longest sealed envelope that adapters carry, in bytes.
pub const SEALED_LIMIT: usize = 4096;

/// What a link reports.
#[derive(Clone, PartialEq, Debug)]
pub enum LinkEvent {
    /// Values arrived.
    Frame(Frame),
    /// Values arrived that the other side keeps until they are confirmed. Receipts grow within
    /// a connection, one per frame.
    Durable {
        /// The values.
        frame: Frame,
        /// Names them in [`Control::confirm`].
        receipt: u64,
    },
    /// A sealed envelope arrived; whoever holds the session opens it.
    Sealed {
        /// When the adapter had it in hand.
        received: Timestamp,
        /// The envelope, at most [`SEALED_LIMIT`] bytes; nothing in it was checked.
        envelope: Vec<u8>,
        /// As in [`Self::Durable`], where delivery is durable and the protocol can acknowledge.
        receipt: Option<u64>,
    },
    /// The device confirmed that nothing changed (a keep-alive of a subscription that reports by
    /// exception): its last values still hold.
    Alive,
    /// The link is gone; nothing follows.
    Closed(LinkError),
}

/// Values as they came off the wire, not yet trusted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// When the adapter had it in hand.
    pub received: Timestamp,
    /// Sequence number, where the protocol or payload has one; counts up by one.
    pub sequence: Option<u64>,
    /// Values.
    pub samples: SmallVec<[Sample; 4]>,
}

impl Frame {
    /// Whether it holds nothing but values of the past, such as a broker's retained messages: no
    /// word of the device. An empty one does not: somebody sent it.
    pub fn is_past(&self) -> bool {
        let past = |s: &Sample| s.quality == Quality::Uncertain(Flaw::Stale);
        !self.samples.is_empty() && self.samples.iter().all(past)
    }
}

/// One value off the wire, in the point's unit.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Which point.
    pub point: PointIx,
    /// Its value; may be NaN or infinite, the session refuses those.
    pub value: f64,
    /// What the device says of it; `Good` where it says nothing.
    pub quality: Quality,
    /// When the device measured it; `None` where it does not say.
    pub source_time: Option<Timestamp>,
}

/// A value to be written to a device, in the point's unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PointWrite {
    /// Which point; its access is `ReadWrite`.
    pub point: PointIx,
    /// Value, finite.
    pub value: f64,
}

/// The way to the device.
pub trait Control: Send + Sync {
    /// Writes values. Resolves when the device (or, where the protocol has no answer, its
    /// broker) took them, or with the reason why not; waits at most [`LinkContext::timeout`].
    fn write(&self, writes: Vec<PointWrite>) -> BoxFuture<'static, Result<(), LinkError>>;

    /// Sends session bytes and resolves with the device's answer; [`LinkError::Unsupported`] or
    /// [`LinkError::Timeout`] when the device is plain. At most 4 KiB each way.
    fn exchange(&self, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, LinkError>>;

    /// The values of [`LinkEvent::Durable`] with this receipt are safe: acknowledge them to the
    /// other side. Never blocks. Receipts that are confirmed need not come in order.
    fn confirm(&self, receipt: u64) {
        let _ = receipt;
    }
}
