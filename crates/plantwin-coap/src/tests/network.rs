//! Both faces together over a network that loses, doubles and breaks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use plantwin_adapter::{LinkError, LinkEvent, PointWrite, Protocol, Tasks};
use plantwin_model::PointIx;

use super::support::{
    clock, connect, context, frame, host, path, publish, relay, take_writes, within,
};
use crate::Coap;

#[tokio::test]
async fn writes_over_a_lossy_network_are_done_exactly_once() {
    let (host, port) = host(None, path(&[])).await;
    let mut tasks = Tasks::new();
    let taken = take_writes(port.requests, &mut tasks);
    // Loses the first write, then the answer to its repetition, and so on.
    let lossy = |n: usize| usize::from(!matches!(n % 7, 2 | 4));
    let (address, count) = relay(host.address, &mut tasks, lossy).await;
    let link = connect(context(path(&[]), address, Duration::from_secs(25))).await;
    for value in [1.5, 2.5] {
        let write = link.control.write(vec![PointWrite { point: PointIx(2), value }]);
        within("a write", write).await.unwrap_or_else(|e| panic!("failed to {e}"));
    }
    assert_eq!(*taken.lock().expect("unpoisoned"), [(2, 1.5), (2, 2.5)]);
    assert!(count.load(Ordering::Relaxed) >= 8, "nothing was lost");
}

#[tokio::test]
async fn a_network_that_doubles_everything_doubles_nothing() {
    let (host, mut port) = host(None, path(&[])).await;
    let mut tasks = Tasks::new();
    let (_, spare) = tokio::sync::mpsc::channel(1);
    let taken = take_writes(std::mem::replace(&mut port.requests, spare), &mut tasks);
    let (address, _) = relay(host.address, &mut tasks, |_| 2).await;
    let mut link = connect(context(path(&[]), address, Duration::from_secs(20))).await;
    let mut want = Vec::new();
    for n in 1..=20_u32 {
        publish(&mut port, u64::from(n), &[f64::from(n)]).await;
        let got = frame(&mut link).await;
        assert_eq!((got.sequence, got.samples[0].value), (Some(u64::from(n)), f64::from(n)));
        let write = PointWrite { point: PointIx(3), value: f64::from(n) };
        let done = within("a write", link.control.write(vec![write])).await;
        done.unwrap_or_else(|e| panic!("failed to {e}"));
        want.push((3, f64::from(n)));
    }
    assert_eq!(*taken.lock().expect("unpoisoned"), want);
}

#[tokio::test]
async fn a_server_that_vanished_closes_the_link_as_unreachable() {
    let (host, _port) = host(None, path(&[])).await;
    let address = host.address;
    let mut link = connect(context(path(&[]), address, Duration::from_secs(1))).await;
    drop(host);
    let error = within("the end of the link", async {
        loop {
            match link.events.recv().await {
                Some(LinkEvent::Closed(error)) => return error,
                Some(_) => {}
                None => panic!("the link ended without a word"),
            }
        }
    })
    .await;
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");

    // Nobody is there: that is known at once, long before the timeout.
    let begun = clock().now();
    let again = Coap.connect(context(path(&[]), address, Duration::from_hours(1)));
    let error = within("a connect", again).await.err().expect("nobody listens");
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
    assert!(clock().now().since(begun) < Duration::from_secs(30));
}

#[tokio::test]
async fn a_server_that_restarted_is_observed_again_or_the_link_ends() {
    let (first, mut port) = host(None, path(&[])).await;
    let address = first.address;
    let mut link = connect(context(path(&[]), address, Duration::from_secs(3))).await;
    publish(&mut port, 1, &[1.0]).await;
    assert_eq!(frame(&mut link).await.samples[0].value, 1.0);
    drop((first, port));
    let second = within("the address to be free", async {
        loop {
            let devices = vec![super::support::hosted("alpha", path(&[]))];
            let listen = Some(address);
            let request =
                plantwin_adapter::HostRequest { listen, hub: None, devices, clock: clock() };
            match Coap.host(request).await {
                Ok(host) => return host,
                Err(LinkError::Listen { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("failed to {error}"),
            }
        }
    });
    let mut second = second.await;
    let mut port = second.devices.remove(0);
    let outcome = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let mut n = 0;
        loop {
            tokio::select! {
                _ = pace.tick() => {
                    // Starts at 0 again, below what the link has seen.
                    publish(&mut port, n, &[2.0]).await;
                    n += 1;
                }
                event = link.events.recv() => match event {
                    Some(LinkEvent::Frame(f)) if f.samples[0].value == 2.0 => return,
                    Some(LinkEvent::Closed(_)) => return,
                    Some(_) => {}
                    None => panic!("the link ended without a word"),
                },
            }
        }
    };
    within("values of the new server, or the end", outcome).await;
}

#[tokio::test]
async fn a_reader_that_stalls_blocks_the_socket_and_not_the_link() {
    let (host, mut port) = host(None, path(&[])).await;
    let limit = Duration::from_millis(1500);
    let mut link = connect(context(path(&[]), host.address, limit)).await;
    let bound = link.events.max_capacity() as u64;
    // More than the queue holds; the server must have sent them all.
    for n in 1..=bound * 2 {
        publish(&mut port, n, &[n as f64]).await;
    }
    let sent = Arc::clone(&port.traffic);
    within("all to be sent", async {
        while sent.snapshot().up_packets < bound * 2 || link.events.len() < bound as usize {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Long enough for a link that counted its own deafness as the device's silence to end.
    tokio::time::sleep(limit * 3).await;
    assert_eq!(link.events.len() as u64, bound, "the queue is full");
    let mut last = 0;
    for _ in 0..bound {
        let got = frame(&mut link).await;
        assert!(got.sequence > Some(last), "{got:?} after {last}");
        last = got.sequence.unwrap_or(0);
    }
    let fresh = bound * 2 + 1;
    within("a fresh value", async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        let mut n = fresh;
        loop {
            tokio::select! {
                _ = pace.tick() => {
                    publish(&mut port, n, &[n as f64]).await;
                    n += 1;
                }
                got = frame(&mut link) => if got.sequence >= Some(fresh) { return },
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_measurement_of_many_points_is_put_together_from_blocks() {
    let point = plantwin_adapter::conformance::points()[0].clone();
    let points: Arc<[plantwin_model::PointSpec]> = (0..200)
        .map(|n| plantwin_model::PointSpec { name: format!("point_{n}").into(), ..point.clone() })
        .collect();
    let mut device = super::support::hosted("alpha", path(&[]));
    device.points = Arc::clone(&points);
    let request = plantwin_adapter::HostRequest {
        listen: None,
        hub: None,
        devices: vec![device],
        clock: clock(),
    };
    let mut host = Coap.host(request).await.unwrap_or_else(|e| panic!("failed to {e}"));
    let mut port = host.devices.remove(0);
    let values: Vec<f64> = (0..200).map(|n| f64::from(n) * 1.25).collect();
    publish(&mut port, 1, &values).await;
    let mut context = context(path(&[]), host.address, Duration::from_secs(20));
    context.points = points;
    let mut link = connect(context).await;
    for sequence in 1..=3 {
        let got = frame(&mut link).await;
        assert_eq!(got.sequence, Some(sequence));
        assert_eq!(got.samples.iter().map(|s| s.value).collect::<Vec<_>>(), values);
        publish(&mut port, sequence + 1, &values).await;
    }
}
