//! MQTT 5 in one folder: links to devices, played devices, an embedded broker, and the way out
//! for durable telemetry.
//!
//! # The plantwin MQTT convention
//!
//! A device without further configuration talks under a *base* topic, by default its name:
//!
//! | topic | direction | payload |
//! |---|---|---|
//! | `BASE/data` | from the device | JSON, see below |
//! | `BASE/set/POINT` | to the device | a bare number in the point's unit |
//! | `BASE/status` | from the device, retained | `online`; the last will says `offline` |
//! | `BASE/session/ask/LINK/N` | to the device | session bytes |
//! | `BASE/session/answer/LINK/N` | from the device | session bytes |
//! | `BASE/session/refuse/LINK/N` | from the device | text: why there is no answer |
//! | `BASE/sealed` | from the device | an envelope, see below |
//!
//! `LINK` is an arbitrary word that the asking link chose for itself and `N` its count of
//! questions, so that several clients can ask one device at once. The JSON of `data` is
//!
//! ```json
//! {"seq": 12, "t": 1700000000123, "v": {"level": 12.4, "flow": {"v": 3.1, "q": "bad"}}}
//! ```
//!
//! with `seq` counting up by one for each message (optional), `t` the time of measurement in
//! milliseconds since 1970-01-01T00:00:00Z (optional), and under `v` the values by point, in the
//! points' units: a number; `null` for a value that is bad; the text `"NaN"`, `"inf"` or `"-inf"`
//! (which JSON has no numbers for); `true` and `false` for 1 and 0; or an object with such a
//! value under `v` and `good`, `uncertain` or `bad` under `q`. Unknown keys are ignored.
//!
//! # Other devices
//!
//! A plant file can give each point its own topic (`map.level = { topic = "tele/7/level" }`),
//! whose payload is a bare number, or JSON of which `json = "/path/to/value"` (RFC 6901) picks
//! one, and its own topic for writes (`set`). Such values bear no time and no sequence number.
//! A payload that cannot be read is a sample of quality `Bad(Malformed)`, never the end of a
//! link.
//!
//! A message that the broker retained is no word of the device: its values are `Uncertain(Stale)`
//! unless their own time `t` is younger than three periods of the device, and what cannot be read
//! in it is passed over.
//!
//! # Sealed devices
//!
//! A device that speaks in sealed envelopes only has no `data` and no `set`, and topics of its
//! own (`map`) are not used: each report is one envelope, as raw bytes and at most 4096 of them,
//! on `BASE/sealed`, with the quality of service of measurements and never retained. Writes reach
//! it within its session, as session bytes. A link hands envelopes on as they came, in the
//! broker's order; what is longer or was retained is dropped and counted in the log. Where
//! delivery is durable an envelope is acknowledged when it is confirmed, as values are.
//!
//! # Who is who
//!
//! | settings | what they prove |
//! |---|---|
//! | `ca` or `pin` | to us: this is the right broker, and nobody reads or alters what passes |
//! | `cert` and `key`, `username` and `password_file` | to the broker: this is the right client |
//!
//! Nothing of this proves to plantwin that values come from the *device*. Of a plain device that
//! is the broker's word alone: it must know each client (by its certificate or password) and let
//! only one publish under a device's topics (in mosquitto an `acl_file`); plantwin cannot see
//! whether it does. Whoever administers the broker, or holds the credentials of a device, can
//! speak for it. Without `ca` or `pin` not even the broker is known, and a password crosses the
//! network in the clear. A sealed device needs none of this to be believed, since its envelopes
//! prove themselves; yet whoever may publish under its topics can hold up or drop what it says, and
//! claim that it went `offline`. The embedded broker asks whoever speaks for a
//! device with a `username` for its password, and believes everybody about the others; where all
//! have one, nobody comes without. The client ids of plantwin's links are for them alone: they show
//! a secret that the broker drew at its start, whatever their path says.
//!
//! Files are read at each connection, relative to the working directory; what is secret must be
//! closed to others (mode 0600). The dates of certificates are judged by the system's clock, not
//! the plant's. With TLS the counters of a link tell the bytes of its records, handshake
//! included, a packet being one read or write of the socket.
//!
//! # Nothing lost
//!
//! Where delivery is durable, a link holds a persistent session under a client id that stays the
//! same (`client_id`, by default `plantwin-DEVICE`), subscribes with quality of service 1 and
//! acknowledges a message when plantwin has it safe, not before. The broker keeps what was not
//! acknowledged and what arrives while nobody is connected, for a week and within the broker's
//! own limits, and sends it again; what comes twice is for the layers above to find. At most 32
//! messages are under way without an acknowledgement. A device must publish with `qos = 1` (the
//! default, also of played devices) for this to hold from the device on. Two plants that follow
//! one device at one broker need a `client_id` each.
//!
//! What a broker keeps over its own crash is its own setting: mosquitto wants `persistence true`
//! and saves every half hour unless `autosave_interval` says otherwise; the embedded broker keeps
//! nothing over its end, and a session for at most an hour.
//!
//! Northbound, records go to `plantwin/PLANT/DEVICE` (`topic` replaces the first two parts) with
//! quality of service 1.
//!
//! Brokers must speak MQTT 5 (since 2018; mosquitto since 1.6): its receive maximum is what keeps
//! a held-back connection alive without an unbounded queue. Devices may speak 3.1.1 to them.
//!
//! TLS is rustls with ring, below the client library: its own TLS feature, which stays off, pins a
//! webpki with four advisories (RUSTSEC-2026-0049, -0098, -0099 and -0104).
//!
//! Absent: TLS of the embedded broker, revocation lists, QoS 2, reconnecting of
//! links (the runtime decides when and where), and any knowledge of sessions or keys.

mod admission;
mod bounds;
mod broker;
mod cause;
mod client;
mod config;
mod device;
mod forward;
mod link;
mod own;
mod payload;
mod secret;
mod sessions;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, ForwardContext, Host, HostRequest, HostedDevice, Hub, LinkContext, LinkError,
    Outbound, Protocol, ProtocolSchema,
};

/// The MQTT protocol, for the registry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mqtt;

impl Protocol for Mqtt {
    fn schema(&self) -> &'static ProtocolSchema {
        &config::SCHEMA
    }

    fn connect(&self, context: LinkContext) -> BoxFuture<'static, Result<Connection, LinkError>> {
        Box::pin(link::connect(context))
    }

    fn host(&self, request: HostRequest) -> BoxFuture<'static, Result<Host, LinkError>> {
        Box::pin(device::host(request))
    }

    fn start_hub(
        &self,
        listen: Option<SocketAddr>,
        guests: Vec<HostedDevice>,
    ) -> Option<BoxFuture<'static, Result<Hub, LinkError>>> {
        Some(Box::pin(broker::start(listen, guests)))
    }

    fn forward(
        &self,
        context: ForwardContext,
    ) -> Option<BoxFuture<'static, Result<Outbound, LinkError>>> {
        Some(Box::pin(forward::forward(context)))
    }
}
