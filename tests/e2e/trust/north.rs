//! What leaves a plant: the records that somebody beyond the broker takes.

use std::{collections::BTreeSet, fs};

use plantwin_tests::{Peer, Plant, broker::Mosquitto, wait_until};
use serde_json::Value;

use super::Works;
use crate::{stderr, stdout};

/// A device of which each value counts, so each leaves; `more` is added to the plant's file.
pub(super) fn works(home: tempfile::TempDir, port: u16, more: &str) -> Works {
    let addr = format!("addr = \"127.0.0.1:{port}\"");
    let device = format!("[device.rig.mqtt]\n{addr}\ntopic = \"works/rig\"");
    let out = format!("[northbound.mqtt]\n{addr}\ntopic = \"north\"");
    Works::new(home, &format!("delivery = \"durable\"\n{device}\n{out}\n{more}"))
}

/// Whoever takes the records that leave.
pub(super) fn taker(broker: &Mosquitto) -> Peer {
    let port = broker.port.to_string();
    let words = ["-i", "north", "-q", "1", "-t", "north/#", "-h", "127.0.0.1", "-p", &port];
    let north = Peer::start("mosquitto_sub", &words);
    broker.wait_subscribed("north");
    north
}

/// What left so far, in its order.
pub(super) fn records(north: &Peer) -> Vec<Value> {
    let read = |line: &String| -> Value { serde_json::from_str(line).expect("records are JSON") };
    north.lines().iter().map(read).collect()
}

pub(super) fn is_good(record: &Value) -> bool {
    let good = |v: &Value| v["q"] == "good";
    record["values"].as_object().is_some_and(|values| values.values().all(good))
}

/// The device's own numbers of the records that are wanted.
pub(super) fn numbers(north: &Peer, wanted: fn(&Value) -> bool) -> BTreeSet<u64> {
    let records = records(north);
    let wanted = records.iter().filter(|record| wanted(record));
    wanted.filter_map(|record| record["device_sequence"].as_u64()).collect()
}

/// Waits until this many more than now have left.
pub(super) fn wait_more(
    plant: &Plant,
    north: &Peer,
    (more, what): (usize, &str),
    wanted: fn(&Value) -> bool,
) {
    let enough = numbers(north, wanted).len() + more;
    wait_until(&format!("{what}; log:\n{}", plant.log()), || {
        numbers(north, wanted).len() >= enough
    });
}

/// Each value is what the device said.
pub(super) fn check_origin(plant: &Plant, works: &Works, north: &Peer) {
    let file = works.home.path().join("records.jsonl");
    fs::write(&file, north.lines().join("\n")).expect("a temporary folder can be written");
    let checked = plant.call(&["authority", "origin", &file.to_string_lossy()]);
    assert_eq!(checked.status.code(), Some(0), "{}{}", stdout(&checked), stderr(&checked));
}
