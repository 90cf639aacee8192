//! Sealed devices: what they serve, and that envelopes arrive one by one, also where some get
//! lost.

use std::{sync::Arc, time::Duration};

use coap_lite::{CoapOption, MessageType, Packet, RequestType, block_handler::BlockValue};
use plantwin_adapter::{
    Connection, DeviceMessage, LinkContext, LinkError, LinkEvent, Measurement, PointWrite,
    Protocol, SEALED_LIMIT, Tasks,
};
use plantwin_model::{PointIx, Timestamp};
use tokio::{sync::mpsc, time::Instant};

use super::support::{
    connect, context, host, host_sealed, hosted, map, path, publish, relay, within,
};
use crate::{
    Coap, config,
    message::{self, BLOCK},
    server::{KEPT, Outgoing, Peer, Server},
};

const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 4000);

struct Bench {
    server: Server,
    _requests: mpsc::Receiver<DeviceMessage>,
    now: Instant,
    out: Outgoing,
    id: u16,
}

impl Bench {
    fn new() -> Self {
        let mut server = Server::default();
        let (tx, requests) = mpsc::channel(8);
        // A mapping of a point does not open a side door.
        let mut device = hosted("alpha", map(path(&[]), 0, "path", "s/level"));
        device.sealed = true;
        server.add(&device, None, 1.0, tx, Arc::default()).expect("good settings");
        Self { server, _requests: requests, now: Instant::now(), out: Vec::new(), id: 0 }
    }

    fn send(&mut self, packet: &Packet) -> Vec<Packet> {
        let bytes = message::bytes(packet);
        self.server.datagram(PEER.into(), &bytes, self.now, &mut self.out);
        self.sent()
    }

    fn sent(&mut self) -> Vec<Packet> {
        self.out.drain(..).map(|(_, b)| message::parse(&b).expect("own messages")).collect()
    }

    fn request(&mut self, method: RequestType, at: &str) -> Packet {
        self.id += 1;
        message::request(method, &config::segments(at), self.id, &[7])
    }

    fn observe(&mut self) -> Packet {
        let mut packet = self.request(RequestType::Get, "alpha/sealed");
        message::set_number(&mut packet, CoapOption::Observe, 0);
        self.send(&packet).remove(0)
    }

    fn seal(&mut self, envelope: &[u8]) -> Vec<Packet> {
        self.server.publish_sealed(0, envelope, self.now, &mut self.out);
        self.sent()
    }

    fn acknowledge(&mut self, packet: &Packet) -> Vec<Packet> {
        let ack = message::empty(MessageType::Acknowledgement, packet.header.message_id);
        self.server.datagram(PEER.into(), &ack, self.now, &mut self.out);
        self.sent()
    }

    fn block(&mut self, num: u16) -> Packet {
        let mut get = self.request(RequestType::Get, "alpha/sealed");
        let block = BlockValue { num, more: false, size_exponent: 6 };
        get.add_option_as(CoapOption::Block2, block);
        let answers = self.send(&get);
        assert!(!answers.is_empty());
        for later in &answers[1..] {
            assert_eq!(later.header.get_type(), MessageType::Confirmable);
            self.out.push((Peer::from(PEER), message::bytes(later)));
        }
        answers[0].clone()
    }
}

#[test]
fn a_sealed_device_serves_no_point_in_any_way() {
    let mut b = Bench::new();
    b.server.publish(
        0,
        Measurement::good(Timestamp(0), 1, &[1.5, 2.5, 3.5, 4.5]),
        b.now,
        &mut b.out,
    );
    assert!(b.sent().is_empty());
    for at in ["alpha", "alpha/level", "alpha/voltage", "s/level"] {
        for method in [RequestType::Get, RequestType::Put, RequestType::Post, RequestType::Delete] {
            let mut packet = b.request(method, at);
            packet.payload = b"1".to_vec();
            message::set_number(&mut packet, CoapOption::Observe, 0);
            let answer = b.send(&packet).remove(0);
            assert_eq!(answer.header.code.to_string(), "4.04", "{method:?} {at}");
        }
    }
    let mut put = b.request(RequestType::Put, "alpha/sealed");
    put.payload = b"1".to_vec();
    assert_eq!(b.send(&put).remove(0).header.code.to_string(), "4.05");
    let list = b.request(RequestType::Get, ".well-known/core");
    let list = String::from_utf8(b.send(&list).remove(0).payload).expect("text");
    assert_eq!(
        list,
        "</alpha/sealed>;ct=42;rt=\"plantwin.sealed\";obs,\
         </alpha/session>;ct=42;rt=\"plantwin.session\""
    );
}

