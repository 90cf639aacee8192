//! CoAP: links to devices, and devices played over CoAP.
//!
//! RFC 7252 over UDP with observe (RFC 7641), Block2 for long answers (RFC 7959) and a resource
//! list (RFC 6690). The codec is coap-lite's; the message layer is our own and thin, because one
//! socket serves many devices, every datagram is counted, every queue is bounded and dropping a
//! connection must end it.
//!
//! # What a native device looks like
//! Readable with any CoAP client, e.g. `coap-client -m get coap://127.0.0.1/tank1`:
//!
//! | request | meaning |
//! |---|---|
//! | `GET /BASE` (observable) | `application/json`: `{"seq":12,"t":1700000000123,"v":{"level":12.4}}`, `t` in ms since 1970; before the first measurement `v` is empty |
//! | `GET /BASE/POINT` (observable) | the bare number as text, empty before the first measurement |
//! | `PUT /BASE/POINT` | writes a number given as text; 4.03 for read-only points |
//! | `POST /BASE/session` | opaque session bytes, at most 4 KiB each way, in one datagram |
//! | `GET /.well-known/core` | the resources, as links |
//!
//! `BASE` is the setting `path`, by default the device's name. Values that are not good are
//! written as `null`, `"NaN"` or `{"v":12.4,"q":"bad"}` (`uncertain`, `bad`).
//! Points mapped with `map.POINT = { path = "..." }` live at their own resource instead, as
//! a number in text or at a `json` pointer; `set` names the resource to PUT to.
//!
//! # How a link knows that its device is alive
//! It observes. When a resource was silent for the `Max-Age` of its last notification, but at
//! most for three periods or the link's timeout, whichever is longer, the link registers again
//! with a confirmable GET, which also finds a server that has restarted and forgotten it. When
//! that is not answered within the timeout, the link has ended. A server that refuses to be
//! observed is asked each period. An unreachable port ends the link at once.
//!
//! Absent: DTLS and OSCORE (what must be sealed is sealed by sessions above), multicast,
//! Block1, proxies.

mod client;
mod config;
mod device;
mod link;
mod message;
mod payload;
mod represent;
mod server;
#[cfg(test)]
mod tests;

use futures_util::{FutureExt, future::BoxFuture};
use plantwin_adapter::{
    Connection, Host, HostRequest, LinkContext, LinkError, Protocol, ProtocolSchema,
};

/// The protocol, as the registry holds it. It has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coap;

impl Protocol for Coap {
    fn schema(&self) -> &'static ProtocolSchema {
        &config::SCHEMA
    }

    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        link::connect(context).boxed()
    }

    fn host(&self, request: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        device::host(request).boxed()
    }
}

/// Handles a datagram with both faces as if it had come from the network: for fuzzing, to see
/// that no bytes whatsoever make them panic.
#[doc(hidden)]
pub fn handle_any_datagram(bytes: &[u8]) {
    client::handle_any_datagram(bytes);
    server::handle_any_datagram(bytes);
}
