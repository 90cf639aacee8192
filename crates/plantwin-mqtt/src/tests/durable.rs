//! Durable delivery: what is not confirmed comes again, what is does not, and the credit holds.

use std::{net::SocketAddr, ops::RangeInclusive};

use plantwin_adapter::{Connection, DeviceMessage, Frame, Host, LinkEvent};
use plantwin_model::{Delivery, Quality};
use rumqttc::v5::mqttbytes::QoS;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    Raw, closed, device,
    foreign::{Mosquitto, missing},
    frame, hub, path, try_link_with, within,
};
use crate::client::RECEIVE_MAXIMUM;

async fn durable(address: SocketAddr) -> Connection {
    try_link_with(address, path(&[], &[]), Delivery::Durable).await.unwrap()
}

fn data(seq: u64) -> String {
    format!(r#"{{"seq":{seq},"v":{{"level":{seq}}}}}"#)
}

/// Publishes and waits until the broker has them all.
async fn publish(raw: &Raw, numbers: RangeInclusive<u64>) {
    for seq in numbers {
        raw.publish("dev/data", false, data(seq)).await;
    }
}

/// The next durable values and their receipt.
async fn next(link: &mut Connection) -> (Frame, u64) {
    match within("durable values", link.events.recv()).await {
        Some(LinkEvent::Durable { frame, receipt }) => (frame, receipt),
        other => panic!("nothing durable but {other:?}"),
    }
}

/// Expects sequence numbers, and receipts that grow by one.
async fn expect(link: &mut Connection, numbers: RangeInclusive<u64>, first_receipt: u64) {
    for (ix, seq) in numbers.enumerate() {
        let (frame, receipt) = next(link).await;
        assert_eq!((frame.sequence, receipt), (Some(seq), first_receipt + ix as u64));
    }
}

/// Confirms, and waits until `sent` acknowledgements have gone out.
async fn confirm(link: &Connection, receipts: &[u64], sent: u64) {
    let packets = || link.traffic.snapshot().down_packets;
    let before = packets();
    for &receipt in receipts {
        link.control.confirm(receipt);
    }
    let gone = async {
        while packets() < before + sent {
            tokio::task::yield_now().await;
        }
    };
    within("the acknowledgements to go out", gone).await;
}

/// Asks the device something and has it answer: whatever the broker would send meanwhile is
/// there afterwards.
async fn talk(link: &Connection, host: &mut Host) {
    let requests = &mut host.devices[0].requests;
    let answering = async {
        while let Some(asked) = requests.recv().await {
            let DeviceMessage::Exchange { request, reply } = asked else { panic!("{asked:?}") };
            reply.send(Ok(request)).unwrap();
        }
        panic!("the device ended");
    };
    let answer = async {
        tokio::select! {
            biased;
            answer = link.control.exchange(b"there?".to_vec()) => answer,
            () = answering => unreachable!(),
        }
    };
    assert_eq!(within("an answer", answer).await, Ok(b"there?".to_vec()));
}

async fn unconfirmed_values_come_again_and_confirmed_ones_do_not(address: SocketAddr) {
    let raw = Raw::connect(address, "none").await;
    let mut link = durable(address).await;
    publish(&raw, 1..=5).await;
    expect(&mut link, 1..=5, 1).await;
    // The fourth must wait for the third, since acknowledgements keep their order.
    confirm(&link, &[2, 4, 1, 1, 99], 2).await;
    drop(link);

    let mut link = durable(address).await;
    expect(&mut link, 3..=5, 1).await;
    confirm(&link, &[3, 1, 2], 3).await;
    drop(link);
    publish(&raw, 6..=7).await;

    let mut link = durable(address).await;
    publish(&raw, 8..=8).await;
    expect(&mut link, 6..=8, 1).await;
}

#[tokio::test]
async fn our_broker_delivers_again_what_was_not_confirmed_and_nothing_else() {
    let hub = hub().await;
    unconfirmed_values_come_again_and_confirmed_ones_do_not(hub.address).await;
}

#[tokio::test]
async fn mosquitto_delivers_again_what_was_not_confirmed_and_nothing_else() {
    if missing(&["mosquitto"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    unconfirmed_values_come_again_and_confirmed_ones_do_not(broker.address).await;
}

#[tokio::test]
async fn a_broker_that_restarts_still_owes_what_was_not_confirmed() {
    if missing(&["mosquitto"]) {
        return;
    }
    let mut broker = Mosquitto::start().await;
    let raw = Raw::connect(broker.address, "none").await;
    let mut link = durable(broker.address).await;
    publish(&raw, 1..=40).await;
    expect(&mut link, 1..=32, 1).await;
    confirm(&link, &[1, 2], 2).await;
    expect(&mut link, 33..=34, 33).await;
    broker.restart().await;
    closed(&mut link).await;
    // Nobody is there to hear it: the broker will send them again.
    for receipt in 3..=34 {
        link.control.confirm(receipt);
    }
    let mut again = durable(broker.address).await;
    expect(&mut again, 3..=34, 1).await;
    link.control.confirm(5);
    let all: Vec<_> = (1..=32).collect();
    confirm(&again, &all, 32).await;
    expect(&mut again, 35..=40, 33).await;
}

const COUNT: u64 = 1000;
const CREDIT: u64 = RECEIVE_MAXIMUM as u64;

/// A played device, a link to it that has been sent what its credit allows, of [`COUNT`] values,
/// and has not confirmed any.
async fn as_much_as_the_credit(address: SocketAddr) -> (Host, Connection) {
    let mut host = device(address, path(&[], &[])).await;
    let mut link = durable(address).await;
    let raw = Raw::connect(address, "none").await;
    for seq in 1..=COUNT {
        let load = data(seq).into_bytes();
        let sent = raw.publisher.publish("dev/data", QoS::AtLeastOnce, false, load);
        within("room", sent).await.unwrap();
    }
    raw.publish("other", false, "the broker has taken all").await;
    expect(&mut link, 1..=CREDIT, 1).await;
    // However full, the device can be talked to.
    talk(&link, &mut host).await;
    assert!(link.events.try_recv().is_err(), "no more than the credit");
    (host, link)
}

#[tokio::test]
async fn our_broker_sends_as_many_as_are_confirmed() {
    let hub = hub().await;
    let (mut host, mut link) = as_much_as_the_credit(hub.address).await;
    let first: Vec<_> = (1..=10).collect();
    confirm(&link, &first, 10).await;
    expect(&mut link, CREDIT + 1..=CREDIT + 10, CREDIT + 1).await;
    talk(&link, &mut host).await;
    assert!(link.events.try_recv().is_err(), "as many as were confirmed");
    for receipt in 11..=COUNT {
        link.control.confirm(receipt);
        if receipt + CREDIT <= COUNT {
            expect(&mut link, receipt + CREDIT..=receipt + CREDIT, receipt + CREDIT).await;
        }
    }
}

#[tokio::test]
async fn mosquitto_may_run_ahead_of_its_credit_but_loses_nothing() {
    if missing(&["mosquitto"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    let (mut host, mut link) = as_much_as_the_credit(broker.address).await;
    link.control.confirm(1);
    expect(&mut link, CREDIT + 1..=CREDIT + 1, CREDIT + 1).await;
    for receipt in 2..=COUNT - CREDIT {
        link.control.confirm(receipt);
        expect(&mut link, receipt + CREDIT..=receipt + CREDIT, receipt + CREDIT).await;
    }
    for receipt in COUNT - CREDIT + 1..=COUNT {
        link.control.confirm(receipt);
    }
    // The question goes out after the acknowledgements.
    talk(&link, &mut host).await;
    drop(link);
    let mut link = durable(broker.address).await;
    let raw = Raw::connect(broker.address, "none").await;
    publish(&raw, COUNT + 1..=COUNT + 1).await;
    expect(&mut link, COUNT + 1..=COUNT + 1, 1).await;
}

#[tokio::test]
async fn what_was_retained_or_promised_to_nobody_is_not_durable() {
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    raw.publish("dev/data", true, data(1)).await;
    let mut link = durable(hub.address).await;
    let past = frame(&mut link).await;
    assert_eq!(past.sequence, Some(1));
    assert!(matches!(past.samples[0].quality, Quality::Uncertain(_)), "{past:?}");
    let load = data(2).into_bytes();
    raw.publisher.publish("dev/data", QoS::AtMostOnce, false, load).await.unwrap();
    assert_eq!(frame(&mut link).await.sequence, Some(2));
    publish(&raw, 3..=3).await;
    expect(&mut link, 3..=3, 1).await;
}

#[tokio::test]
async fn a_durable_link_finds_an_offline_device_out_and_keeps_what_it_left_behind() {
    let hub = hub().await;
    let mut host = device(hub.address, path(&[], &[])).await;
    let mut link = durable(hub.address).await;
    let raw = Raw::connect(hub.address, "dev/status").await;
    publish(&raw, 1..=1).await;
    expect(&mut link, 1..=1, 1).await;
    host.devices[0].outlet.set_up(false).await.unwrap();
    let reason = closed(&mut link).await;
    assert_eq!(reason.to_string(), "keep the connection: the device went offline");
    publish(&raw, 2..=2).await;
    let again = try_link_with(hub.address, path(&[], &[]), Delivery::Durable).await;
    let Err(error) = again else { panic!("it is offline") };
    assert!(error.to_string().ends_with("the device is offline"), "{error}");
    host.devices[0].outlet.set_up(true).await.unwrap();
    let back = async {
        loop {
            let again = try_link_with(hub.address, path(&[], &[]), Delivery::Durable).await;
            if let Ok(link) = again {
                return link;
            }
        }
    };
    let mut link = within("the device to be back", back).await;
    expect(&mut link, 1..=2, 1).await;
}

#[tokio::test]
async fn mosquitto_keeps_a_persistent_session_for_each_client_id() {
    if missing(&["mosquitto"]) {
        return;
    }
    let broker = Mosquitto::start().await;
    let plant = |id: &'static str| {
        let own = path(&[("client_id", id)], &[]);
        async move { try_link_with(broker.address, own, Delivery::Durable).await.unwrap() }
    };
    let (mut one, mut two) = (plant("plant/1").await, plant("plant/2").await);
    let raw = Raw::connect(broker.address, "none").await;
    publish(&raw, 1..=1).await;
    expect(&mut one, 1..=1, 1).await;
    confirm(&one, &[1], 1).await;
    expect(&mut two, 1..=1, 1).await;
    drop((one, two));
    let (mut one, mut two) = (plant("plant/1").await, plant("plant/2").await);
    publish(&raw, 2..=2).await;
    expect(&mut one, 2..=2, 1).await;
    expect(&mut two, 1..=2, 1).await;
}

/// A broker that minds no credit: it consents to everything, and sends `count` values at once.
async fn reckless_broker(listener: TcpListener, count: u16) -> TcpStream {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut some = [0; 4096];
    // CONNACK, then SUBACK of the status, and of the data, answers and refusals.
    for reply in [&[0x20, 3, 0, 0, 0][..], &[0x90, 4, 0, 1, 0, 0], &[0x90, 6, 0, 2, 0, 1, 0, 0]] {
        assert!(socket.read(&mut some).await.unwrap() > 0);
        socket.write_all(reply).await.unwrap();
    }
    for number in 1..=count {
        let load = data(u64::from(number));
        let mut packet = vec![0x32, (2 + 8 + 2 + 1 + load.len()) as u8, 0, 8];
        packet.extend(b"dev/data");
        packet.extend(number.to_be_bytes());
        packet.push(0);
        packet.extend(load.as_bytes());
        // The link may have hung up meanwhile.
        if socket.write_all(&packet).await.is_err() {
            break;
        }
    }
    socket
}

#[tokio::test]
async fn acknowledgements_keep_the_order_of_the_messages_however_many_there_are() {
    const MANY: u16 = 500;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut link, mut socket) =
        tokio::join!(durable(address), within("a broker", reckless_broker(listener, MANY)));
    expect(&mut link, 1..=u64::from(MANY), 1).await;
    for receipt in (1..=u64::from(MANY)).rev() {
        link.control.confirm(receipt);
    }
    for number in 1..=MANY {
        let [high, low] = number.to_be_bytes();
        let mut packet = [0; 4];
        within("an acknowledgement", socket.read_exact(&mut packet)).await.unwrap();
        assert_eq!(packet, [0x40, 2, high, low]);
    }
}

#[tokio::test]
async fn a_broker_that_runs_much_too_far_ahead_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broker = async {
        let mut socket = reckless_broker(listener, 5000).await;
        let mut some = [0; 4096];
        while socket.read(&mut some).await.is_ok_and(|bytes| bytes > 0) {}
    };
    let user = async {
        let mut link = durable(address).await;
        let reason = closed(&mut link).await;
        assert!(
            reason.to_string().ends_with("4096 messages without an acknowledgement"),
            "{reason}"
        );
    };
    tokio::join!(user, within("the link to hang up", broker));
}

#[tokio::test]
async fn a_second_link_of_the_same_client_takes_over_what_the_first_did_not_confirm() {
    let hub = hub().await;
    let raw = Raw::connect(hub.address, "none").await;
    let mut first = durable(hub.address).await;
    publish(&raw, 1..=2).await;
    expect(&mut first, 1..=2, 1).await;
    confirm(&first, &[1], 1).await;
    let mut second = durable(hub.address).await;
    let reason = closed(&mut first).await;
    assert!(reason.to_string().contains("the broker hung up"), "{reason}");
    first.control.confirm(2);
    expect(&mut second, 2..=2, 1).await;
}
