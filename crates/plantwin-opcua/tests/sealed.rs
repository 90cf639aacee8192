//! Sealed devices over OPC UA on the loopback: envelopes out, session bytes both ways, nothing bare.

mod common;

use std::sync::Arc;

use common::{answer, closed, context, host_of, path, sealed_request, soon};
use plantwin_adapter::{
    Connection, Control, LinkError, LinkEvent, Measurement, PointWrite, Protocol, SEALED_LIMIT,
    SystemClock,
};
use plantwin_model::{Clock, PointIx};
use plantwin_opcua::OpcUa;

/// The next envelope; a bare value or the end of the link is a failure.
async fn envelope(link: &mut Connection) -> Vec<u8> {
    soon("an envelope", async {
        match link.events.recv().await {
            Some(LinkEvent::Sealed { envelope, receipt: None, .. }) => envelope,
            other => panic!("no envelope: {other:?}"),
        }
    })
    .await
}

async fn sealed_link(address: std::net::SocketAddr) -> Connection {
    let mut context = context("alpha", &path(&[], &[]), address);
    context.sealed = true;
    OpcUa::new().connect(context).await.expect("it connects")
}

#[tokio::test]
async fn each_envelope_arrives_on_its_own_and_in_order() {
    let mut host = host_of(sealed_request("alpha", path(&[], &[]))).await;
    let mut link = sealed_link(host.address).await;
    let outlet = &mut host.devices[0].outlet;
    // As many of the longest as the queue holds, with nobody in between to take them out.
    let made = |n: u8| vec![n; if n == 0 { 1 } else { SEALED_LIMIT }];
    for n in 0..64 {
        outlet.publish_sealed(&made(n)).await.expect("it is taken");
    }
    for n in 0..64 {
        assert_eq!(envelope(&mut link).await, made(n), "envelope {n}");
    }
    // The same bytes twice are two envelopes: whoever opens them decides.
    for _ in 0..2 {
        outlet.publish_sealed(b"again").await.expect("it is taken");
    }
    assert_eq!(envelope(&mut link).await, b"again");
    assert_eq!(envelope(&mut link).await, b"again");
}

#[tokio::test]
async fn of_more_than_the_queue_holds_the_oldest_are_lost_and_the_rest_is_in_order() {
    let mut host = host_of(sealed_request("alpha", path(&[], &[]))).await;
    let mut link = sealed_link(host.address).await;
    // Without a moment for the server's task in between: the test has one thread.
    for n in 0..200_u8 {
        host.devices[0].outlet.publish_sealed(&[n]).await.expect("it is taken");
    }
    let mut seen = vec![envelope(&mut link).await[0]];
    while seen.last() != Some(&199) {
        seen.push(envelope(&mut link).await[0]);
    }
    assert_eq!(seen, (136..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_old_envelope_is_not_given_to_who_comes_later() {
    let mut host = host_of(sealed_request("alpha", path(&[], &[]))).await;
    let outlet = &mut host.devices[0].outlet;
    outlet.publish_sealed(b"old").await.expect("it is taken");
    let mut link = sealed_link(host.address).await;
    outlet.publish_sealed(b"new").await.expect("it is taken");
    assert_eq!(envelope(&mut link).await, b"new");
}

#[tokio::test]
async fn a_sealed_device_shows_no_point_and_takes_no_bare_write() {
    let mut host = host_of(sealed_request("alpha", path(&[], &[]))).await;
    let bare = OpcUa::new().connect(context("alpha", &path(&[], &[]), host.address)).await;
    let Err(LinkError::Unsupported(what)) = bare else { panic!("it has points") };
    assert!(what.contains("level (s=alpha.level)"), "{what}");

    let link = sealed_link(host.address).await;
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 1.0 }]).await;
    let Err(LinkError::Unsupported(what)) = write else { panic!("it was written: {write:?}") };
    assert!(what.contains("bare writes"), "{what}");

    let outlet = &mut host.devices[0].outlet;
    let m = Measurement::good(SystemClock::new(1.0).now(), 1, &[1.0; 4]);
    assert!(matches!(outlet.publish(&m).await, Err(LinkError::Unsupported(_))));
    for wrong in [vec![], vec![0; SEALED_LIMIT + 1]] {
        assert!(matches!(outlet.publish_sealed(&wrong).await, Err(LinkError::Refused(_))));
    }
    assert!(host.devices[0].requests.try_recv().is_err(), "the device was never asked");
}

