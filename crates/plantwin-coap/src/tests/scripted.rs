//! Links to a device that the test plays datagram by datagram.

use std::{net::SocketAddr, time::Duration};

use coap_lite::{CoapOption, MessageType, Packet, RequestType, ResponseType};
use plantwin_adapter::{LinkError, LinkEvent, PointWrite, Protocol};
use plantwin_model::{Flaw, PointIx, Quality};
use tokio::net::UdpSocket;

use super::support::{connect, context, frame, map, path, within};
use crate::{Coap, message};

struct Device {
    socket: UdpSocket,
    peer: Option<SocketAddr>,
    id: u16,
}

impl Device {
    async fn new() -> (Self, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        (Self { socket, peer: None, id: 1000 }, address)
    }

    async fn next(&mut self) -> Packet {
        let mut buffer = [0; 2048];
        let (length, from) =
            within("a datagram", self.socket.recv_from(&mut buffer)).await.expect("a datagram");
        self.peer = Some(from);
        message::parse(&buffer[..length]).expect("a message")
    }

    async fn send(&self, packet: &Packet) {
        let peer = self.peer.expect("it was asked before");
        self.socket.send_to(&message::bytes(packet), peer).await.expect("sent");
    }

    /// Answers a request at once.
    async fn answer(&self, request: &Packet, code: ResponseType, observe: Option<u32>, body: &str) {
        let mut packet = content(request.get_token(), code, observe, body);
        packet.header.set_type(MessageType::Acknowledgement);
        packet.header.message_id = request.header.message_id;
        self.send(&packet).await;
    }

    async fn notify(&mut self, token: &[u8], kind: MessageType, observe: u32, body: &str) -> u16 {
        let mut packet = content(token, ResponseType::Content, Some(observe), body);
        self.id += 1;
        packet.header.set_type(kind);
        packet.header.message_id = self.id;
        self.send(&packet).await;
        self.id
    }
}

fn content(token: &[u8], code: ResponseType, observe: Option<u32>, body: &str) -> Packet {
    let mut packet = message::response(code, token);
    if let Some(observe) = observe {
        message::set_number(&mut packet, CoapOption::Observe, observe);
    }
    packet.payload = body.as_bytes().to_vec();
    packet
}

