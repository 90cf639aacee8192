//! The device's own digests, from the device to the far end of the way out, over each protocol.

use std::fs;

use plantwin_tests::{Peer, available, wait_until};

use super::{Works, broker, join, served};
use crate::{stderr, stdout};

/// What leaves the plant northbound is what the device said, and one altered digit is found.
fn check_way_out(path: impl Fn(u16) -> String) {
    if !available(&["mosquitto", "mosquitto_sub"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let broker = broker(home.path());
    let port = broker.port;
    let out = format!("[northbound.mqtt]\naddr = \"127.0.0.1:{port}\"\ntopic = \"north\"");
    let path = format!("delivery = \"durable\"\n{}\n{out}", path(port));
    let works = Works::new(home, &path);
    let port = port.to_string();
    let words = ["-i", "north", "-q", "1", "-t", "north/#", "-h", "127.0.0.1", "-p", &port];
    let north = Peer::start("mosquitto_sub", &words);
    broker.wait_subscribed("north");
    let (plant, _device) = join(&works, &works.invite());
    wait_until("records to leave", || north.lines().len() >= 5);

    let records = north.lines().join("\n");
    let file = works.home.path().join("records.jsonl");
    let check = |text: &str| {
        fs::write(&file, text).expect("a temporary folder can be written");
        plant.call(&["authority", "origin", &file.to_string_lossy()])
    };
    let true_ones = check(&records);
    assert_eq!(true_ones.status.code(), Some(0), "{}", stderr(&true_ones));
    let digests = records.matches("\"origin\":").count();
    assert!(digests >= 10, "each value of each record has one: {records}");
    let said = format!("{digests} values");
    assert!(stdout(&true_ones).contains(&said), "{said}: {}", stdout(&true_ones));
    assert!(stdout(&true_ones).contains(", 0 are not"), "{}", stdout(&true_ones));
    let altered = check(&records.replacen("41.8725", "41.8726", 1));
    assert_eq!(altered.status.code(), Some(3), "{}", stdout(&altered));
    assert!(stdout(&altered).contains("rig.zeppelin_level is not what the device said"));
    // Whoever alters a value and takes its digest away has not covered it up.
    let bare = records.replacen("41.8725", "41.8726", 1).replacen("\"origin\":", "\"o\":", 1);
    let bare = check(&bare);
    assert_eq!(bare.status.code(), Some(2), "{}", stdout(&bare));
    assert!(stdout(&bare).contains("bears no digest"), "{}", stdout(&bare));
}

#[test]
fn a_value_from_mqtt_that_was_altered_on_its_way_out_is_not_what_the_device_said() {
    check_way_out(|port| {
        format!("[device.rig.mqtt]\naddr = \"127.0.0.1:{port}\"\ntopic = \"works/rig\"")
    });
}

#[test]
fn a_value_from_coap_that_was_altered_on_its_way_out_is_not_what_the_device_said() {
    check_way_out(|_| served("coap"));
}

#[test]
fn a_value_from_opc_ua_that_was_altered_on_its_way_out_is_not_what_the_device_said() {
    check_way_out(|_| served("opcua"));
}
