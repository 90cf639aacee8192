//! Devices that speak in sealed envelopes only, at both brokers.

use std::net::SocketAddr;

use plantwin_adapter::{
    Connection, DeviceMessage, Host, LinkError, LinkEvent, PointWrite, SEALED_LIMIT,
};
use plantwin_model::{Delivery, PathSpec, PointIx, SettingValue};

use super::{
    Raw,
    foreign::{Mosquitto, missing},
    frame, hub, link, measurement, path, try_device, try_link_to, within,
};

const COUNT: usize = 300;

/// Envelopes of all lengths and bytes.
fn envelope(number: usize) -> Vec<u8> {
    let bytes = (number * 137) % (SEALED_LIMIT + 1);
    (0..bytes).map(|ix| (ix * 7 + number) as u8).collect()
}

async fn sealed_link(address: SocketAddr, delivery: Delivery) -> Connection {
    try_link_to(address, path(&[], &[]), delivery, true).await.unwrap()
}

async fn sealed_device(address: SocketAddr, path: PathSpec) -> Host {
    try_device(address, path, true).await.unwrap()
}

/// The next envelope and its receipt.
async fn next(link: &mut Connection) -> (Vec<u8>, Option<u64>) {
    match within("an envelope", link.events.recv()).await {
        Some(LinkEvent::Sealed { envelope, receipt, .. }) => (envelope, receipt),
        other => panic!("no envelope but {other:?}"),
    }
}

async fn send(host: &mut Host, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let sent = host.devices[0].outlet.publish_sealed(&envelope(number)).await;
        assert_eq!(sent, Ok(()));
    }
}

/// Asks the device something and answers for it; a write would be something else.
async fn talk(link: &Connection, host: &mut Host) {
    let answering = async {
        match host.devices[0].requests.recv().await {
            Some(DeviceMessage::Exchange { request, reply }) => reply.send(Ok(request)).unwrap(),
            other => panic!("no session bytes but {other:?}"),
        }
    };
    let both = async { tokio::join!(link.control.exchange(vec![0, 255, 7]), answering) };
    assert_eq!(within("an answer", both).await.0, Ok(vec![0, 255, 7]));
}

async fn envelopes_arrive_in_order_beside_session_bytes(address: SocketAddr) {
    let mut host = sealed_device(address, path(&[], &[])).await;
    let mut link = sealed_link(address, Delivery::Latest).await;
    let receiving = async {
        for number in 0..COUNT {
            assert_eq!(next(&mut link).await, (envelope(number), None), "{number}");
        }
    };
    tokio::join!(send(&mut host, 0..COUNT), receiving);
    talk(&link, &mut host).await;
}

#[tokio::test]
async fn envelopes_arrive_in_order_beside_session_bytes_at_our_broker() {
    let hub = hub().await;
    envelopes_arrive_in_order_beside_session_bytes(hub.address).await;
}

