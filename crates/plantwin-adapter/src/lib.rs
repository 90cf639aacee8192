//! The contract between plantwin and a protocol.
//!
//! A protocol crate has up to three faces, all made here into traits and plain data:
//! - **link**: plantwin is the client of a device ([`Protocol::connect`] gives a [`Connection`]);
//! - **device**: plantwin plays devices towards its own links or foreign clients
//!   ([`Protocol::host`] gives a [`Host`] with a [`DevicePort`] per device);
//! - **forward** (northbound): plantwin hands on durable telemetry ([`Protocol::forward`]).
//!
//! A protocol is one value of [`Protocol`] in the registry of the CLI. Its keys in plant files
//! are a [`ProtocolSchema`]. Adapters never see keys or sessions: what a session says travels
//! through them as opaque bytes ([`Control::exchange`]). Absent: any protocol library.

mod clock;
pub mod conformance;
mod device;
mod error;
mod forward;
mod link;
mod print;
mod registry;
mod schema;
mod traffic;

pub use clock::{ManualClock, SystemClock};
pub use device::{DeviceMessage, DevicePort, Host, HostRequest, HostedDevice, Measurement, Outlet};
pub use error::LinkError;
pub use forward::{ForwardContext, ForwardRecord, Outbound, Sink};
pub use link::{
    Connection, Control, Frame, LinkContext, LinkEvent, PointWrite, SEALED_LIMIT, Sample, Tasks,
};
pub use print::print;
pub use registry::Registry;
pub use schema::{ProtocolSchema, SettingKind, SettingSchema};
pub use traffic::{Traffic, TrafficSnapshot};

use futures_util::future::BoxFuture;

/// A protocol, as the registry holds it.
pub trait Protocol: Send + Sync {
    /// Its name and keys in plant files.
    fn schema(&self) -> &'static ProtocolSchema;

    /// Connects to a device. Resolves when the link is up or has failed; a link that is up
    /// yields [`LinkEvent`]s until it ends with [`LinkEvent::Closed`]. It does not reconnect:
    /// whoever called decides when and along which path to try again.
    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>>;

    /// Plays devices over this protocol. Resolves when the server listens (or the devices have
    /// joined their broker).
    fn host(&self, request: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>>;

    /// Starts the server in the middle that devices and links both need (an MQTT broker), if the
    /// protocol has one, and says where it listens. `None` for protocols without. `guests` are the
    /// devices that will come to it, played or real: it lets nobody else speak for those that have
    /// something to prove themselves with.
    fn start_hub(
        &self,
        listen: Option<std::net::SocketAddr>,
        guests: Vec<HostedDevice>,
    ) -> Option<BoxFuture<'static, Result<Hub, LinkError>>> {
        let _ = (listen, guests);
        None
    }

    /// Connects to where durable telemetry goes, if the protocol can carry it. It does not
    /// reconnect.
    fn forward(
        &self,
        context: ForwardContext,
    ) -> Option<BoxFuture<'static, Result<Outbound, LinkError>>> {
        let _ = context;
        None
    }
}

/// A running server in the middle.
pub struct Hub {
    /// Where it listens, `host:port`.
    pub address: std::net::SocketAddr,
    /// Its tasks; dropping them ends it.
    pub tasks: Tasks,
}
