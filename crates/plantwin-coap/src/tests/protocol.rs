//! The server's state machine, with times that the test makes.

use std::{sync::Arc, time::Duration};

use coap_lite::{
    CoapOption, MessageClass, MessageType, Packet, RequestType, ResponseType,
    block_handler::BlockValue,
};
use plantwin_adapter::{DeviceMessage, Measurement, Traffic};
use plantwin_model::Timestamp;
use tokio::{sync::mpsc, time::Instant};

use super::support::{hosted, map, path};
use crate::{
    config,
    message::{self, EXCHANGE_LIFETIME},
    server::{OBSERVERS, Outgoing, Peer, Reply, Server},
};

const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 4000);

struct Bench {
    server: Server,
    requests: mpsc::Receiver<DeviceMessage>,
    traffic: Arc<Traffic>,
    now: Instant,
    out: Outgoing,
    id: u16,
}

impl Bench {
    fn new() -> Self {
        Self::with(path(&[]))
    }

    fn with(spec: plantwin_model::PathSpec) -> Self {
        let mut server = Server::default();
        let (tx, requests) = mpsc::channel(8);
        let traffic = Arc::<Traffic>::default();
        server
            .add(&hosted("alpha", spec), None, 1.0, tx, Arc::clone(&traffic))
            .expect("good settings");
        Self { server, requests, traffic, now: Instant::now(), out: Vec::new(), id: 0 }
    }

    fn request(&mut self, method: RequestType, at: &str) -> Packet {
        self.id += 1;
        message::request(method, &config::segments(at), self.id, &[7])
    }

    /// Sends a packet and gives what comes back at once.
    fn send(&mut self, packet: &Packet) -> Vec<Packet> {
        self.send_from(PEER.into(), packet).0
    }

    fn send_from(&mut self, from: Peer, packet: &Packet) -> (Vec<Packet>, Option<u64>) {
        let bytes = message::bytes(packet);
        let ask = self.server.datagram(from, &bytes, self.now, &mut self.out);
        let number = ask.map(|a| {
            assert!(matches!(a.reply, Reply::Write(_) | Reply::Exchange(_)));
            a.number
        });
        (self.sent(), number)
    }

    fn sent(&mut self) -> Vec<Packet> {
        self.out.drain(..).map(|(_, b)| message::parse(&b).expect("own messages")).collect()
    }

    fn get(&mut self, at: &str) -> Packet {
        let packet = self.request(RequestType::Get, at);
        self.send(&packet).remove(0)
    }

    fn observe(&mut self, port: u16, at: &str) -> Packet {
        let mut packet = self.request(RequestType::Get, at);
        message::set_number(&mut packet, CoapOption::Observe, 0);
        self.send_from(([127, 0, 0, 1], port).into(), &packet).0.remove(0)
    }

    fn publish(&mut self, sequence: u64, values: &[f64]) -> Vec<Packet> {
        let m = Measurement::good(Timestamp::from_millis(1000), sequence, values);
        self.server.publish(0, m, self.now, &mut self.out);
        self.sent()
    }
}

fn code(packet: &Packet) -> String {
    packet.header.code.to_string()
}

