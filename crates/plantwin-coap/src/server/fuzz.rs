//! Any bytes whatsoever at a server's door, for fuzzing and property tests.
//!
//! Absent: sockets and tasks.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use coap_lite::{CoapOption, ResponseType};
use plantwin_adapter::{HostedDevice, Measurement};
use plantwin_model::{PathSpec, Span, Timestamp};
use tokio::{sync::mpsc, time::Instant};

use super::{Peer, Server};
use crate::{
    doors::{Doors, Entry},
    message::{self, BLOCK},
    secret::Psk,
};

/// See [`crate::handle_any_datagram`].
pub(crate) fn handle_any_datagram(bytes: &[u8]) {
    let now = Instant::now();
    let at = SocketAddr::from(([127, 0, 0, 1], 1));
    let mut server = Server::default();
    let (requests, _kept) = mpsc::channel(4);
    for (name, sealed) in [("a", false), ("s", true)] {
        let hosted = HostedDevice {
            sealed,
            device: name.into(),
            points: Arc::new([]),
            path: PathSpec {
                protocol: "coap",
                settings: BTreeMap::new(),
                points: BTreeMap::new(),
                span: Span::default(),
            },
            period: Duration::from_secs(1),
        };
        if server.add(&hosted, None, 1.0, requests.clone(), Arc::default()).is_err() {
            return;
        }
    }
    let mut out = Vec::new();
    // Somebody who observes envelopes, so that blocks and acknowledgements have something to meet.
    let from = Peer::from(at);
    let path = ["s".to_owned(), "sealed".to_owned()];
    let mut observe = message::request(coap_lite::RequestType::Get, &path, 1, &[]);
    message::set_number(&mut observe, CoapOption::Observe, 0);
    server.datagram(from, &message::bytes(&observe), now, &mut out);
    server.publish_sealed(1, &[7; 2 * BLOCK], now, &mut out);
    for _ in 0..2 {
        if let Some(ask) = server.datagram(from, bytes, now, &mut out) {
            let answer = Ok((ResponseType::Changed, vec![0; 2 * BLOCK]));
            server.answered(ask.number, answer, now, &mut out);
        }
        server.publish(0, Measurement::good(Timestamp(0), 1, &[]), now, &mut out);
        server.publish_sealed(1, &[8; 8], now, &mut out);
    }
    server.tick(now + Duration::from_secs(3), &mut out);
    if Doors::is_dtls(bytes) {
        handle_any_record(at, bytes, now);
    }
}

/// The same as a DTLS record, alone and in the middle of a handshake.
fn handle_any_record(at: SocketAddr, bytes: &[u8], now: Instant) {
    let psk = Psk { identity: "a".to_owned(), key: vec![1; 16].into() };
    let Ok(mut doors) = Doors::new(vec![psk.clone()]) else { return };
    doors.datagram(at, bytes, now);
    let Ok(mut client) = crate::dtls::Association::client(psk, Duration::from_secs(1), now) else {
        return;
    };
    let mut flow = crate::dtls::Flow::default();
    // Nothing of what fails here may panic; that it fails is expected.
    let _ = client.tick(now, &mut flow);
    for hello in std::mem::take(&mut flow.packets) {
        doors.datagram(at, &hello, now);
    }
    for entry in doors.datagram(at, bytes, now) {
        if let Entry::Message(peer, message) = entry {
            doors.send(peer, &message);
        }
    }
    let _ = client.take(bytes, now, &mut flow);
    doors.tick(now + Duration::from_secs(2));
}
