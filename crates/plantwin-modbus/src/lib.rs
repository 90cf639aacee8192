//! Modbus TCP: links to devices and gateways, and devices played over Modbus TCP.
//!
//! MODBUS Application Protocol V1.1b3 and MODBUS Messaging on TCP/IP Implementation Guide V1.0b
//! (both modbus.org): functions 1 to 6, 15, 16 and 43/14. The message layer is our own and thin,
//! because one connection serves many units with a deadline each: an answer that comes too late
//! must neither be taken for another one nor cost the connection, and every byte is counted for
//! the unit it belongs to.
//!
//! # In a plant file
//! Without a `map`, points are 32-bit floats in holding registers, two each, from 0 on:
//!
//! ```toml
//! [device.pump1.modbus]
//! addr = "10.0.0.7:502"          # a gateway; several devices may share it
//! unit = 3
//! timeout = 500                  # ms
//! map.level = { register = 100, table = "input", format = "u16", scale = 0.01 }
//! map.voltage = { register = 20, format = "f32", words = "little" }
//! ```
//!
//! # Units behind one address
//! They share one connection and take turns on it, one request at a time. A unit that does not
//! answer holds the others up for 50 ms (or four times its slowest answer so far), not for its
//! whole timeout, and while others answer it gets 5 % of the bus's time together with all that
//! are silent, and a burst of 500 ms after quiet times. A late answer is still taken. Where five
//! requests in a row, whoever they were for, were not answered, the connection is given up and
//! opened anew for the next link.
//!
//! # Who answers
//! Modbus says nothing of it: no key, no name, no password. A path can only be held to an address.
//! Where `addr` is one, that is the one; where it is a host name, `allow` lists the addresses that
//! the name may stand for, and a connection to any other is refused, so that whoever can change
//! the answers of the name server cannot put a machine of its own in the device's place:
//!
//! ```toml
//! addr = "gateway.plant.example:502"
//! allow = "192.0.2.10, 192.0.2.11"
//! ```
//!
//! This proves the address and nothing else. Whoever can take over the address itself (a machine
//! on the same network that answers for it, a router on the way) is not found out, can read every
//! value and can write every register. So a Modbus device is always a *plain* device, belongs into
//! a zone of its own, and is never sealed: a link or a played device that is to be is refused.
//!
//! # When a link is up, and when it ends
//! An open port proves nothing: a link is up once its unit has answered a read, and it ends with
//! a timeout after three polls without an answer, one after the other. A gateway's exceptions 10
//! and 11 are no answer. Any other exception to a read makes the points of that request bad; one
//! to a write refuses it. Polls that were missed are never made up for.
//!
//! # What a played device looks like
//! To a Modbus client like any other. It identifies itself (43/14) as `plantwin`, and to a link
//! that finds this it also says time, number and quality of what it measured and carries session
//! bytes, by function 65; a device that does not identify itself so is never sent that function.
//! A value that is bad reads as NaN, or as SERVER DEVICE FAILURE where its format has none.
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc, time::Duration};
//!
//! use plantwin_adapter::{
//!     HostRequest, HostedDevice, LinkContext, LinkEvent, Measurement, Protocol, SystemClock,
//!     conformance,
//! };
//! use plantwin_model::{Clock, Delivery, PathSpec, SettingValue, Span};
//! use plantwin_modbus::Modbus;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), plantwin_adapter::LinkError> {
//! let clock: Arc<dyn Clock> = Arc::new(SystemClock::new(1.0));
//! let mut path = PathSpec {
//!     protocol: "modbus",
//!     settings: BTreeMap::new(),
//!     points: BTreeMap::new(),
//!     span: Span::default(),
//! };
//! let device = HostedDevice {
//!     sealed: false,
//!     device: "pump1".into(),
//!     points: conformance::points(),
//!     path: path.clone(),
//!     period: Duration::from_millis(50),
//! };
//! let modbus = Modbus::default();
//! let mut host = modbus
//!     .host(HostRequest { listen: None, hub: None, devices: vec![device], clock: clock.clone() })
//!     .await?;
//! let measurement = Measurement::good(clock.now(), 1, &[12.5, 0.0, 3.0, 0.5]);
//! host.devices[0].outlet.publish(&measurement).await?;
//!
//! path.settings.insert("addr".to_owned(), SettingValue::Text(host.address.to_string()));
//! let context = LinkContext {
//!     sealed: false,
//!     device: "pump1".into(),
//!     points: conformance::points(),
//!     path,
//!     period: Duration::from_millis(50),
//!     timeout: Duration::from_secs(2),
//!     clock,
//!     delivery: Delivery::Latest,
//! };
//! let mut link = modbus.connect(context).await?;
//! let Some(LinkEvent::Frame(frame)) = link.events.recv().await else { panic!("no values") };
//! assert_eq!((frame.samples[0].value, frame.sequence), (12.5, Some(1)));
//! # Ok(())
//! # }
//! ```
//!
//! Absent: serial lines, Modbus/TCP Security (TLS), which hardly a device has,
//! files, FIFOs and diagnostics of the protocol.

mod bus;
mod config;
mod device;
mod frame;
mod link;
mod native;
mod pdu;
mod plan;
mod session;
#[cfg(test)]
mod tests;
mod unit;
mod value;

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{
    Connection, Host, HostRequest, LinkContext, LinkError, Protocol, ProtocolSchema,
};

/// The protocol, as the registry holds it. Links made by one value (and its clones) to the same
/// address share one connection.
#[derive(Clone, Default)]
pub struct Modbus {
    buses: Arc<bus::Buses>,
}

impl Protocol for Modbus {
    fn schema(&self) -> &'static ProtocolSchema {
        &config::SCHEMA
    }

    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        link::connect(Arc::clone(&self.buses), context).boxed()
    }

    fn host(&self, request: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        device::host(request).boxed()
    }
}

/// Handles bytes with both faces as if they had come from the network: for fuzzing, to see that no
/// bytes whatsoever make them panic.
#[doc(hidden)]
pub fn handle_any_bytes(bytes: &[u8]) {
    device::handle_any_bytes(bytes);
    native::handle_any_bytes(bytes);
    pdu::handle_any_bytes(bytes);
}
