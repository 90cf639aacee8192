//! The kit for devices that speak in sealed envelopes only.
//!
//! Two such devices are played and linked to: envelopes of every length arrive unharmed, each on
//! its own, in order and from the right device; session bytes cross beside them; nothing bare
//! goes either way, not even for a link that asks for it; a path that goes down and comes back
//! carries envelopes again. Absent: what is in an envelope, which no adapter may look at, and
//! what a network that loses messages does to them, which differs between protocols.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use plantwin_model::{PointIx, Timestamp};
use tokio::time::timeout;

use super::{
    CADENCE, Kit, PATIENCE, Plant, beside_events, check_sessions, check_traffic, wait_for,
};
use crate::{
    Connection, DeviceMessage, LinkError, LinkEvent, Measurement, PointWrite, Protocol,
    SEALED_LIMIT,
};

/// Lengths of envelopes: the shortest of PWS/1 (64 bytes of overhead), about and above what one
/// datagram holds, the longest.
const LENGTHS: [usize; 8] = [65, 96, 300, 1024, 1025, 1500, 3000, SEALED_LIMIT];

/// Runs the kit.
pub(super) async fn run(protocol: &dyn Protocol, kit: Kit) {
    let tasks = tokio::runtime::Handle::current().metrics();
    let tasks_before = tasks.num_alive_tasks();
    let mut plant = Plant::start(protocol, kit, None).await;
    let mut links = [plant.connect(0).await, plant.connect(1).await];
    let mut next = 0;
    for ix in [0, 1] {
        for length in LENGTHS {
            check_envelopes(&mut plant, ix, &mut links[ix], &mut next, &[length]).await;
        }
        check_envelopes(&mut plant, ix, &mut links[ix], &mut next, &LENGTHS).await;
        check_envelopes(&mut plant, ix, &mut links[ix], &mut next, &[96; 20]).await;
    }
    check_traffic(&plant, &links[0]);
    check_limits(&mut plant, &mut links[0]).await;
    check_nothing_bare(&mut plant, &mut links[0], &mut next).await;
    if plant.kit.sessions {
        check_sessions(&mut plant, 1, &mut links[1]).await;
    }
    check_path_down_and_up(&mut plant, &mut links, &mut next).await;

    // Who links anew hears what is sealed from then on.
    drop(links);
    let mut link = plant.connect(0).await;
    until_heard(&mut plant, &mut link, &mut next).await;
    check_envelopes(&mut plant, 0, &mut link, &mut next, &[300, 96]).await;
    drop((link, plant));
    wait_for("every task to end after all was dropped", async {
        while tasks.num_alive_tasks() > tasks_before {
            tokio::time::sleep(CADENCE).await;
        }
    })
    .await;
}

/// An envelope that is like no other: its number, the device's, and bytes that follow from them.
fn made(ix: usize, number: &mut u64, length: usize) -> Vec<u8> {
    *number += 1;
    let mut envelope = number.to_le_bytes().to_vec();
    envelope.push(ix as u8);
    let start = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    envelope.extend((0..length as u64).map(|n| (start.wrapping_add(n * n) >> 7) as u8));
    envelope.truncate(length);
    envelope
}

async fn publish(plant: &mut Plant<'_>, ix: usize, envelope: &[u8]) {
    let outlet = &mut plant.devices[ix].port.outlet;
    let sent = wait_for("a sealed publish to return", outlet.publish_sealed(envelope)).await;
    match sent {
        // While the outlet is down: nobody hears it.
        Ok(()) | Err(LinkError::Closed(_)) => {}
        Err(e) => panic!("failed to {e} while publishing {} bytes", envelope.len()),
    }
}

/// Envelopes sent at once arrive each on its own, unharmed, once and in order.
async fn check_envelopes(
    plant: &mut Plant<'_>,
    ix: usize,
    link: &mut Connection,
    next: &mut u64,
    lengths: &[usize],
) {
    let begun = plant.clock.now();
    let mut want = VecDeque::new();
    for &length in lengths {
        let envelope = made(ix, next, length);
        publish(plant, ix, &envelope).await;
        want.push_back(envelope);
    }
    let work = async {
        while let Some(envelope) = want.front() {
            let (received, got) = one(link).await;
            assert!(got == *envelope, "an envelope of {} bytes: {}", envelope.len(), say(&got));
            let now = plant.clock.now();
            assert!(begun <= received && received <= now, "received at {received:?}");
            want.pop_front();
        }
    };
    wait_for(&format!("envelopes of {lengths:?} bytes"), work).await;
}

/// The next envelope of a link; nothing bare may come.
async fn one(link: &mut Connection) -> (Timestamp, Vec<u8>) {
    loop {
        match link.events.recv().await {
            Some(LinkEvent::Sealed { received, envelope, receipt: None }) => {
                return (received, envelope);
            }
            Some(LinkEvent::Alive) => {}
            other => panic!("an envelope was due, not {other:?}"),
        }
    }
}

