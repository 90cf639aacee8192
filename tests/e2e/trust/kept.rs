//! A device of which each value counts keeps them until its plant has them on record: what it said
//! to a plant that was killed, which nobody can open any more, it says again.

use std::collections::BTreeSet;

use plantwin_tests::{Peer, available, broker::Mosquitto, wait_until};
use serde_json::Value;

use super::{
    broker, is_sealed, join,
    north::{check_origin, is_good, numbers, records, taker, wait_more, works},
};

/// Values that are enough to speak of all.
const ENOUGH: usize = 8;

/// Whoever hears how long what the device sends is.
fn ear(broker: &Mosquitto) -> Peer {
    let port = broker.port.to_string();
    let words = ["-i", "ear", "-t", "works/rig/#", "-F", "%l", "-h", "127.0.0.1", "-p", &port];
    let ear = Peer::start("mosquitto_sub", &words);
    broker.wait_subscribed("ear");
    ear
}

/// How many envelopes the device sent: longer than its word that it has no session.
fn envelopes(ear: &Peer) -> usize {
    ear.lines().iter().filter(|l| l.parse::<usize>().is_ok_and(|length| length > 60)).count()
}

#[test]
fn what_a_device_sealed_while_its_plant_was_dead_is_said_again_and_nothing_is_missing_or_doubled() {
    if !available(&["mosquitto", "mosquitto_sub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let broker = broker(home.path());
    let north = taker(&broker);
    let works = works(home, broker.port, "");
    let ear = ear(&broker);
    let (mut plant, _device) = join(&works, &works.invite());
    for life in 0..3 {
        wait_more(&plant, &north, (ENOUGH, "records of the device"), is_good);
        plant.kill();
        let told = envelopes(&ear);
        // In a session of which the next plant knows nothing.
        wait_until("the device to go on", || envelopes(&ear) > told + ENOUGH);
        plant = works.run();
        plant.wait_twin("rig", &format!("believed in life {life}"), is_sealed);
    }
    wait_more(&plant, &north, (ENOUGH, "records of the device"), is_good);
    let left = numbers(&north, is_good);
    let (first, last) = (left.first().copied(), left.last().copied());
    let all = first.zip(last).map(|(first, last)| last - first + 1);
    assert_eq!(Some(left.len() as u64), all, "none is missing: {left:?}");
    // One that left just before the plant was killed leaves again, as the record that it was.
    let number = |record: &Value| record["sequence"].as_u64();
    let own: BTreeSet<_> = records(&north).iter().map(number).collect();
    assert_eq!(own.len(), left.len(), "none is there twice: {:#?}", north.lines());
    check_origin(&plant, &works, &north);
}