#[test]
fn errors_have_the_codes_and_diagnoses_of_the_protocol() {
    let mut b = Bench::new();
    let mut ask = |method, at: &str, payload: &[u8]| {
        let mut packet = b.request(method, at);
        packet.payload = payload.to_vec();
        let answer = b.send(&packet).remove(0);
        assert_eq!(answer.header.get_type(), MessageType::Acknowledgement);
        assert_eq!(answer.header.message_id, packet.header.message_id);
        assert!(!answer.payload.is_empty(), "{at}: no diagnosis");
        code(&answer)
    };
    assert_eq!(ask(RequestType::Get, "alpha/none", b""), "4.04");
    assert_eq!(ask(RequestType::Get, "beta", b""), "4.04");
    assert_eq!(ask(RequestType::Get, "alpha/session", b""), "4.05");
    assert_eq!(ask(RequestType::Delete, "alpha", b""), "4.05");
    assert_eq!(ask(RequestType::Put, "alpha", b"1"), "4.05");
    assert_eq!(ask(RequestType::Put, "alpha/level", b"1"), "4.03");
    assert_eq!(ask(RequestType::Put, "alpha/voltage", b"wet"), "4.00");
    let mut strange = b.request(RequestType::Get, "alpha");
    strange.add_option(CoapOption::Unknown(2049), vec![1]);
    assert_eq!(code(&b.send(&strange).remove(0)), "4.02", "an unknown critical option");
    let mut xml = b.request(RequestType::Get, "alpha");
    message::set_number(&mut xml, CoapOption::Accept, 41);
    assert_eq!(code(&b.send(&xml).remove(0)), "4.06");
    assert!(b.requests.try_recv().is_err(), "nothing of that reached the device");
}

#[test]
fn a_doubled_write_is_done_once_and_answered_twice() {
    let mut b = Bench::new();
    let mut put = b.request(RequestType::Put, "alpha/voltage");
    put.payload = b"3.5".to_vec();
    let (none, number) = b.send_from(PEER.into(), &put);
    assert!(none.is_empty());
    let number = number.expect("the device is asked");
    assert!(b.send(&put).is_empty(), "doubled while the device thinks");
    let changed = Ok((ResponseType::Changed, Vec::new()));
    b.server.answered(number, changed, b.now, &mut b.out);
    let first = b.sent();
    assert_eq!(code(&first[0]), "2.04");
    assert_eq!(b.send(&put), first, "doubled afterwards");
    assert!(matches!(b.requests.try_recv(), Ok(DeviceMessage::Write { value: 3.5, .. })));
    assert!(b.requests.try_recv().is_err(), "the device was asked once");

    b.now += EXCHANGE_LIFETIME + Duration::from_secs(1);
    assert!(b.send_from(PEER.into(), &put).1.is_some(), "the same id much later is a new write");
}

#[test]
fn a_slow_device_is_acknowledged_first_and_answers_separately() {
    let mut b = Bench::new();
    let mut put = b.request(RequestType::Put, "alpha/voltage");
    put.payload = b"1".to_vec();
    let number = b.send_from(PEER.into(), &put).1.expect("the device is asked");
    b.now = b.server.next_wake().expect("an acknowledgement is due");
    b.server.tick(b.now, &mut b.out);
    let ack = b.sent().remove(0);
    assert_eq!((ack.header.get_type(), code(&ack)), (MessageType::Acknowledgement, "0.00".into()));
    assert_eq!(b.send(&put).remove(0), ack, "a doubled request gets the same");

    b.server.answered(number, Err((ResponseType::Conflict, "no".into())), b.now, &mut b.out);
    let answer = b.sent().remove(0);
    assert_eq!(answer.header.get_type(), MessageType::Confirmable);
    assert_eq!((code(&answer).as_str(), &answer.payload[..]), ("4.09", &b"no"[..]));
    b.now = b.server.next_wake().expect("a repetition is due");
    b.server.tick(b.now, &mut b.out);
    assert_eq!(b.sent(), std::slice::from_ref(&answer), "sent again until it is acknowledged");
    let id = answer.header.message_id;
    let ack = message::empty(MessageType::Acknowledgement, id);
    b.server.datagram(PEER.into(), &ack, b.now, &mut b.out);
    assert_eq!(b.server.next_wake(), None, "settled");
}