#[tokio::test]
async fn envelopes_arrive_in_order_beside_session_bytes_at_mosquitto() {
    if missing(&["mosquitto"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    envelopes_arrive_in_order_beside_session_bytes(broker.address).await;
}

async fn unconfirmed_envelopes_come_again(address: SocketAddr) {
    let mut host = sealed_device(address, path(&[], &[])).await;
    let mut link = sealed_link(address, Delivery::Durable).await;
    send(&mut host, 0..5).await;
    for number in 0..5 {
        assert_eq!(next(&mut link).await, (envelope(number), Some(number as u64 + 1)));
    }
    let before = link.traffic.snapshot().down_packets;
    // The second has to wait for the first, and there is no hundredth.
    for receipt in [2, 1, 100] {
        link.control.confirm(receipt);
    }
    let gone = async {
        while link.traffic.snapshot().down_packets < before + 2 {
            tokio::task::yield_now().await;
        }
    };
    within("two acknowledgements to go out", gone).await;
    drop(link);
    // Nobody listens: the broker keeps it.
    send(&mut host, 5..7).await;
    let mut link = sealed_link(address, Delivery::Durable).await;
    for (ix, number) in (2..7).enumerate() {
        assert_eq!(next(&mut link).await, (envelope(number), Some(ix as u64 + 1)));
    }
    talk(&link, &mut host).await;
}

#[tokio::test]
async fn unconfirmed_envelopes_come_again_from_our_broker() {
    let hub = hub().await;
    unconfirmed_envelopes_come_again(hub.address).await;
}

#[tokio::test]
async fn unconfirmed_envelopes_come_again_from_mosquitto() {
    if missing(&["mosquitto"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    unconfirmed_envelopes_come_again(broker.address).await;
}

#[tokio::test]
async fn an_envelope_of_quality_of_service_zero_has_no_receipt() {
    let hub = hub().await;
    let mut path = path(&[], &[]);
    path.settings.insert("qos".to_owned(), SettingValue::Integer(0));
    let mut host = sealed_device(hub.address, path).await;
    let mut link = sealed_link(hub.address, Delivery::Durable).await;
    send(&mut host, 9..10).await;
    assert_eq!(next(&mut link).await, (envelope(9), None));
}

#[tokio::test]
async fn a_sealed_device_neither_sends_nor_takes_bare_values() {
    let hub = hub().await;
    let mut raw = Raw::connect(hub.address, "dev/#").await;
    let mapped: &[(u16, &[(&str, &str)])] =
        &[(0, &[("topic", "dev/own")]), (2, &[("set", "dev/own/set")])];
    let mut host = sealed_device(hub.address, path(&[], mapped)).await;
    let link = sealed_link(hub.address, Delivery::Latest).await;
    let bare = host.devices[0].outlet.publish(&measurement(1, &[1.0, 2.0])).await;
    assert_eq!(bare, Err(LinkError::Unsupported("bare values of a sealed device".to_owned())));
    for topic in ["dev/set/voltage", "dev/own/set"] {
        raw.publish(topic, false, "4.5").await;
    }
    // Comes after them, and is the first thing that the device hears of.
    talk(&link, &mut host).await;
    send(&mut host, 4..5).await;
    let heard = async {
        loop {
            let message = raw.heard.recv().await.unwrap();
            match &*message.topic {
                b"dev/sealed" => return message,
                b"dev/data" | b"dev/own" => panic!("bare values: {message:?}"),
                _ => {}
            }
        }
    };
    let message = within("the envelope", heard).await;
    assert_eq!((&*message.payload, message.retain), (&*envelope(4), false));
}

#[tokio::test]
async fn a_link_to_a_sealed_device_takes_no_bare_values_and_writes_none() {
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    let mapped: &[(u16, &[(&str, &str)])] = &[(0, &[("topic", "tele/7")])];
    let path = path(&[], mapped);
    let mut link = try_link_to(hub.address, path, Delivery::Latest, true).await.unwrap();
    raw.publish("dev/data", false, r#"{"seq":1,"v":{"level":1}}"#).await;
    raw.publish("tele/7", false, "12.4").await;
    raw.publish("dev/sealed", false, "not checked here").await;
    assert_eq!(next(&mut link).await, (b"not checked here".to_vec(), None));
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 1.0 }]).await;
    assert_eq!(write, Err(LinkError::Unsupported("bare writes of a sealed device".to_owned())));
}

#[tokio::test]
async fn what_is_too_long_or_was_retained_is_no_envelope() {
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    raw.publish("dev/sealed", true, "old").await;
    let mut host = sealed_device(hub.address, path(&[], &[])).await;
    for delivery in [Delivery::Latest, Delivery::Durable] {
        let mut link = sealed_link(hub.address, delivery).await;
        raw.publish("dev/sealed", false, vec![7; SEALED_LIMIT + 1]).await;
        raw.publish("dev/sealed", false, vec![8; SEALED_LIMIT]).await;
        let receipt = (delivery == Delivery::Durable).then_some(1);
        assert_eq!(next(&mut link).await, (vec![8; SEALED_LIMIT], receipt));
    }
    let long = host.devices[0].outlet.publish_sealed(&[0; SEALED_LIMIT + 1]).await;
    assert!(matches!(long, Err(LinkError::Refused(_))), "{long:?}");
}

#[tokio::test]
async fn a_plain_device_and_its_link_know_no_envelopes() {
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    let mut host = super::device(hub.address, path(&[], &[])).await;
    let mut link = link(hub.address, path(&[], &[])).await;
    let sent = host.devices[0].outlet.publish_sealed(b"x").await;
    let want = "sealed envelopes of a plain device".to_owned();
    assert_eq!(sent, Err(LinkError::Unsupported(want)));
    raw.publish("dev/sealed", false, "x").await;
    raw.publish("dev/data", false, r#"{"seq":7,"v":{"level":1}}"#).await;
    assert_eq!(frame(&mut link).await.sequence, Some(7));
}
