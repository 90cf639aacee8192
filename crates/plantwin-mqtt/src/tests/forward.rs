//! The way out for durable telemetry: order, acknowledgement, and what happens when it ends.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use plantwin_adapter::{ForwardContext, ForwardRecord, LinkError, Outbound, Protocol as _};
use plantwin_model::NorthboundSpec;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    Raw,
    foreign::{Mosquitto, missing, mosquitto_sub},
    hub, value, within,
};
use crate::Mqtt;

const COUNT: usize = 1000;
const WINDOW: u16 = 100;

pub(super) async fn try_forward(
    address: SocketAddr,
    settings: &[(&str, &str)],
) -> Result<Outbound, LinkError> {
    let mut all: BTreeMap<_, _> =
        settings.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect();
    all.insert("addr".to_owned(), value(&address.to_string()));
    let target = NorthboundSpec { protocol: "mqtt", settings: all, rate: 1e6, window: WINDOW };
    let timeout = Duration::from_secs(2);
    let context = ForwardContext { plant: "demo".to_owned(), target, timeout };
    within("the way out", Mqtt.forward(context).unwrap()).await
}

async fn forward(address: SocketAddr) -> Outbound {
    try_forward(address, &[]).await.unwrap()
}

pub(super) fn record(n: usize) -> ForwardRecord {
    ForwardRecord { device: "tank1".into(), body: format!(r#"{{"n":{n}}}"#).into_bytes() }
}

/// Sends all records, with no more than the window under way.
async fn send_all(out: &Outbound) {
    let mut open = VecDeque::new();
    for n in 0..COUNT {
        if open.len() == usize::from(WINDOW) {
            let oldest = open.pop_front().unwrap();
            assert_eq!(within("an acknowledgement", oldest).await, Ok(()));
        }
        open.push_back(out.sink.send(record(n)));
    }
    for rest in open {
        assert_eq!(within("an acknowledgement", rest).await, Ok(()));
    }
}

#[tokio::test]
async fn mosquitto_acknowledges_all_records_and_hands_them_on_in_order() {
    if missing(&["mosquitto", "mosquitto_sub"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    // A retained message tells when the subscriber is there.
    let raw = Raw::connect(broker.address, "none").await;
    raw.publish("plantwin/demo/ready", true, "yes").await;
    let (_child, mut lines) = mosquitto_sub(broker.address, "plantwin/demo/#");
    let ready = within("the subscriber", lines.next_line()).await.unwrap();
    assert_eq!(ready.as_deref(), Some("plantwin/demo/ready yes"));
    let out = forward(broker.address).await;
    assert_eq!(out.endpoint, broker.address.to_string());
    let reading = async {
        for n in 0..COUNT {
            let line = within("a record", lines.next_line()).await.unwrap().unwrap();
            assert_eq!(line, format!(r#"plantwin/demo/tank1 {{"n":{n}}}"#));
        }
    };
    tokio::join!(send_all(&out), reading);
}

#[tokio::test]
async fn our_broker_hands_records_on_in_order_under_the_topic_that_was_set() {
    let hub = hub().await;
    let mut raw = Raw::connect(hub.address, "north/#").await;
    let out = try_forward(hub.address, &[("topic", "north/a"), ("client_id", "me")]).await.unwrap();
    let reading = async {
        for n in 0..COUNT {
            let message = within("a record", raw.heard.recv()).await.unwrap();
            assert_eq!(&*message.topic, b"north/a/tank1");
            assert_eq!(*message.payload, *record(n).body);
        }
    };
    tokio::join!(send_all(&out), reading);
}

#[tokio::test]
async fn settings_that_make_no_sense_and_brokers_that_are_not_there_are_named() {
    let hub = hub().await;
    let wrong = try_forward(hub.address, &[("topic", "a/#")]).await.err().unwrap();
    assert!(matches!(wrong, LinkError::Settings(_)), "{wrong:?}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = try_forward(free, &[]).await.err().unwrap();
    assert!(matches!(nobody, LinkError::Unreachable { .. }), "{nobody:?}");
}

/// A broker that consents and then says only what the test wants.
async fn mute_broker() -> (Outbound, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut connect = [0; 1024];
        assert!(socket.read(&mut connect).await.unwrap() > 0);
        // CONNACK: success, largest packet 1000 bytes.
        socket.write_all(&[0x20, 8, 0, 0, 5, 0x27, 0, 0, 3, 0xe8]).await.unwrap();
        socket
    };
    tokio::join!(forward(address), within("the client", accepting))
}

#[tokio::test]
async fn a_connection_that_dies_fails_what_is_under_way_and_says_why() {
    let (mut out, mut socket) = mute_broker().await;
    let under_way = [out.sink.send(record(1)), out.sink.send(record(2))];
    let mut some = [0; 1024];
    assert!(within("the first record", socket.read(&mut some)).await.unwrap() > 0);
    assert!(out.closed.try_recv().is_err(), "it is still up");
    drop(socket);
    for sending in under_way {
        let got = within("the failure", sending).await;
        assert!(matches!(got, Err(LinkError::Closed(_))), "{got:?}");
    }
    let reason = within("the end", &mut out.closed).await.unwrap();
    assert!(reason.to_string().contains(&out.endpoint), "{reason}");
    let late = within("a late record", out.sink.send(record(3))).await;
    assert!(matches!(late, Err(LinkError::Closed(_))), "{late:?}");
}

#[tokio::test]
async fn a_broker_that_ends_is_noticed() {
    if missing(&["mosquitto"]) {
        return;
    }
    let mut broker = Mosquitto::start().await;
    let mut out = forward(broker.address).await;
    assert_eq!(within("an acknowledgement", out.sink.send(record(1))).await, Ok(()));
    broker.end().await;
    let reason = within("the end", &mut out.closed).await.unwrap();
    assert!(matches!(reason, LinkError::Closed(_)), "{reason:?}");
}

#[tokio::test]
async fn a_record_that_is_refused_or_too_large_or_never_acknowledged_fails_alone() {
    let (mut out, mut socket) = mute_broker().await;
    let large = ForwardRecord { device: "tank1".into(), body: vec![b'x'; 1000] };
    let got = within("a refusal", out.sink.send(large)).await;
    assert!(matches!(got, Err(LinkError::Refused(_))), "{got:?}");
    let refused = out.sink.send(record(1));
    let mut some = [0; 1024];
    assert!(within("the record", socket.read(&mut some)).await.unwrap() > 0);
    // PUBACK of packet 1: not authorized.
    socket.write_all(&[0x40, 4, 0, 1, 0x87, 0]).await.unwrap();
    let got = within("a refusal", refused).await;
    assert_eq!(got, Err(LinkError::Refused("the broker says NotAuthorized".to_owned())));
    let got = within("a timeout", out.sink.send(record(2))).await;
    assert!(matches!(got, Err(LinkError::Timeout { millis: 2000, .. })), "{got:?}");
    assert!(out.closed.try_recv().is_err(), "the connection is as it was");
}

#[tokio::test]
async fn more_than_the_window_at_once_is_refused() {
    let (out, _socket) = mute_broker().await;
    // Nobody turns the wheel between these calls.
    let all: Vec<_> = (0..=usize::from(WINDOW)).map(|n| out.sink.send(record(n))).collect();
    let last = all.into_iter().next_back().unwrap();
    let got = within("a refusal", last).await;
    assert_eq!(got, Err(LinkError::Refused("too many are under way".to_owned())));
}
