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
//! nothing over its end.
//!
//! Northbound, records go to `plantwin/PLANT/DEVICE` (`topic` replaces the first two parts) with
//! quality of service 1.
//!
//! Brokers must speak MQTT 5 (since 2018; mosquitto since 1.6): its receive maximum is what keeps
//! a held-back connection alive without an unbounded queue. Devices may speak 3.1.1 to them.
//!
//! Absent: TLS (the TLS feature of the client library pins a webpki with four advisories,
//! RUSTSEC-2026-0049, -0098, -0099 and -0104; put a TLS proxy in front of a remote broker),
//! QoS 2, reconnecting of links (the runtime decides when and where), and
//! any knowledge of sessions or keys.

mod broker;
mod client;
mod config;
mod device;
mod forward;
mod link;
mod payload;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use plantwin_adapter::{
    Connection, ForwardContext, Host, HostRequest, Hub, LinkContext, LinkError, Outbound, Protocol,
    ProtocolSchema,
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
    ) -> Option<BoxFuture<'static, Result<Hub, LinkError>>> {
        Some(Box::pin(broker::start(listen)))
    }

    fn forward(
        &self,
        context: ForwardContext,
    ) -> Option<BoxFuture<'static, Result<Outbound, LinkError>>> {
        Some(Box::pin(forward::forward(context)))
    }
}
