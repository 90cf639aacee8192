//! CoAP: links to devices, and devices played over CoAP.
//!
//! RFC 7252 over UDP with observe (RFC 7641), blocks for what is long (RFC 7959) and a resource
//! list (RFC 6690), bare or over DTLS 1.2 with a pre-shared key. The codec is coap-lite's; the message layer is our own and thin, because one
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
//! | `POST /BASE/session` | opaque session bytes, at most 4 KiB each way, above 1024 bytes in blocks |
//! | `GET /.well-known/core` | the resources, as links |
//!
//! `BASE` is the setting `path`, by default the device's name. Values that are not good are
//! written as `null`, `"NaN"` or `{"v":12.4,"q":"bad"}` (`uncertain`, `bad`).
//! Points mapped with `map.POINT = { path = "..." }` live at their own resource instead, as
//! a number in text or at a `json` pointer; `set` names the resource to PUT to.
//!
//! # What a sealed device looks like
//! It has `/BASE/sealed` and `/BASE/session` and nothing else: no point of it can be read,
//! observed or written, whatever is mapped. Observers of `sealed` get each envelope
//! (`application/octet-stream`, at most 4096 bytes) as a confirmable notification of its own, in
//! order, the next when the last was acknowledged; of a device 64 envelopes wait at most. So a
//! lost datagram delays and does not lose, and an observer that stays away longer sees a gap in
//! the sequence that is inside the envelopes. A GET is answered with an empty body: what was
//! sealed for one moment is not the state of anything.
//!
//! # DTLS
//! With `psk_identity` and `psk_file` a path speaks `coaps://`: DTLS 1.2 with
//! `TLS_PSK_WITH_AES_128_CCM_8` (RFC 7252 §9.1.3.1, RFC 6655) and the extended master secret (RFC
//! 7627), which both sides must offer. The identity travels in the clear, and who learns the key
//! later can read what was recorded before: the suite has no forward secrecy. A played device
//! with a key is there for those only who have proven that key; several devices, with keys of
//! their own or none, may share a socket. A handshake that fails says whether the identity or
//! the key is wrong where the other side says so. A link ends after 2^20 messages, for new keys.
//!
//! # How a link knows that its device is alive
//! It observes. When a resource was silent for the `Max-Age` of its last notification, but at
//! most for three periods or the link's timeout, whichever is longer, the link registers again
//! with a confirmable GET, which also finds a server that has restarted and forgotten it. When
//! that is not answered within the timeout, the link has ended. A server that refuses to be
//! observed is asked each period. An unreachable port ends the link at once.
//!
//! Absent: OSCORE (what must be sealed is sealed by sessions above), DTLS with certificates or raw
//! public keys, DTLS connection ids, multicast, proxies.

mod client;
mod config;
mod device;
mod doors;
mod dtls;
mod link;
mod message;
mod payload;
mod represent;
mod secret;
mod server;
#[cfg(test)]
mod tests;
mod wire;

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
