//! Devices that hold keys, each a process of its own: enrolled, believed, confined.

use std::{fs, time::Duration};

use plantwin_tests::{Control, Peer, broker::Mosquitto, now, twin, wait_until};

use super::{LEVEL, VALVE, Works, check_command, is_sealed, join, mqtt_works, served, wait_sealed};

/// Everything that a broker carries, as topic and payload in hexadecimal.
fn spy(broker: &Mosquitto) -> Peer {
    let port = broker.port.to_string();
    let words = ["-i", "spy", "-q", "1", "-t", "#", "-F", "%t %x", "-h", "127.0.0.1", "-p", &port];
    let peer = Peer::start("mosquitto_sub", &words);
    broker.wait_subscribed("spy");
    peer
}

fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    nibbles.filter_map(|n| char::from_digit(n.into(), 16)).collect()
}

/// Lines in which a name or a value can be read.
fn readable(lines: &[String]) -> Vec<&String> {
    let texts = ["zeppelin", "41.8725", "73.0625"];
    let mut marks: Vec<String> = texts.iter().map(|t| hex(t.as_bytes())).collect();
    for value in [LEVEL, VALVE] {
        marks.extend([hex(&value.to_le_bytes()), hex(&value.to_be_bytes())]);
    }
    let tells = |line: &&String| {
        texts.iter().any(|t| line.contains(t)) || marks.iter().any(|m| line.contains(m))
    };
    lines.iter().filter(tells).collect()
}

#[test]
fn a_device_is_believed_once_approved_unreadable_to_others_and_confined_once_revoked() {
    let Some((broker, works)) = mqtt_works("") else { return };
    let spy = spy(&broker);
    let (plant, mut device) = join(&works, &works.invite());
    check_command(&plant, VALVE);
    wait_until("twenty messages on the wire", || spy.lines().len() >= 20);
    // Whoever looks so would have found it.
    let mut bait = broker.source("works/control");
    bait.say("{\"zeppelin_level\":41.8725}").expect("it listens");
    wait_until("the bait to be carried", || {
        spy.lines().iter().any(|l| l.starts_with("works/control"))
    });
    let lines = spy.lines();
    let found = readable(&lines);
    assert!(found.iter().all(|l| l.starts_with("works/control")), "{found:#?}");
    assert_eq!(found.len(), 1, "{found:#?}");

    let control = Control::of(&plant.data);
    works.authority(&["revoke", "rig", "--reason", "found open on the bench"]);
    let started = now();
    wait_until("the session to end", || {
        control.status().is_some_and(|s| twin(&s, "rig").is_some_and(|t| !is_sealed(t)))
    });
    let took = started.elapsed();
    eprintln!("a revoked session ended {} ms after the command", took.as_millis());
    assert!(took < Duration::from_secs(20), "{took:?}");
    let refused = plant.call(&["command", "rig.zeppelin_valve=1"]);
    assert_ne!(refused.status.code(), Some(0), "nobody there may obey");

    // It was asked once more and answered with the key that is worth nothing any more.
    works.wait_quarantined(&plant, "revoked");

    device.kill();
    let device = works.device("rig");
    wait_until("the device to be there", || device.printed("joined mqtt at"));
    let status = plant.status();
    assert!(twin(&status, "rig").is_some_and(|t| t["state"] == "quarantined"), "{status}");
    assert!(!device.printed("session up"), "{:?}", device.lines());
}

fn check_joins(path: &str) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let works = Works::new(home, path);
    let (plant, mut device) = join(&works, &works.invite());
    check_command(&plant, VALVE);
    let term = ["-TERM", &device.id().to_string()].map(str::to_owned);
    Peer::output("kill", &term);
    wait_until("the device to stop when it is told to", || device.try_wait() == Some(Some(0)));
}

#[test]
fn a_device_over_coap_is_believed_once_approved_and_obeys() {
    check_joins(&served("coap"));
}

#[test]
fn a_device_over_opc_ua_is_believed_once_approved_and_obeys() {
    check_joins(&served("opcua"));
}

#[test]
fn after_a_power_cut_at_either_end_both_find_each_other_by_a_new_handshake() {
    let Some((_broker, works)) = mqtt_works("") else { return };
    let (mut plant, mut device) = join(&works, &works.invite());
    device.kill();
    plant.wait_twin("rig", "no session with a device that is gone", |t| !is_sealed(t));
    let device = works.device("rig");
    wait_until(&format!("a new session; log:\n{}", plant.log()), || device.printed("session up"));
    wait_sealed(&plant, &device);
    // The voucher is used up and forgotten: keys alone brought it back.
    let key = fs::read_to_string(works.home.path().join("rig/device.key")).expect("a key file");
    assert_eq!(key.split_whitespace().count(), 7, "name, device, zone, root, plain, two keys");

    let sessions = || device.lines().iter().filter(|l| l.contains("session up")).count();
    let before = sessions();
    plant.kill();
    let plant = works.run();
    wait_until(&format!("one more session; log:\n{}", plant.log()), || sessions() > before);
    wait_sealed(&plant, &device);
    check_command(&plant, VALVE);
}