#[tokio::test]
async fn a_plain_device_is_not_taken_for_a_sealed_one() {
    let mut host = common::host("alpha", path(&[], &[])).await;
    let mut context = context("alpha", &path(&[], &[]), host.address);
    context.sealed = true;
    let Err(LinkError::Unsupported(what)) = OpcUa::new().connect(context).await else {
        panic!("a plain device was connected to as a sealed one")
    };
    assert!(what.contains("s=alpha.Sealed") && what.contains("native"), "{what}");
    let sent = host.devices[0].outlet.publish_sealed(b"x").await;
    assert!(matches!(sent, Err(LinkError::Unsupported(_))), "{sent:?}");
}

/// Exchanges `request` and checks that the device's answer (it turns the bytes round) comes back.
async fn exchanged(
    control: &Arc<dyn Control>,
    device: &mut plantwin_adapter::DevicePort,
    request: Vec<u8>,
) {
    let mut wanted = request.clone();
    wanted.reverse();
    let device = async {
        answer(device.requests.recv().await.expect("the request arrives"));
    };
    let (got, ()) =
        soon("the exchange", async { tokio::join!(control.exchange(request), device) }).await;
    assert_eq!(got, Ok(wanted));
}

#[tokio::test]
async fn session_bytes_of_4_kib_travel_both_ways_and_more_is_refused() {
    let mut host = host_of(sealed_request("alpha", path(&[], &[]))).await;
    let link = sealed_link(host.address).await;
    let bytes = |n: usize| (0..n).map(|i| (i % 251) as u8).collect::<Vec<_>>();
    for length in [0, 1, 1000, 4096] {
        exchanged(&link.control, &mut host.devices[0], bytes(length)).await;
    }
    let more = link.control.exchange(bytes(4097)).await;
    assert!(matches!(more, Err(LinkError::Refused(_))), "{more:?}");
}

#[tokio::test]
async fn a_path_that_goes_down_ends_the_link_and_drops_what_is_sent_meanwhile() {
    let mut host = host_of(sealed_request("alpha", path(&[], &[]))).await;
    let mut link = sealed_link(host.address).await;
    let outlet = &mut host.devices[0].outlet;
    outlet.publish_sealed(b"before").await.expect("it is taken");
    assert_eq!(envelope(&mut link).await, b"before");
    outlet.set_up(false).await.expect("it goes down");
    closed(&mut link).await;
    outlet.publish_sealed(b"lost").await.expect("it is dropped in silence");
    let mut context = context("alpha", &path(&[], &[]), host.address);
    context.sealed = true;
    assert!(OpcUa::new().connect(context).await.is_err(), "the path is down");
    outlet.set_up(true).await.expect("it comes up");
    let mut link = sealed_link(host.address).await;
    outlet.publish_sealed(b"after").await.expect("it is taken");
    assert_eq!(envelope(&mut link).await, b"after");
}

#[tokio::test]
async fn the_bytes_of_envelopes_are_counted_nearly_as_at_the_socket() {
    let mut host = host_of(sealed_request("alpha", path(&[], &[]))).await;
    let mut context = context("alpha", &path(&[], &[]), host.address);
    context.sealed = true;
    // No keep-alives within the test.
    context.timeout = std::time::Duration::from_secs(20);
    let mut link = OpcUa::new().connect(context).await.expect("it connects");
    let device = &mut host.devices[0];
    device.outlet.publish_sealed(&[1; 200]).await.expect("it is taken");
    envelope(&mut link).await;
    let (at_link, at_device) = (link.traffic.snapshot(), device.traffic.snapshot());
    for _ in 0..50 {
        device.outlet.publish_sealed(&[1; 200]).await.expect("it is taken");
        envelope(&mut link).await;
    }
    let (l, d) = (link.traffic.snapshot(), device.traffic.snapshot());
    let (link, device) = (l.up_bytes - at_link.up_bytes, d.up_bytes - at_device.up_bytes);
    println!("up: {link} at the socket, {device} computed");
    assert!((link.abs_diff(device) as f64) < 0.03 * link as f64, "{link} and {device} bytes");
}