#[test]
fn envelopes_go_out_confirmable_one_at_a_time_and_in_order() {
    let mut b = Bench::new();
    b.seal(b"before anybody listens");
    let first = b.observe();
    assert!(first.payload.is_empty(), "what is past is not sent again");
    assert_eq!(message::number(&first, CoapOption::ContentFormat), Some(42));
    let mut last = message::number(&first, CoapOption::Observe).expect("registered");
    let mut flight = b.seal(&[1]);
    for n in 2..=5_u8 {
        assert!(b.seal(&[n]).is_empty(), "one at a time");
    }
    for n in 1..=5_u8 {
        let packet = flight.remove(0);
        assert_eq!(packet.header.get_type(), MessageType::Confirmable);
        assert_eq!(packet.payload, [n]);
        let number = message::number(&packet, CoapOption::Observe).expect("a notification");
        assert!(number > last);
        last = number;
        if n == 3 {
            // Lost: it comes again, and nothing else meanwhile.
            b.now = b.server.next_wake().expect("a repetition is due");
            b.server.tick(b.now, &mut b.out);
            assert_eq!(b.sent(), std::slice::from_ref(&packet));
            let again = b.observe();
            let now = message::number(&again, CoapOption::Observe);
            assert_eq!(now, Some(number), "a refresh makes nothing stale that is still to come");
        }
        flight = b.acknowledge(&packet);
    }
    assert!(flight.is_empty());
    assert_eq!(b.server.next_wake(), None, "settled");
}

#[test]
fn an_observer_that_falls_back_loses_the_oldest_and_one_that_is_dead_is_forgotten() {
    let mut b = Bench::new();
    b.observe();
    let first = b.seal(&0_u32.to_be_bytes()).remove(0);
    let all = KEPT as u32 + 10;
    for n in 1..=all {
        b.seal(&n.to_be_bytes());
    }
    let mut got = Vec::new();
    let mut next = b.acknowledge(&first);
    while let Some(packet) = next.pop() {
        got.push(u32::from_be_bytes(packet.payload[..].try_into().expect("four bytes")));
        next = b.acknowledge(&packet);
    }
    let want: Vec<u32> = (all + 1 - KEPT as u32..=all).collect();
    assert_eq!(got, want, "the newest in order");

    b.seal(&[1]);
    while let Some(wake) = b.server.next_wake() {
        b.now = wake;
        b.server.tick(b.now, &mut b.out);
    }
    b.sent();
    assert_eq!(b.server.observers("alpha/sealed"), 0);
    assert!(b.seal(&[2]).is_empty());
}

#[test]
fn a_long_envelope_is_fetched_in_blocks_before_the_next_goes_out() {
    let mut b = Bench::new();
    b.observe();
    let long: Vec<u8> = (0..BLOCK * 3 - 7).map(|n| (n % 251) as u8).collect();
    let packet = b.seal(&long).remove(0);
    assert!(message::block2(&packet).expect("sound").expect("present").more);
    assert!(b.seal(b"next").is_empty());
    assert!(b.acknowledge(&packet).is_empty(), "not before it was fetched");
    let mut whole = packet.payload.clone();
    whole.extend_from_slice(&b.block(1).payload);
    let last = b.block(2);
    assert_eq!(last.get_option(CoapOption::ETag), packet.get_option(CoapOption::ETag));
    whole.extend_from_slice(&last.payload);
    assert_eq!(whole, long);
    let next = b.sent().remove(0);
    assert_eq!(next.payload, b"next");
    assert_eq!(b.block(2).payload, last.payload, "also when the answer was lost");
    b.acknowledge(&next);

    // Who does not fetch loses the rest, not what comes after.
    let packet = b.seal(&long).remove(0);
    b.seal(b"after");
    b.acknowledge(&packet);
    b.now = b.server.next_wake().expect("patience ends");
    b.server.tick(b.now, &mut b.out);
    assert_eq!(b.sent().remove(0).payload, b"after");
}

pub(super) fn sealed(address: std::net::SocketAddr, limit: Duration) -> LinkContext {
    LinkContext { sealed: true, ..context(path(&[]), address, limit) }
}

/// The next envelope; a link that ends or says something bare is a failure.
pub(super) async fn envelope(link: &mut Connection) -> Vec<u8> {
    within("an envelope", async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Sealed { envelope, receipt: None, .. }) => return envelope,
                Some(LinkEvent::Alive) => {}
                other => panic!("no envelope: {other:?}"),
            }
        }
    })
    .await
}