#[test]
fn every_tenth_notification_is_confirmable_and_a_silent_observer_is_forgotten() {
    let mut b = Bench::new();
    let first = b.observe(4000, "alpha");
    assert!(message::number(&first, CoapOption::Observe).is_some(), "registered");
    let mut kinds = Vec::new();
    for n in 1..=10 {
        kinds.push(b.publish(n, &[1.0]).remove(0).header.get_type());
    }
    assert!(kinds[..9].iter().all(|k| *k == MessageType::NonConfirmable), "{kinds:?}");
    assert_eq!(kinds[9], MessageType::Confirmable);
    for _ in 0..4 {
        b.now = b.server.next_wake().expect("a repetition is due");
        b.server.tick(b.now, &mut b.out);
        assert_eq!(b.sent().len(), 1);
    }
    b.now = b.server.next_wake().expect("the end of patience");
    b.server.tick(b.now, &mut b.out);
    assert_eq!(b.server.observers("alpha"), 0);
    assert!(b.publish(11, &[1.0]).is_empty());
}

#[test]
fn an_observer_that_acknowledges_stays_and_one_that_resets_goes() {
    let mut b = Bench::new();
    b.observe(4000, "alpha/level");
    b.now += Duration::from_secs(31);
    let con = b.publish(1, &[1.0]).remove(0);
    assert_eq!(con.header.get_type(), MessageType::Confirmable, "after 30 s at the latest");
    let ack = message::empty(MessageType::Acknowledgement, con.header.message_id);
    b.server.datagram(PEER.into(), &ack, b.now, &mut b.out);
    assert_eq!(b.server.next_wake(), None);
    let non = b.publish(2, &[1.5]).remove(0);
    assert_eq!(&non.payload[..], b"1.5");
    assert_eq!(b.server.observers("alpha/level"), 1);
    let reset = message::empty(MessageType::Reset, non.header.message_id);
    b.server.datagram(PEER.into(), &reset, b.now, &mut b.out);
    assert_eq!(b.server.observers("alpha/level"), 0);
}

#[test]
fn observers_are_limited_registered_once_and_can_leave() {
    let mut b = Bench::new();
    b.observe(4000, "alpha");
    b.observe(4000, "alpha");
    assert_eq!(b.server.observers("alpha"), 1, "the same token refreshes");
    for port in 0..OBSERVERS as u16 {
        b.observe(5000 + port, "alpha");
    }
    assert_eq!(b.server.observers("alpha"), OBSERVERS);
    let late = b.observe(9000, "alpha");
    assert_eq!(code(&late), "2.05", "answered all the same");
    assert_eq!(message::number(&late, CoapOption::Observe), None, "but not registered");
    let mut leave = b.request(RequestType::Get, "alpha");
    message::set_number(&mut leave, CoapOption::Observe, 1);
    b.send(&leave);
    assert_eq!(b.server.observers("alpha"), OBSERVERS - 1);
}

#[test]
fn a_device_that_is_down_is_silent_and_forgets_its_observers() {
    let mut b = Bench::new();
    let (tx, _kept) = mpsc::channel(8);
    b.server.add(&hosted("beta", path(&[])), None, 1.0, tx, Arc::default()).expect("good settings");
    b.observe(4000, "alpha");
    let mut put = b.request(RequestType::Put, "alpha/voltage");
    put.payload = b"1".to_vec();
    let number = b.send_from(PEER.into(), &put).1.expect("the device is asked");
    b.server.set_up(0, false);
    b.server.answered(number, Ok((ResponseType::Changed, vec![])), b.now, &mut b.out);
    assert!(b.sent().is_empty(), "what was asked before is not answered");
    assert!(b.publish(1, &[1.0]).is_empty());
    let before = b.traffic.snapshot();
    for at in ["alpha", "alpha/level", "alpha/none"] {
        let get = b.request(RequestType::Get, at);
        assert!(b.send(&get).is_empty(), "{at}");
    }
    assert_eq!(b.traffic.snapshot(), before, "it neither hears nor speaks");
    assert_eq!(code(&b.get("beta")), "2.05", "the other device is not touched");
    assert!(!String::from_utf8_lossy(&b.get(".well-known/core").payload).contains("alpha"));
    b.server.set_up(0, true);
    assert_eq!(code(&b.get("alpha")), "2.05");
    assert!(b.publish(2, &[1.0]).is_empty(), "observers must register again");
}