/// A path on which all points but `level` stay away, so that one resource is asked for.
fn only_level() -> plantwin_model::PathSpec {
    (0..4).fold(path(&[]), |p, point| map(p, point, "path", "level"))
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn stale_and_doubled_notifications_are_dropped_and_confirmable_ones_acknowledged() {
    let (mut device, address) = Device::new().await;
    let script = async {
        let get = device.next().await;
        assert_eq!(message::number(&get, CoapOption::Observe), Some(0));
        assert_eq!(message::path(&get).as_deref(), Some("alpha"));
        device.answer(&get, ResponseType::Content, Some(5), r#"{"seq":5,"v":{"level":5}}"#).await;
        (device, get.get_token().to_vec())
    };
    let (mut link, (mut device, token)) =
        tokio::join!(connect(context(path(&[]), address, LONG)), script);
    for (kind, n) in [
        (MessageType::NonConfirmable, 7),
        (MessageType::NonConfirmable, 6),
        (MessageType::NonConfirmable, 7),
        (MessageType::Confirmable, 8),
    ] {
        let body = format!(r#"{{"seq":{n},"v":{{"level":{n}}}}}"#);
        device.notify(&token, kind, n, &body).await;
    }
    let ack = device.next().await;
    assert_eq!(ack.header.get_type(), MessageType::Acknowledgement);
    assert_eq!(ack.header.message_id, device.id);
    for n in [5, 7, 8] {
        let frame = frame(&mut link).await;
        assert_eq!(frame.sequence, Some(n));
        assert_eq!(frame.samples[0].value, n as f64);
    }
    let stranger = device.notify(&[9, 9], MessageType::NonConfirmable, 9, "1").await;
    let reset = device.next().await;
    assert_eq!((reset.header.get_type(), reset.header.message_id), (MessageType::Reset, stranger));

    // Who drops the link takes leave.
    drop(link);
    let leave = device.next().await;
    assert_eq!(message::number(&leave, CoapOption::Observe), Some(1));
    assert_eq!(leave.get_token(), &token[..]);
}

#[tokio::test]
async fn a_device_that_cannot_be_observed_is_asked_each_period() {
    let (mut device, address) = Device::new().await;
    let script = async {
        for n in 0..4 {
            let get = device.next().await;
            device.answer(&get, ResponseType::Content, None, &format!("{n}.5")).await;
        }
    };
    let link = async {
        let mut link = connect(context(only_level(), address, LONG)).await;
        for n in 0..4 {
            assert_eq!(frame(&mut link).await.samples[0].value, f64::from(n) + 0.5);
        }
    };
    tokio::join!(link, script);
}

#[tokio::test]
async fn what_cannot_be_read_is_malformed_and_nan_arrives_as_nan() {
    let (mut device, address) = Device::new().await;
    let script = async {
        let get = device.next().await;
        device.answer(&get, ResponseType::Content, Some(1), "wet").await;
        let token = get.get_token().to_vec();
        device.notify(&token, MessageType::NonConfirmable, 2, "NaN").await;
        device.notify(&token, MessageType::NonConfirmable, 3, "4.5").await;
        device
    };
    let (mut link, _device) = tokio::join!(connect(context(only_level(), address, LONG)), script);
    assert_eq!(frame(&mut link).await.samples[0].quality, Quality::Bad(Flaw::Malformed));
    assert!(frame(&mut link).await.samples[0].value.is_nan());
    assert_eq!(frame(&mut link).await.samples[0].value, 4.5);
}

#[tokio::test]
async fn a_refused_write_bears_code_and_diagnosis() {
    let (mut device, address) = Device::new().await;
    let spec = map(only_level(), 2, "set", "/pump/voltage");
    let script = async {
        let get = device.next().await;
        device.answer(&get, ResponseType::Content, Some(1), "1").await;
        let put = loop {
            let packet = device.next().await;
            if packet.header.code == coap_lite::MessageClass::Request(RequestType::Put) {
                break packet;
            }
        };
        assert_eq!(message::path(&put).as_deref(), Some("pump/voltage"));
        assert_eq!(&put.payload[..], b"3.25");
        device.answer(&put, ResponseType::Forbidden, None, "interlock is open").await;
    };
    let work = async {
        let link = connect(context(spec, address, LONG)).await;
        link.control.write(vec![PointWrite { point: PointIx(2), value: 3.25 }]).await
    };
    let (done, ()) = tokio::join!(work, script);
    assert_eq!(done, Err(LinkError::Refused("4.03 interlock is open".to_owned())));
}

#[tokio::test]
async fn a_resource_that_does_not_exist_is_a_refused_link() {
    let (mut device, address) = Device::new().await;
    let script = async {
        let get = device.next().await;
        device.answer(&get, ResponseType::NotFound, None, "").await;
    };
    let (link, ()) = tokio::join!(Coap.connect(context(path(&[]), address, LONG)), script);
    let error = link.err().expect("there is no such resource");
    assert_eq!(error, LinkError::Refused("GET /alpha: 4.04".to_owned()));
}

#[tokio::test]
async fn a_plain_device_has_no_session() {
    let (mut device, address) = Device::new().await;
    let script = async {
        let get = device.next().await;
        device.answer(&get, ResponseType::Content, Some(1), r#"{"v":{}}"#).await;
        let post = device.next().await;
        assert_eq!(message::path(&post).as_deref(), Some("alpha/session"));
        device.answer(&post, ResponseType::NotFound, None, "").await;
    };
    let work = async {
        let link = connect(context(path(&[]), address, LONG)).await;
        link.control.exchange(vec![1, 2]).await
    };
    let (done, ()) = tokio::join!(work, script);
    assert_eq!(done, Err(LinkError::Unsupported("a session (4.04)".to_owned())));
}

#[tokio::test]
async fn a_device_that_falls_silent_ends_the_link_after_the_timeout() {
    let (mut device, address) = Device::new().await;
    let script = async {
        let get = device.next().await;
        device.answer(&get, ResponseType::Content, Some(1), r#"{"v":{}}"#).await;
        device
    };
    let limit = Duration::from_secs(2);
    let (mut link, _silent) = tokio::join!(connect(context(path(&[]), address, limit)), script);
    within("the end of the link", async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Closed(error)) => {
                    assert!(matches!(error, LinkError::Timeout { millis: 2000, .. }), "{error}");
                    return;
                }
                Some(_) => {}
                None => panic!("the link ended without a word"),
            }
        }
    })
    .await;
    assert_eq!(link.events.recv().await, None);
}