fn numbered(n: usize) -> Vec<u8> {
    // Some of more than one block, the last of the full length.
    let length = [8, 700, 1024, 1025, 3000, SEALED_LIMIT][n % 6];
    let mut envelope = vec![n as u8; length];
    envelope[..8].copy_from_slice(&(n as u64).to_be_bytes());
    envelope
}

#[tokio::test]
async fn envelopes_of_every_length_make_the_way_through_a_lossy_network_in_order() {
    let (host, mut port) = host_sealed(path(&[])).await;
    let mut tasks = Tasks::new();
    // Every seventh datagram is lost, some come twice.
    let (address, count) = relay(host.address, &mut tasks, |n| match n % 14 {
        6 | 13 if n > 4 => 0,
        3 => 2,
        _ => 1,
    })
    .await;
    let mut link = connect(sealed(address, Duration::from_secs(25))).await;
    for n in 0..12 {
        port.outlet.publish_sealed(&numbered(n)).await.unwrap_or_else(|e| panic!("failed to {e}"));
    }
    for n in 0..12 {
        let got = envelope(&mut link).await;
        assert!(got == numbered(n), "envelope {n}: {} bytes, {:?}", got.len(), &got[..8]);
    }
    assert!(count.load(std::sync::atomic::Ordering::Relaxed) > 20);
}

#[tokio::test]
async fn bare_values_and_envelopes_are_not_mixed_up() {
    let (host, mut port) = host_sealed(path(&[])).await;
    let m = Measurement::good(Timestamp(0), 1, &[1.0]);
    let refused = port.outlet.publish(&m).await;
    assert!(matches!(refused, Err(LinkError::Unsupported(_))), "{refused:?}");
    for wrong in [&[][..], &vec![0; SEALED_LIMIT + 1]] {
        let refused = port.outlet.publish_sealed(wrong).await;
        assert!(matches!(refused, Err(LinkError::Refused(_))), "{refused:?}");
    }
    let link = connect(sealed(host.address, Duration::from_secs(20))).await;
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 1.0 }]).await;
    assert!(matches!(write, Err(LinkError::Unsupported(_))), "{write:?}");

    // A plain link finds nothing on a sealed device, nor a sealed one on a plain device.
    let plain = Coap.connect(context(path(&[]), host.address, Duration::from_secs(20))).await;
    let error = plain.err().expect("there is nothing bare");
    assert!(matches!(&error, LinkError::Refused(t) if t.contains("4.04")), "{error}");
    let (host, mut port) = super::support::host(None, path(&[])).await;
    let refused = port.outlet.publish_sealed(&[1]).await;
    assert!(matches!(refused, Err(LinkError::Unsupported(_))), "{refused:?}");
    let sealed = Coap.connect(sealed(host.address, Duration::from_secs(20))).await;
    let error = sealed.err().expect("there are no envelopes");
    assert!(matches!(&error, LinkError::Unsupported(t) if t.contains("4.04")), "{error}");
}

#[tokio::test]
async fn long_session_bytes_cross_a_lossy_network_in_blocks() {
    let (host, mut port) = host(None, path(&[])).await;
    publish(&mut port, 1, &[1.0]).await;
    let mut tasks = Tasks::new();
    let (address, count) = relay(host.address, &mut tasks, |n| usize::from(n % 11 != 4)).await;
    let mut requests = port.requests;
    tasks.spawn(async move {
        while let Some(message) = requests.recv().await {
            if let DeviceMessage::Exchange { mut request, reply } = message {
                request.reverse();
                let _ = reply.send(Ok(request));
            }
        }
    });
    let mut link = connect(context(path(&[]), address, Duration::from_secs(28))).await;
    let body = |n: usize| -> Vec<u8> { (0..n).map(|i| (i * 7 + n) as u8).collect() };
    // Two at once, so that their blocks could be mixed up.
    let lengths = [4096, 4095];
    let both = futures_util::future::join_all(lengths.map(|n| link.control.exchange(body(n))));
    tokio::pin!(both);
    let done = within("both exchanges", async {
        loop {
            tokio::select! {
                done = &mut both => return done,
                event = link.events.recv() => {
                    assert!(!matches!(event, None | Some(LinkEvent::Closed(_))), "{event:?}");
                }
            }
        }
    })
    .await;
    for (n, got) in lengths.into_iter().zip(done) {
        let mut want = body(n);
        want.reverse();
        let got = got.unwrap_or_else(|e| panic!("failed to {e}"));
        assert!(got == want, "{n} bytes came back as {}", got.len());
    }
    assert!(count.load(std::sync::atomic::Ordering::Relaxed) >= 16, "it took blocks");
    let long = link.control.exchange(body(4097)).await;
    assert!(matches!(long, Err(LinkError::Refused(_))), "{long:?}");
}