#[test]
fn long_answers_come_in_blocks_and_bad_blocks_are_refused() {
    let long = "x".repeat(200);
    let mut b = Bench::with(path(&[("path", &format!("{long}/{long}"))]));
    let mut list = Vec::new();
    loop {
        let mut get = b.request(RequestType::Get, ".well-known/core");
        if !list.is_empty() {
            let block = BlockValue::new(list.len() / 1024, false, 1024).expect("a block");
            get.add_option_as(CoapOption::Block2, block);
        }
        let answer = b.send(&get).remove(0);
        assert!(answer.payload.len() <= 1024);
        list.extend_from_slice(&answer.payload);
        if !message::block2(&answer).expect("sound").expect("present").more {
            break;
        }
    }
    assert!(list.len() > 1024);
    let text = String::from_utf8(list).expect("text");
    let links: Vec<_> = coap_lite::link_format::LinkFormatParser::new(&text)
        .map(|l| l.expect("a link").0)
        .collect();
    assert_eq!(links.len(), 6, "base, four points, session: {links:?}");
    for bad in [vec![0xF0, 0x06], vec![0x07], vec![1, 2, 3, 4]] {
        let mut get = b.request(RequestType::Get, ".well-known/core");
        get.add_option(CoapOption::Block2, bad);
        assert_eq!(code(&b.send(&get).remove(0)), "4.00");
    }
}

#[test]
fn mapped_points_are_served_where_and_how_they_are_mapped() {
    let spec = map(map(path(&[]), 0, "path", "s/doc"), 0, "json", "/a/l");
    let spec = map(map(map(spec, 1, "path", "s/doc"), 1, "json", "/f"), 2, "path", "volt");
    let mut b = Bench::with(spec);
    b.publish(1, &[1.5, 2.5, 3.5, 4.5]);
    assert_eq!(&b.get("s/doc").payload[..], br#"{"a":{"l":1.5},"f":2.5}"#);
    assert_eq!(&b.get("volt").payload[..], b"3.5");
    assert_eq!(code(&b.get("alpha/voltage")), "4.04");
    assert_eq!(&b.get("alpha/split").payload[..], b"4.5");
    let mut put = b.request(RequestType::Put, "volt");
    put.payload = b"7".to_vec();
    assert!(b.send_from(PEER.into(), &put).1.is_some());
}

#[test]
fn two_devices_cannot_have_the_same_resource() {
    let mut b = Bench::new();
    let (tx, _kept) = mpsc::channel(8);
    let same = hosted("beta", path(&[("path", "alpha")]));
    let error = b.server.add(&same, None, 1.0, tx, Arc::default()).expect_err("it is taken");
    assert!(error.to_string().contains("alpha"), "{error}");
}

#[test]
fn traffic_counts_every_byte_of_the_device_both_ways() {
    let mut b = Bench::new();
    let get = b.request(RequestType::Get, "alpha/level");
    let answer = b.send(&get);
    let t = b.traffic.snapshot();
    assert_eq!((t.down_packets, t.down_bytes), (1, message::bytes(&get).len() as u64));
    assert_eq!((t.up_packets, t.up_bytes), (1, message::bytes(&answer[0]).len() as u64));
}

#[test]
fn pings_are_answered_and_stray_responses_refused() {
    let mut b = Bench::new();
    let mut ping = Packet::new();
    ping.header.code = MessageClass::Empty;
    ping.header.message_id = 77;
    let pong = b.send(&ping).remove(0);
    assert_eq!((pong.header.get_type(), pong.header.message_id), (MessageType::Reset, 77));
    let mut stray = message::response(ResponseType::Content, &[1]);
    stray.header.message_id = 78;
    assert_eq!(b.send(&stray).remove(0).header.get_type(), MessageType::Reset);
}
