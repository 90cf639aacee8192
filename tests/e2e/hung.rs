//! A device that hangs: its connection stands, and it says nothing any more.

use plantwin_tests::{Peer, Plant, available, changed, free_port, wait_for, wait_until};
use serde_json::Value;

use crate::is_shadowed;

/// The server that the tests of the Modbus adapter use.
const SERVER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/plantwin-modbus/tests/peer_server.py");

fn signal(peer: &Peer, name: &str) {
    Peer::output("kill", &[format!("-{name}"), peer.id().to_string()]);
}

/// The states that a follower saw, one after the other, with the reason each ended on.
fn states(tap: &Peer) -> Vec<(String, String)> {
    let mut states: Vec<(String, String)> = Vec::new();
    for line in tap.lines() {
        let twin: Value = serde_json::from_str(&line).expect("tap prints JSON");
        let text = |name: &str| twin[name].as_str().expect("a text").to_owned();
        match states.last_mut() {
            Some((state, reason)) if *state == text("state") => *reason = text("reason"),
            _ => states.push((text("state"), text("reason"))),
        }
    }
    states
}

#[test]
fn a_device_that_hangs_is_one_state_and_one_alarm_and_comes_back_once() {
    if !available(&["python:pymodbus", "kill"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port().to_string();
    let server = Peer::start("python3", &[SERVER, &port]);
    wait_until("pymodbus to listen", || server.printed("ready"));
    let at = format!("127.0.0.1:{port}");
    let file = changed("foreign-modbus", folder.path(), &[("127.0.0.1:1502", &at)]);
    let plant = Plant::run(&file, &[]);
    plant.wait_twin("rig", "to be up", is_shadowed);
    let tap = plant.follow("rig");
    wait_until("a first look", || !tap.lines().is_empty());

    signal(&server, "STOP");
    plant.wait_alarm("rig.comm-loss", |alarm| alarm["state"] == "unacknowledged");
    let down = plant.wait_twin("rig", "to be down", |twin| twin["state"] == "down");
    // Whichever comes first: the line, which hears nothing, or the adapter, whose requests fail.
    let hung = down["reason"].as_str().expect("a reason");
    assert!(hung.starts_with("hung: ") || hung.starts_with("failed to hear from "), "{hung}");
    // It is tried again and again, and stays what it is.
    wait_until("some tries", || plant.status()["uptime_s"].as_f64().is_some_and(|up| up > 12.0));
    assert_eq!(plant.status()["alarms"].as_array().map(Vec::len), Some(1));

    signal(&server, "CONT");
    plant.wait_twin("rig", "to be back", is_shadowed);
    let current = "values are current";
    let seen = wait_for("the follower to see it", || {
        let seen = states(&tap);
        let is_back = |(state, reason): &(String, String)| state == "shadowed" && reason == current;
        seen.last().is_some_and(is_back).then_some(seen)
    });
    // Before it is down its values are stale, which a busy follower may not see.
    let mut seen: Vec<&str> = seen.iter().map(|(state, _)| state.as_str()).collect();
    seen.retain(|state| *state != "bound");
    seen.dedup();
    assert_eq!(seen, ["shadowed", "down", "shadowed"]);
    let raised = plant.log().lines().filter(|line| line.contains("rig.comm-loss")).count();
    assert!(raised <= 2, "raised once, and returned to normal:\n{}", plant.log());
}