fn say(envelope: &[u8]) -> String {
    format!(
        "{} bytes came, beginning with {:?}",
        envelope.len(),
        &envelope[..envelope.len().min(9)]
    )
}

/// What is too long is refused and disturbs nothing.
async fn check_limits(plant: &mut Plant<'_>, link: &mut Connection) {
    let long = vec![1; SEALED_LIMIT + 1];
    let outlet = &mut plant.devices[0].port.outlet;
    let sent = wait_for("a long envelope to be refused", outlet.publish_sealed(&long)).await;
    assert!(sent.is_err(), "an envelope above the limit was taken");
    let write = link.control.write(vec![PointWrite { point: PointIx(2), value: 1.0 }]);
    let done = beside_events(link, "a bare write to be refused", write).await;
    assert!(
        matches!(done, Err(LinkError::Unsupported(_))),
        "a sealed device takes no bare writes, but plantwin heard {done:?}"
    );
}

/// A link that asks for bare values gets none, and what it writes does not reach the device.
async fn check_nothing_bare(plant: &mut Plant<'_>, link: &mut Connection, next: &mut u64) {
    let mut asking = super::context(&plant.kit, 0, plant.address, &plant.clock);
    asking.sealed = false;
    let connecting = wait_for("a bare connect to resolve", plant.protocol.connect(asking)).await;
    let mut bare = connecting.ok();
    for sequence in 1..=5 {
        let m = Measurement::good(plant.clock.now(), sequence, &[1.5, 2.5, 3.5, 0.5]);
        // Refused or dropped, as the adapter likes; it must not arrive.
        let _ =
            wait_for("a bare publish to return", plant.devices[0].port.outlet.publish(&m)).await;
        check_envelopes(plant, 0, link, next, &[96]).await;
        tokio::time::sleep(plant.kit.period).await;
    }
    if let Some(bare) = &mut bare {
        let write = bare.control.write(vec![PointWrite { point: PointIx(2), value: 9.0 }]);
        // Where nobody answers writes it may look taken.
        let _ = timeout(PATIENCE, write).await;
        while let Ok(event) = bare.events.try_recv() {
            let (LinkEvent::Frame(frame) | LinkEvent::Durable { frame, .. }) = event else {
                continue;
            };
            let good = frame.samples.iter().find(|s| s.quality.is_good() && s.value.is_finite());
            assert!(good.is_none(), "a sealed device gave a bare value away: {good:?}");
        }
    }
    while let Ok(message) = plant.devices[0].port.requests.try_recv() {
        let bare = matches!(message, DeviceMessage::Write { .. });
        assert!(!bare, "a bare write reached a sealed device: {message:?}");
    }
}

/// A path that goes down carries nothing; when it is up again, envelopes come again.
async fn check_path_down_and_up(
    plant: &mut Plant<'_>,
    links: &mut [Connection; 2],
    next: &mut u64,
) {
    let down = wait_for("the path to go down", plant.devices[0].port.outlet.set_up(false)).await;
    down.unwrap_or_else(|e| panic!("failed to {e} while taking a path down"));
    let silent_from = *next;
    for _ in 0..3 {
        let envelope = made(0, next, 96);
        publish(plant, 0, &envelope).await;
    }
    let silent = silent_from + 1..=*next;
    check_envelopes(plant, 1, &mut links[1], next, &[96, 1025]).await;
    while let Ok(event) = links[0].events.try_recv() {
        if let LinkEvent::Sealed { envelope, .. } = event {
            let number = envelope.first_chunk().copied().map(u64::from_le_bytes);
            let late = number.is_some_and(|n| silent.contains(&n));
            assert!(!late, "the path is down, but an envelope came through: {}", say(&envelope));
        }
    }
    let up = wait_for("the path to come up", plant.devices[0].port.outlet.set_up(true)).await;
    up.unwrap_or_else(|e| panic!("failed to {e} while taking a path up"));
    let again = async {
        loop {
            // Some devices need a moment to join their hub again.
            match plant.try_connect(0).await {
                Ok(link) => return link,
                Err(_) => tokio::time::sleep(CADENCE).await,
            }
        }
    };
    links[0] = wait_for("a link after the path came back", again).await;
    until_heard(plant, &mut links[0], next).await;
    check_envelopes(plant, 0, &mut links[0], next, &[96, 1025, 96]).await;
}

/// Publishes until something is heard, and then until all that was published has come: a device
/// that joins its hub again, or a subscription that is being set up, may miss some.
async fn until_heard(plant: &mut Plant<'_>, link: &mut Connection, next: &mut u64) {
    let work = async {
        loop {
            let envelope = made(0, next, 96);
            publish(plant, 0, &envelope).await;
            let arrival = async {
                loop {
                    let (_, got) = one(link).await;
                    if got == envelope {
                        return;
                    }
                }
            };
            if timeout(Duration::from_millis(500), arrival).await.is_ok() {
                return;
            }
        }
    };
    wait_for("the first envelope", work).await;
    let control = Arc::clone(&link.control);
    // Nobody confirms what has no receipt; that must do no harm.
    control.confirm(0);
}
