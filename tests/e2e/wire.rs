//! Nothing passes beside the wire: a client that others wrote sees at the plant's own servers the
//! very values that the twins show, and what it writes there reaches the device.

use std::collections::HashMap;

use plantwin_tests::{Peer, Plant, available, run_to_end, scenario, twin, wait_for, wait_until};
use serde_json::Value;

use crate::{coap_client, is_near, is_shadowed, millis, value};

/// Address of a server of the plant.
fn endpoint(plant: &Plant, protocol: &str) -> (String, String) {
    let status = plant.status();
    let found = status["endpoints"].as_array().expect("endpoints").iter().find_map(|e| {
        let (host, port) = e["address"].as_str()?.rsplit_once(':')?;
        (e["protocol"] == protocol).then(|| (host.to_owned(), port.to_owned()))
    });
    found.unwrap_or_else(|| panic!("no server for {protocol}: {}", status["endpoints"]))
}

#[test]
fn a_foreign_mqtt_client_sees_the_values_that_the_twin_shows() {
    if !available(&["mosquitto_sub", "mosquitto_pub"]) {
        return;
    }
    let plant = Plant::run(&scenario("small"), &[]);
    plant.wait_twin("tank", "to be up", is_shadowed);
    let (host, port) = endpoint(&plant, "mqtt");
    let listener =
        Peer::start("mosquitto_sub", &["-h", &host, "-p", &port, "-t", "#", "-F", "%t %p"]);
    let tap = plant.follow("tank");
    let same = wait_for("five values of one time on both sides", || {
        let shown: HashMap<i128, f64> = tap
            .lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|t| (millis(&t["points"]["level"]["source_time"]), value(&t, "level")))
            .filter_map(|(time, level)| Some((time, level?)))
            .collect();
        let pairs: Vec<(f64, f64)> = listener
            .lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("tank/data ")?).ok())
            .filter_map(|m| {
                let sent = m["v"]["level"].as_f64()?;
                Some((sent, *shown.get(&i128::from(m["t"].as_i64()?))?))
            })
            .collect();
        (pairs.len() >= 5).then_some(pairs)
    });
    for (sent, shown) in same {
        assert!((sent - shown).abs() < 1e-9, "{sent} went over the wire, {shown} is shown");
    }
}

#[test]
fn what_a_foreign_client_sends_to_a_played_device_moves_the_plant() {
    let Some(client) = coap_client() else {
        assert!(!available(&["coap-client"]));
        return;
    };
    let plant = Plant::run(&scenario("small"), &[]);
    plant.wait_twin("pump", "to be up", is_shadowed);
    let (host, port) = endpoint(&plant, "coap");
    let point = format!("coap://{host}:{port}/pump/voltage");
    let home = plant.data.parent().expect("a folder of its own");
    let put = Peer::output(client, &["-m", "put", "-e", "4.5", &point]);
    assert!(!put.contains("4.0"), "{put}");
    let pump = plant.wait_twin("pump", "4.5 V and the flow of it", |t| {
        is_near(t, "voltage", 4.5, 0.02) && is_near(t, "flow", 3.33 * 4.5, 0.1)
    });
    assert!(pump["points"]["voltage"]["desired"].is_null(), "plantwin did not ask for it");
    // ... and what the twin shows, the device answers to anybody.
    let answer = Peer::output(client, &["-m", "get", &point]);
    let answer: f64 = answer.trim().parse().expect("a bare number");
    assert!((answer - 4.5).abs() < 0.02, "{answer}");
    assert!(run_to_end(home, &["status"]).status.success());
}

#[test]
fn a_device_whose_messages_a_stranger_forges_is_not_believed_twice() {
    if !available(&["mosquitto_pub"]) {
        return;
    }
    let plant = Plant::run(&scenario("small"), &[]);
    let before = plant.wait_twin("tank", "to be up", is_shadowed);
    let (host, port) = endpoint(&plant, "mqtt");
    // Not a number, not JSON, not even text: the link lives on and the twin stays finite.
    for payload in
        ["", "{", "{\"v\":{\"level\":\"NaN\"}}", "\u{1}\u{2}", "{\"v\":{\"level\":1e999}}"]
    {
        let args = ["-h", &host, "-p", &port, "-t", "tank/data", "-m", payload];
        Peer::output("mosquitto_pub", &args);
    }
    wait_until("the twin to be fine again", || {
        let status = plant.status();
        let t = twin(&status, "tank").expect("the twin is there");
        assert!(value(t, "level").is_some_and(f64::is_finite));
        is_shadowed(t)
            && t["points"]["level"]["quality"] == "good"
            && millis(&t["points"]["level"]["received_time"])
                > millis(&before["points"]["level"]["received_time"]) + 1000
    });
    assert!(!plant.log().contains("panicked"), "{}", plant.log());
}
